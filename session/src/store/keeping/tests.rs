use std::sync::mpsc;

use rootfs_store::SnapshotDigest;
use vmm_core::{BlockBackend, WriteSource};

use super::*;
use crate::testing::{record, store_with_image};

fn stopped(store: &Store, id: &str, base: SnapshotDigest, byte: u8) {
    let mut holding = Holding::create(store, record(id, base)).unwrap();
    let disk = Arc::clone(holding.open_disks().unwrap().root());
    let bytes = [byte; 4096];
    disk.write_at(&mut WriteSource::from_slice(&bytes), 48 << 20)
        .unwrap();
    drop(disk);
    holding.commit(true, &()).unwrap();
}

fn info(change: impl FnOnce(&mut SessionInfo)) -> SessionInfo {
    let (_folder, store, base) = store_with_image();
    drop(Holding::create(&store, record("a", base)).unwrap());
    let mut info = store.session("a").unwrap();
    info.changed = 1000;
    change(&mut info);
    info
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_session_expires_when_its_own_time_or_the_stores_is_over() {
    let plain = info(|_| ());
    assert!(!has_expired(&plain, None, u64::MAX));
    assert!(!has_expired(&plain, Some(HOUR), 4599));
    assert!(has_expired(&plain, Some(HOUR), 4600));
    // A clock that was set back.
    assert!(!has_expired(&plain, Some(HOUR), 0));
    let longer = info(|info| info.about.keep_for = Some(2 * HOUR));
    assert!(!has_expired(&longer, Some(HOUR), 4600));
    assert!(has_expired(&longer, None, 8200));
}

#[test]
fn what_is_pinned_or_not_at_rest_does_not_expire() {
    let pinned = info(|info| info.about.pinned = true);
    assert!(!has_expired(&pinned, Some(HOUR), u64::MAX));
    for state in [
        SessionState::Running,
        SessionState::Interrupted,
        SessionState::Failed,
    ] {
        let info = info(|info| info.state = state);
        assert!(!has_expired(&info, Some(HOUR), u64::MAX), "{state}");
    }
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
        interval: Duration::from_millis(1),
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
fn a_session_takes_what_only_it_needs() {
    let (_folder, store, base) = store_with_image();
    store.name_image("base", base).unwrap();
    drop(Holding::create(&store, record("fresh", base)).unwrap());
    stopped(&store, "stopped", base, 3);
    let mut running = Holding::create(&store, record("running", base)).unwrap();
    let disk = Arc::clone(running.open_disks().unwrap().root());
    let bytes = [4; 8192];
    disk.write_at(&mut WriteSource::from_slice(&bytes), 40 << 20)
        .unwrap();
    disk.flush().unwrap();
    let storage = store.storage().start().wait().unwrap();
    let of = |id: &str| storage.iter().find(|session| session.id == id).unwrap();
    assert_eq!(of("fresh").bytes(), 0);
    assert!(of("stopped").snapshot_bytes > 0 && of("stopped").disk_bytes == 0);
    assert!(of("running").disk_bytes >= 8192 && of("running").snapshot_bytes == 0);
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
