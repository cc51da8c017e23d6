use rootfs_store::SnapshotDigest;

use super::*;

fn record(id: &str) -> Record {
    crate::testing::record(id, SnapshotDigest::from_bytes([1; 32]))
}

#[test]
fn a_session_is_alive_while_its_folder_is_locked() {
    let store = tempfile::tempdir().unwrap();
    let folder = create(store.path(), "a").unwrap();
    folder.write(&record("a")).unwrap();
    assert!(look(store.path(), "a").unwrap().1);
    assert_eq!(
        open(store.path(), "a").unwrap_err().kind(),
        crate::ErrorKind::Busy
    );
    drop(folder);
    assert!(!look(store.path(), "a").unwrap().1);
    open(store.path(), "a").unwrap();
}

#[test]
fn an_id_is_taken_once_but_free_after_a_crash_at_creation() {
    let store = tempfile::tempdir().unwrap();
    drop(create(store.path(), "a").unwrap());
    let folder = create(store.path(), "a").unwrap();
    assert_eq!(ids(store.path()).unwrap(), Vec::<String>::new());
    folder.write(&record("a")).unwrap();
    drop(folder);
    assert_eq!(
        create(store.path(), "a").unwrap_err().kind(),
        crate::ErrorKind::Busy
    );
    assert_eq!(ids(store.path()).unwrap(), ["a"]);
}

#[test]
fn a_removed_session_is_gone() {
    let store = tempfile::tempdir().unwrap();
    let folder = create(store.path(), "a").unwrap();
    folder.write(&record("a")).unwrap();
    folder.remove_record().unwrap();
    assert_eq!(leftovers(store.path()).unwrap(), ["a"]);
    folder.remove().unwrap();
    assert_eq!(leftovers(store.path()).unwrap(), Vec::<String>::new());
    assert!(look(store.path(), "a").unwrap_err().is_not_found());
}

#[test]
fn ids_that_are_paths_reach_no_file() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(
        open(store.path(), "../x").unwrap_err().kind(),
        crate::ErrorKind::InvalidInput
    );
}

#[test]
fn a_running_session_can_be_looked_at_while_others_look_too() {
    let store = tempfile::tempdir().unwrap();
    let folder = create(store.path(), "a").unwrap();
    folder.write(&record("a")).unwrap();
    drop(folder);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    look(store.path(), "a").unwrap();
                }
            });
        }
        for _ in 0..20 {
            open(store.path(), "a").unwrap();
        }
    });
}

#[test]
fn what_is_left_of_a_creation_is_taken_over_and_a_session_is_not() {
    let store = tempfile::tempdir().unwrap();
    let folder = create(store.path(), "a").unwrap();
    assert!(
        open_leftover(store.path(), "a").is_none(),
        "someone is at it"
    );
    drop(folder);
    open_leftover(store.path(), "a").unwrap().remove().unwrap();
    assert!(!store.path().join("sessions/a").exists());
    let folder = create(store.path(), "a").unwrap();
    folder.write(&record("a")).unwrap();
    drop(folder);
    assert!(
        open_leftover(store.path(), "a").is_none(),
        "it is a session"
    );
}

#[test]
fn a_removal_that_failed_can_be_made_again() {
    let store = tempfile::tempdir().unwrap();
    let folder = create(store.path(), "a").unwrap();
    folder.write(&record("a")).unwrap();
    let in_the_way = store.path().join("sessions/.removed-a");
    fs::write(&in_the_way, []).unwrap();
    folder.remove_record().unwrap();
    folder.remove().unwrap_err();
    fs::remove_file(in_the_way).unwrap();
    folder.remove_record().unwrap();
    folder.remove().unwrap();
    assert_eq!(leftovers(store.path()).unwrap(), Vec::<String>::new());
}
