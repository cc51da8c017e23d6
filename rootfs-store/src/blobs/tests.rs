use super::*;
use crate::testing::lease;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn blob_appears_under_its_digest_when_it_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let mut blob = blobs.create().unwrap();
    blob.write(b"ab").unwrap();
    blob.write(b"c").unwrap();
    assert!(names(&blobs.dir).is_empty());
    let published = blob.finish().unwrap().publish(&lease(dir.path())).unwrap();
    assert_eq!(published.digest, BlobDigest::of(b"abc"));
    assert_eq!((published.bytes, published.new), (3, true));
    assert_eq!(fs::read(blobs.path(&published.digest)).unwrap(), b"abc");
    assert!(names(&blobs.staging).is_empty());
}

#[test]
fn blob_that_is_there_already_is_not_new() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    assert!(blobs.put(b"abc", &lease(dir.path())).unwrap().new);
    assert!(!blobs.put(b"abc", &lease(dir.path())).unwrap().new);
    assert!(names(&blobs.staging).is_empty());
}

#[test]
fn dropped_blob_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    blobs.create().unwrap().write(b"abc").unwrap();
    assert!(names(&blobs.staging).is_empty() && names(&blobs.dir).is_empty());
}

#[test]
fn open_removes_what_a_crash_left_but_not_what_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let old = std::time::SystemTime::now() - 2 * LEFTOVER_AGE;
    let leftover = blobs.staging.join("vms-leftover");
    File::create(&leftover).unwrap().set_modified(old).unwrap();
    let mut busy = blobs.create().unwrap();
    busy.write(b"abc").unwrap();
    busy.file
        .get_ref()
        .as_file()
        .get()
        .set_modified(old)
        .unwrap();
    let young = blobs.staging.join("vms-young");
    File::create(&young).unwrap();

    Blobs::open(dir.path(), Files::default()).unwrap();
    assert!(!leftover.exists() && young.exists());
    busy.finish().unwrap().publish(&lease(dir.path())).unwrap();
}

#[test]
fn damaged_document_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let digest = BlobDigest::of(b"{}");
    assert!(blobs.document(&digest).unwrap().is_none());
    fs::write(blobs.path(&digest), b"[]").unwrap();
    assert!(matches!(
        blobs.document(&digest),
        Err(StoreError::BlobDamaged { .. })
    ));
}

#[test]
fn damaged_blob_is_replaced_when_it_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let digest = BlobDigest::of(b"{}");
    fs::write(blobs.path(&digest), b"[]").unwrap();
    blobs.put(b"{}", &lease(dir.path())).unwrap();
    assert_eq!(blobs.document(&digest).unwrap().unwrap(), b"{}");
}

#[test]
fn folder_in_the_place_of_a_document_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let digest = BlobDigest::of(b"{}");
    fs::create_dir(blobs.path(&digest)).unwrap();
    assert!(matches!(
        blobs.document(&digest),
        Err(StoreError::NoDocument { .. })
    ));
}

#[test]
fn pipe_in_the_place_of_a_blob_is_no_blob_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let digest = BlobDigest::of(b"abc");
    let made = std::process::Command::new("mkfifo")
        .arg(blobs.path(&digest))
        .status();
    assert!(made.unwrap().success());
    let document = blobs.document(&digest);
    assert!(matches!(document, Err(StoreError::NoDocument { .. })));
    assert!(matches!(blobs.hash(&digest), Err(StoreError::Io { .. })));
}
