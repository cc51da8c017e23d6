use super::*;
use crate::files::Files;

fn digest(n: u8) -> SnapshotDigest {
    SnapshotDigest::from_bytes([n; 32])
}

fn named(name: &str, n: u8) -> NamedSnapshot {
    NamedSnapshot {
        name: name.to_owned(),
        digest: digest(n),
    }
}

#[test]
fn names_are_kept_sorted_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let references = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    assert_eq!(references.names().unwrap(), []);
    references.set_name("debian:12", digest(1), 10).unwrap();
    references.set_name("busybox", digest(2), 10).unwrap();
    references.set_name("debian:12", digest(3), 10).unwrap();
    let reopened = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    assert_eq!(
        reopened.names().unwrap(),
        [named("busybox", 2), named("debian:12", 3)]
    );
    assert!(reopened.remove_name("busybox").unwrap());
    assert!(!reopened.remove_name("busybox").unwrap());
    assert_eq!(references.names().unwrap(), [named("debian:12", 3)]);
}

#[test]
fn imports_are_found_by_source_and_have_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let references = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    references.set_imported("image", digest(1), 10).unwrap();
    assert_eq!(references.imported("image").unwrap(), Some(digest(1)));
    assert_eq!(references.imported("other").unwrap(), None);
    assert_eq!(references.names().unwrap(), []);
}

#[test]
fn names_that_could_mean_something_else_are_refused() {
    let long = "a".repeat(129);
    for name in [
        "",
        "-a",
        ".a",
        "a b",
        "a\n",
        "sha256:00",
        "oci:dir",
        "docker://a",
        "deadbeef",
        &long,
        "ä",
    ] {
        assert!(!is_name(name), "{name}");
    }
    for name in [
        "a",
        "debian:12",
        "sessions/a.b_c-d",
        "dead",
        "library/alpine",
    ] {
        assert!(is_name(name), "{name}");
    }
}

#[test]
fn entries_of_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let references = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    let other = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,
        "annotations":{"org.opencontainers.image.ref.name":"theirs"}}]}"#;
    std::fs::remove_file(dir.path().join(INDEX)).unwrap();
    std::fs::write(dir.path().join(INDEX), other).unwrap();
    references.set_name("ours", digest(1), 10).unwrap();
    assert_eq!(references.names().unwrap(), [named("ours", 1)]);
    assert!(!references.remove_name("theirs").unwrap());
    let taken = references.set_name("theirs", digest(1), 10);
    assert!(matches!(taken, Err(StoreError::NameTaken { .. })));
    let index = std::fs::read_to_string(dir.path().join(INDEX)).unwrap();
    assert!(index.contains("theirs"));
}

#[test]
fn damaged_index_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let references = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    std::fs::remove_file(dir.path().join(INDEX)).unwrap();
    std::fs::write(dir.path().join(INDEX), "{").unwrap();
    let result = references.set_name("ours", digest(1), 10);
    assert!(matches!(result, Err(StoreError::Index { .. })));
    assert_eq!(std::fs::read(dir.path().join(INDEX)).unwrap(), b"{");
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let references = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let references = &references;
            scope.spawn(move || {
                references
                    .set_name(&format!("n{n}"), digest(n), 10)
                    .unwrap()
            });
        }
    });
    assert_eq!(references.names().unwrap().len(), 8);
}

#[test]
fn layout_that_lost_its_index_is_not_taken_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    References::open(dir.path(), dir.path(), Files::default()).unwrap();
    std::fs::remove_file(dir.path().join(INDEX)).unwrap();
    let result = References::open(dir.path(), dir.path(), Files::default());
    assert!(matches!(result, Err(StoreError::Io { .. })));
    assert!(!dir.path().join(INDEX).exists());
}

#[test]
fn layout_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let layout = r#"{"imageLayoutVersion":"2.0.0"}"#;
    std::fs::write(dir.path().join(LAYOUT), layout).unwrap();
    let result = References::open(dir.path(), dir.path(), Files::default());
    assert!(matches!(result, Err(StoreError::LayoutVersion { .. })));
    assert_eq!(
        std::fs::read_to_string(dir.path().join(LAYOUT)).unwrap(),
        layout
    );
}

#[test]
fn index_that_is_too_large_is_neither_read_nor_written() {
    let dir = tempfile::tempdir().unwrap();
    let references = References::open(dir.path(), dir.path(), Files::default()).unwrap();
    let path = dir.path().join(INDEX);
    let limit = usize::try_from(MAX_INDEX_BYTES).unwrap();
    // What is cut off after the closing brace must not be taken for the whole.
    let mut index = std::fs::read(&path).unwrap();
    index.resize(limit + 1, b' ');
    std::fs::write(&path, &index).unwrap();
    let refused = references.names();
    assert!(
        matches!(refused, Err(StoreError::TooLarge { .. })),
        "{refused:?}"
    );
    let digest = digest(1);
    let pad = "a".repeat(limit - 500);
    let entry = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"pad":"{pad}"}}}}"#);
    std::fs::write(&path, &entry).unwrap();
    references.set_name("one", digest, 1).unwrap();
    let before = std::fs::metadata(&path).unwrap().len();
    let refused = references.set_name("two", digest, 1);
    assert!(
        matches!(refused, Err(StoreError::IndexFull { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), before);
    assert_eq!(references.names().unwrap(), [named("one", 1)]);
    assert!(references.remove_name("one").unwrap());
}
