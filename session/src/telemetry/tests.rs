use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::*;
use crate::op::Op;

/// Figures by name and labels, as `name{label=value}`.
#[derive(Debug, Clone, Default)]
struct Figures(Arc<Mutex<BTreeMap<String, f64>>>);

impl Figures {
    /// What is recorded while `work` runs on this thread.
    fn of(work: impl FnOnce()) -> BTreeMap<String, f64> {
        let figures = Self::default();
        metrics::with_local_recorder(&figures, work);
        let figures = figures.0.lock().unwrap();
        figures.clone()
    }

    fn figure(&self, key: &Key) -> Arc<Figure> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = match labels.is_empty() {
            true => key.name().to_owned(),
            false => format!("{}{{{}}}", key.name(), labels.join(",")),
        };
        Arc::new(Figure(self.clone(), name))
    }
}

struct Figure(Figures, String);

impl Figure {
    fn add(&self, amount: f64) {
        let mut all = self.0.0.lock().unwrap();
        *all.entry(self.1.clone()).or_default() += amount;
    }
}

#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }
    fn absolute(&self, _: u64) {
        panic!("nothing is set");
    }
}

impl GaugeFn for Figure {
    fn increment(&self, value: f64) {
        self.add(value);
    }
    fn decrement(&self, value: f64) {
        self.add(-value);
    }
    fn set(&self, _: f64) {
        panic!("nothing is set");
    }
}

impl HistogramFn for Figure {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.figure(&Key::from_name(key)).add(0.0);
    }
    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.figure(&Key::from_name(key)).add(0.0);
    }
    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.figure(&Key::from_name(key)).add(0.0);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.figure(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}

fn figures(expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let owned = |(name, value): &(&str, f64)| ((*name).to_owned(), *value);
    expected.iter().map(owned).collect()
}

#[test]
fn every_metric_is_described() {
    let described = Figures::of(describe);
    let names = [
        RUNNING,
        STARTS,
        START_SECONDS,
        SHUTDOWN_SECONDS,
        EXITS,
        DISK_READ_BYTES,
        DISK_WRITTEN_BYTES,
        COMMIT_SECONDS,
        COMMIT_BYTES,
        IMPORT_BYTES,
        PUSH_BYTES,
        PULL_BYTES,
        COMMANDS,
        AGENT_ERRORS,
    ];
    assert_eq!(described.len(), names.len());
    assert!(names.iter().all(|name| described.contains_key(*name)));
}

#[test]
fn starts_are_counted_by_their_outcome_and_timed_if_they_succeed() {
    let found = Figures::of(|| {
        started(&Ok(()), Duration::from_millis(1500));
        let id = String::new();
        started::<()>(&Err(Repr::NoSession { id }.into()), Duration::from_secs(9));
    });
    let expected = [
        ("session_start_seconds", 1.5),
        ("session_starts_total{outcome=not_found}", 1.0),
        ("session_starts_total{outcome=ok}", 1.0),
    ];
    assert_eq!(found, figures(&expected));
}

#[test]
fn a_guest_counts_while_it_runs_and_then_once_by_its_first_reason() {
    let found = Figures::of(|| {
        let running = [(); 4].map(|()| RunningGuest::new());
        running[0].ended(End::Shutdown);
        running[0].ended(End::Guest);
        running[1].ended(End::Forced);
        running[2].ended(End::Guest);
        drop(running);
        std::mem::forget(RunningGuest::new());
    });
    let expected = [
        ("session_exits_total{reason=cut_off}", 1.0),
        ("session_exits_total{reason=forced}", 1.0),
        ("session_exits_total{reason=guest}", 1.0),
        ("session_exits_total{reason=shutdown}", 1.0),
        ("session_running", 1.0),
    ];
    assert_eq!(found, figures(&expected));
}

#[test]
fn only_what_an_agent_did_wrong_is_its_error() {
    let found = Figures::of(|| {
        guest_failed(&Repr::AgentConfused { what: "x" }.into());
        let exit = String::new();
        guest_failed(&Repr::GuestGone { exit }.into());
    });
    assert_eq!(found, figures(&[("session_agent_errors_total", 1.0)]));
}

