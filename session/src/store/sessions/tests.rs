use std::fs;
use std::os::unix::fs::symlink;

use super::sweep_disks;
use crate::holding::Holding;
use crate::store::{Housekeeping, Store};
use crate::testing::{record, store_with_image};

#[test]
fn sessions_that_cant_be_read_are_listed_among_the_others() {
    let (_folder, store, snapshot) = store_with_image();
    for id in ["a", "damaged", "loop", "z"] {
        Holding::create(&store, record(id, snapshot)).unwrap();
    }
    let file = |id: &str| store.dir().join("sessions").join(id).join("record.json");
    fs::write(file("damaged"), "{").unwrap();
    fs::remove_file(file("loop")).unwrap();
    symlink("record.json", file("loop")).unwrap();
    let sessions = store.sessions().unwrap();
    let ids = sessions.iter().map(|session| match session {
        Ok(info) => (info.id.as_str(), true),
        Err(unreadable) => (unreadable.id.as_str(), false),
    });
    let expected = [
        ("a", true),
        ("damaged", false),
        ("loop", false),
        ("z", true),
    ];
    assert_eq!(ids.collect::<Vec<_>>(), expected);
    let Err(unreadable) = &sessions[1] else {
        panic!("{sessions:?}")
    };
    let error = unreadable.error.to_string();
    assert!(error.contains("sessions/damaged/record.json"), "{error}");
    // It can be removed, which makes the list whole.
    store.remove_session("damaged").unwrap();
    assert_eq!(store.sessions().unwrap().len(), 3);
}

#[test]
fn disks_beside_a_session_at_rest_are_cleared_away_unless_it_is_taken() {
    let (_folder, store, base) = store_with_image();
    let inner = store.inner();
    let mut cut_off = Holding::create(&store, record("cut-off", base)).unwrap();
    cut_off.open_disks().unwrap();
    drop(cut_off);
    drop(Holding::create(&store, record("rests", base)).unwrap());
    drop(inner.create_disk("rests", &base).unwrap());
    drop(inner.create_disk("nobody", &base).unwrap());

    let starting = Holding::take(&store, "rests").unwrap();
    sweep_disks(inner);
    assert!(inner.disk_exists("rests"));
    drop(starting);
    Store::open(store.dir()).unwrap();
    assert!(!inner.disk_exists("rests"));
    assert!(inner.disk_exists("cut-off") && inner.disk_exists("nobody"));

    drop(inner.create_disk("rests", &base).unwrap());
    store
        .clean(&Housekeeping::default())
        .start()
        .wait()
        .unwrap();
    assert!(!inner.disk_exists("rests"));
    assert!(inner.disk_exists("cut-off") && inner.disk_exists("nobody"));
}
