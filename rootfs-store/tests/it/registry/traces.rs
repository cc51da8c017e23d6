//! Spans of transfers, as a subscriber sees them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rootfs_store::{ImportOptions, Store};
use testbed::{Auth, Front, Options, PASSWORD, TokenRules};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

use super::images::sample;
use super::snapshots::{base, changed, noise, pull, push};
use super::{Bed, docker, run_alone};

/// A span that was seen, or an event.
#[derive(Debug, Default, Clone)]
struct Span {
    metadata: Option<&'static Metadata<'static>>,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// Keeps all spans and events of the store.
#[derive(Debug, Default, Clone)]
struct Keeper {
    last: Arc<AtomicU64>,
    spans: Arc<Mutex<BTreeMap<u64, Span>>>,
    events: Arc<Mutex<Vec<Span>>>,
}

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("rootfs_store")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut span = Span {
            metadata: Some(attributes.metadata()),
            parent: ENTERED.with_borrow(|entered| entered.last().copied()),
            ..Span::default()
        };
        attributes.record(&mut span);
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.spans.lock().unwrap().insert(number, span);
        Id::from_u64(number)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        values.record(spans.get_mut(&id.into_u64()).unwrap());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Span::default();
        event.record(&mut fields);
        self.events.lock().unwrap().push(fields);
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }

    fn current_span(&self) -> Current {
        let current = ENTERED.with_borrow(|entered| entered.last().copied());
        let spans = self.spans.lock().unwrap();
        let metadata = current.and_then(|id| spans[&id].metadata);
        match (current, metadata) {
            (Some(id), Some(metadata)) => Current::new(Id::from_u64(id), metadata),
            _ => Current::none(),
        }
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(Vec::pop);
    }
}

impl Keeper {
    fn named(&self, name: &str) -> Vec<(u64, Span)> {
        let spans = self.spans.lock().unwrap();
        let is_named = |span: &Span| span.metadata.is_some_and(|it| it.name() == name);
        let found = spans.iter().filter(|(_, span)| is_named(span));
        found.map(|(id, span)| (*id, span.clone())).collect()
    }

    /// The requests that belong to a span, on whichever thread they were made.
    fn requests_in(&self, outer: u64) -> Vec<Span> {
        let spans = self.spans.lock().unwrap().clone();
        let is_in = |mut parent: Option<u64>| {
            while let Some(id) = parent.filter(|id| *id != outer) {
                parent = spans[&id].parent;
            }
            parent.is_some()
        };
        let requests = self.named("registry.request").into_iter();
        let found = requests.filter(|(_, request)| is_in(request.parent));
        found.map(|(_, request)| request).collect()
    }
}

/// Pushes, pulls and imports by token through a front.
fn transfer(bed: &Bed, front: &Front) {
    let host = front.host();
    let store: Store = bed.store("store", &[host]);
    let snapshot = changed(&store, &base(bed, &store), 8 << 20, &noise(1, 64 << 10));
    push(&store, &snapshot, host, "labs/disk:v1");
    pull(&bed.store("other", &[host]), host, "labs/disk:v1", false).unwrap();
    bed.upload(&sample(bed, "tar+gzip"), "labs/app:v1");
    store
        .import(&docker(host, "labs/app:v1"), &ImportOptions::default(), &())
        .unwrap();
}

#[test]
fn spans_of_transfers_say_what_was_moved_and_hold_no_secret() {
    if !run_alone(
        "registry::traces::spans_of_transfers_say_what_was_moved_and_hold_no_secret",
        &[],
    ) {
        return;
    }
    let keeper = Keeper::default();
    tracing::subscriber::set_global_default(keeper.clone()).unwrap();
    let bed = Bed::new(&Options {
        auth: Auth::Token(TokenRules::default()),
        ..Options::default()
    });
    let front = Front::start(bed.registry.host()).unwrap();
    bed.registry.log_in(front.host()).unwrap();
    transfer(&bed, &front);
    for name in [
        "registry.push",
        "registry.pull",
        "registry.image",
        "registry.layer",
    ] {
        let (id, _) = keeper.named(name).remove(0);
        let requests = keeper.requests_in(id);
        assert!(
            !requests.is_empty(),
            "{name}: {:?}",
            keeper.named("registry.request")
        );
    }
    let (push, span) = keeper.named("registry.push").remove(0);
    assert!(
        span.fields["reference"].contains("labs/disk:v1"),
        "{span:?}"
    );
    let sent: u64 = span.fields["sent_bytes"].parse().unwrap();
    let requests = keeper.requests_in(push);
    let uploads = requests.iter().filter(|it| it.fields["method"] == "PUT");
    let uploaded: u64 = uploads
        .map(|it| it.fields["sent"].parse::<u64>().unwrap())
        .sum();
    assert!(sent > 64 << 10 && uploaded >= sent, "{uploaded} of {sent}");
    let (pull, span) = keeper.named("registry.pull").remove(0);
    let fetched: u64 = span.fields["fetched_bytes"].parse().unwrap();
    let requests = keeper.requests_in(pull);
    let received = requests
        .iter()
        .map(|it| it.fields["received"].parse::<u64>().unwrap());
    assert!(
        fetched > 64 << 10 && received.sum::<u64>() >= fetched,
        "{fetched}"
    );
    assert!(
        requests.iter().all(|it| it.fields.contains_key("status")),
        "{requests:?}"
    );
    let spans = keeper.spans.lock().unwrap().clone();
    let events = keeper.events.lock().unwrap().clone();
    for kept in spans.values().chain(&events) {
        for value in kept.fields.values() {
            let secrets = [PASSWORD, "Bearer", "Basic ", "eyJ", "_state=", "digest="];
            let shown = secrets.iter().find(|secret| value.contains(**secret));
            assert_eq!(shown, None, "{kept:?}");
        }
    }
}