#[test]
fn an_import_and_a_life_of_disks_are_counted() {
    use vmm_core::{BlockBackend, ReadTarget, WriteSource};
    let found = Figures::of(|| {
        let (folder, store, image) = crate::testing::store_with_image();
        let reference = format!("oci:{}", folder.path().join("image").display());
        store.import(reference).disk_bytes(32 << 20).run().unwrap();
        let record = crate::testing::record("a", image);
        let mut holding = crate::holding::Holding::create(&store, record).unwrap();
        let disk = Arc::clone(holding.open_disks().unwrap().root());
        let mut target = [0; 1024];
        disk.read_at(&mut ReadTarget::from_slice(&mut target), 0)
            .unwrap();
        disk.write_at(&mut WriteSource::from_slice(&[7; 512]), 48 << 20)
            .unwrap();
        disk.flush().unwrap();
        disk.write_at(&mut WriteSource::from_slice(&[7; 512]), 64 << 20)
            .unwrap_err();
        drop(disk);
        // A failed write lets no snapshot be made.
        holding.commit(true, &()).unwrap_err();
        drop(holding);
        let mut holding = crate::holding::Holding::take(&store, "a").unwrap();
        holding.open_disks().unwrap();
        holding.commit(true, &()).unwrap();
    });
    assert_eq!(found[DISK_READ_BYTES], 1024.0);
    assert_eq!(found[DISK_WRITTEN_BYTES], 512.0);
    assert!(found[IMPORT_BYTES] > 0.0 && found[COMMIT_BYTES] > 0.0);
    assert!(found[COMMIT_SECONDS] > 0.0);
}

/// A span: its name, its parent's, and its fields as `name=value`.
type Seen = (String, Option<String>, Vec<String>);

/// Writes down the spans of sessions.
#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, Seen>>>);

struct Fields<'a>(&'a mut Vec<String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push(format!("{}={value:?}", field.name()));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push(format!("{}={value}", field.name()));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent());
        let parent = parent.map(|parent| parent.name().to_owned());
        let mut fields = Vec::new();
        attributes.record(&mut Fields(&mut fields));
        let name = attributes.metadata().name().to_owned();
        let mut spans = self.0.lock().unwrap();
        spans.insert(id.into_u64(), (name, parent, fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some((.., fields)) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(&mut Fields(fields));
        }
    }
}

impl Spans {
    /// The spans that are made while `work` runs, sorted.
    fn of(work: impl FnOnce()) -> Vec<Seen> {
        let spans = Self::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        tracing::subscriber::with_default(subscriber, || {
            let caller = info_span!("caller");
            caller.in_scope(work);
        });
        let spans = spans.0.lock().unwrap();
        let mut seen: Vec<_> = spans.values().cloned().collect();
        seen.sort();
        seen
    }
}

fn seen(name: &str, parent: Option<&str>, fields: &[&str]) -> Seen {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    (name.to_owned(), parent.map(str::to_owned), fields)
}

#[test]
fn operations_are_spans_within_the_callers_on_their_own_threads() {
    let caller = std::thread::current().id();
    let found = Spans::of(|| {
        let start = Op::start("start", move || {
            assert_ne!(std::thread::current().id(), caller);
            of_session("lab");
            boot_span("lab").in_scope(|| assert_eq!(inner_name().as_deref(), Some("boot")));
            Ok(inner_name())
        });
        assert_eq!(start.wait().unwrap().as_deref(), Some("start"));
    });
    let expected = [
        seen("boot", Some("start"), &["session=lab"]),
        seen("caller", None, &[]),
        seen("start", Some("caller"), &["session=lab"]),
    ];
    assert_eq!(found, expected);
}

fn inner_name() -> Option<String> {
    let metadata = Span::current().metadata();
    metadata.map(|metadata| metadata.name().to_owned())
}

#[test]
fn operations_of_other_names_say_them_in_a_field() {
    let found = Spans::of(|| Op::start("diff", || Ok(())).wait().unwrap());
    let expected = [
        seen("caller", None, &[]),
        seen("operation", Some("caller"), &["name=diff"]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_commit_is_a_span_of_its_session() {
    let found = Spans::of(|| {
        let (_folder, store, image) = crate::testing::store_with_image();
        let record = crate::testing::record("lab", image);
        let mut holding = crate::holding::Holding::create(&store, record).unwrap();
        holding.open_disks().unwrap();
        holding.commit(true, &()).unwrap();
    });
    let commit = seen("commit", Some("caller"), &["session=lab"]);
    assert!(found.contains(&commit), "{found:?}");
}
