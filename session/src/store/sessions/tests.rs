use std::fs;
use std::os::unix::fs::symlink;

use crate::holding::Holding;
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
