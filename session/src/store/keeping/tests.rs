use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use rootfs_store::SnapshotDigest;
use vmm_core::{BlockBackend, WriteSource};

use super::*;
use crate::clock::Clock;
use crate::record::RecordState;
use crate::testing::{record, store_with_image};

fn stopped(store: &Store, id: &str, base: SnapshotDigest, byte: u8) {
    let mut holding = Holding::create(store, record(id, base)).unwrap();
    holding.record_mut().started = Some(1);
    let disk = Arc::clone(holding.open_disks().unwrap().root());
    let bytes = [byte; 4096];
    disk.write_at(&mut WriteSource::from_slice(&bytes), 48 << 20)
        .unwrap();
    drop(disk);
    holding.commit(true, &()).unwrap();
}

fn rested(change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record("a", SnapshotDigest::from_bytes([1; 32]));
    record.started = Some(900);
    record.changed = 1000;
    change(&mut record);
    record
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_session_expires_when_its_own_time_or_the_stores_is_over() {
    let plain = rested(|_| ());
    assert!(!has_expired(&plain, None, u64::MAX));
    assert!(!has_expired(&plain, Some(HOUR), 4599));
    assert!(has_expired(&plain, Some(HOUR), 4600));
    // A clock that was set back.
    assert!(!has_expired(&plain, Some(HOUR), 0));
    let longer = rested(|record| record.about.keep_for = Some(2 * HOUR));
    assert!(!has_expired(&longer, Some(HOUR), 4600));
    assert!(has_expired(&longer, None, 8200));
}

#[test]
fn what_is_pinned_or_was_not_shut_down_does_not_expire() {
    let pinned = rested(|record| record.about.pinned = true);
    assert!(!has_expired(&pinned, Some(HOUR), u64::MAX));
    let created = rested(|record| {
        record.started = None;
        record.about.keep_for = Some(HOUR);
    });
    assert!(!has_expired(&created, Some(HOUR), u64::MAX));
    for state in [
        RecordState::Open,
        RecordState::Paused,
        RecordState::ShuttingDown,
    ] {
        let cut_off = rested(|record| record.state = state);
        assert!(!has_expired(&cut_off, Some(HOUR), u64::MAX), "{state:?}");
    }
}

#[test]
fn what_changed_since_it_was_listed_is_not_removed() {
    let (_folder, store, base) = store_with_image();
    stopped(&store, "a", base, 1);
    let expired = |record: &Record| has_expired(record, Some(Duration::ZERO), u64::MAX);
    let (listed, _) = folder::look(store.dir(), "a").unwrap();
    assert!(expired(&listed));

    // Somebody runs it.
    let mut holding = Holding::take(&store, "a").unwrap();
    holding.open_disks().unwrap();
    assert!(!remove_if(&store, "a", expired).unwrap());
    // Its process died: what the guest wrote is on its disk alone.
    drop(holding);
    assert!(!remove_if(&store, "a", expired).unwrap());
    // It was shut down again, and pinned.
    let mut holding = Holding::take(&store, "a").unwrap();
    holding.open_disks().unwrap();
    holding.commit(true, &()).unwrap();
    drop(holding);
    store
        .describe_session("a", |about| about.pinned = true)
        .unwrap();
    assert!(!remove_if(&store, "a", expired).unwrap());

    store
        .describe_session("a", |about| about.pinned = false)
        .unwrap();
    assert!(remove_if(&store, "a", expired).unwrap());
    // Somebody else was faster.
    assert!(!remove_if(&store, "a", expired).unwrap());
}

#[test]
fn a_housekeeper_survives_a_report_that_panics() {
    let (_folder, store, _) = store_with_image();
    let (reports, reported) = mpsc::channel();
    let report = move |_: &Result<Kept, Error>| {
        let _told = reports.send(());
        panic!("of a test");
    };
    let what = Housekeeping {
        interval: MIN_INTERVAL,
        ..Housekeeping::default()
    };
    let housekeeper = store.keep_house(what, report).unwrap();
    reported.recv().unwrap();
    reported.recv().unwrap();
    drop(housekeeper);
}

#[test]
fn rounds_without_a_pause_are_refused() {
    let (_folder, store, _) = store_with_image();
    let what = Housekeeping {
        interval: Duration::ZERO,
        ..Housekeeping::default()
    };
    let error = store.keep_house(what, |_| ()).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
}

#[test]
fn a_housekeeper_removes_what_has_expired_until_it_is_dropped() {
    let (_folder, store, base) = store_with_image();
    stopped(&store, "old", base, 1);
    stopped(&store, "pinned", base, 2);
    store
        .describe_session("pinned", |about| about.pinned = true)
        .unwrap();
    let what = Housekeeping {
        interval: MIN_INTERVAL,
        keep_stopped: Some(Duration::ZERO),
        gc_grace: Some(Duration::ZERO),
    };
    let (reports, reported) = mpsc::channel();
    let report = move |kept: &Result<Kept, Error>| {
        let expired = kept.as_ref().unwrap().expired.clone();
        drop(reports.send(expired));
    };
    let housekeeper = store.keep_house(what, report).unwrap();
    assert_eq!(reported.recv().unwrap(), ["old"]);
    assert_eq!(reported.recv().unwrap(), Vec::<String>::new());
    drop(housekeeper);
    while reported.recv().is_ok() {}
    let left = store.sessions().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].as_ref().unwrap().id, "pinned");
}

#[test]
fn what_is_noted_of_a_session_is_checked_and_kept() {
    let (_folder, store, base) = store_with_image();
    drop(Holding::create(&store, record("a", base)).unwrap());
    let title = |title: &str| {
        let title = Some(title.to_owned());
        store.describe_session("a", |about| about.title = title)
    };
    title("Ada's lab").unwrap();
    assert!(title("two\nlines").unwrap_err().is_invalid_input());
    let kept = store.session("a").unwrap().about.title;
    assert_eq!(kept.as_deref(), Some("Ada's lab"));
}

/// A clock that stands still.
#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0)
    }
}

#[test]
fn a_clock_that_was_set_back_makes_no_session_older() {
    let (_folder, store, base) = store_with_image();
    let at = |seconds| store.clone().with_clock(Arc::new(At(seconds)));
    stopped(&at(5000), "a", base, 1);
    let mut holding = Holding::take(&at(1000), "a").unwrap();
    holding.open_disks().unwrap();
    holding.commit(true, &()).unwrap();
    drop(holding);
    assert_eq!(store.session("a").unwrap().changed, 5000);
}
