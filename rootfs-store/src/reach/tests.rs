use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::testing::snapshot_of;

/// Writes a blob as another tool does, and returns its descriptor.
fn blob(root: &Path, media_type: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = BlobDigest::of(bytes);
    fs::write(root.join("blobs/sha256").join(digest.file_name()), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

fn set_index(root: &Path, manifests: &serde_json::Value) {
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(root.join("index.json"), index.to_string()).unwrap();
}

fn needed(store: &Store) -> Result<HashSet<BlobDigest>, RootError> {
    let lock = store.inner.references.lock().unwrap();
    Roots::read(store, &lock, Duration::ZERO)?.follow(store.blobs())
}

fn all(store: &Store) -> HashSet<BlobDigest> {
    let found = store.blobs().list().unwrap();
    found.into_iter().map(|blob| blob.digest).collect()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn images_of_other_tools_are_followed_through_nested_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let root = dir.path();
    let subject = json!({ "schemaVersion": 2, "layers": null });
    let subject = blob(root, MANIFEST, subject.to_string().as_bytes());
    let manifest = json!({
        "config": blob(root, "application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [blob(root, "application/vnd.oci.image.layer.v1.tar", b"layer")],
        "subject": subject,
    });
    let manifest = blob(root, MANIFEST, manifest.to_string().as_bytes());
    let not_copied =
        json!({ "mediaType": MANIFEST, "digest": BlobDigest::of(b"arm64"), "size": 5 });
    let text = blob(root, "text/plain", b"no document");
    let nested = json!({ "manifests": [manifest, not_copied, text] });
    let nested = blob(
        root,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        nested.to_string().as_bytes(),
    );
    set_index(root, &json!([nested]));
    let mut needed = needed(&store).unwrap();
    assert!(needed.remove(&BlobDigest::of(b"arm64")));
    assert_eq!(needed, all(&store));
}

#[test]
fn root_that_can_not_be_followed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; 1 << 20]);
    store.set_name("web", &snapshot).unwrap();
    let path = store.blobs().path(&snapshot.into());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let missing = needed(&store).unwrap_err();
    assert!(missing.to_string().contains("`web`"), "{missing}");
    fs::write(&path, [&bytes[..], b" "].concat()).unwrap();
    let damaged = needed(&store).unwrap_err();
    assert!(damaged.to_string().contains("`web`"), "{damaged}");
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert_eq!(needed(&store).unwrap(), all(&store));
}

#[test]
fn manifest_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for bytes in [&b"no JSON"[..], b"[]", br#"{"layers": 1}"#] {
        set_index(dir.path(), &json!([blob(dir.path(), MANIFEST, bytes)]));
        assert!(matches!(needed(&store), Err(RootError::Document { .. })));
    }
    let foreign = format!("sha512:{}", "0".repeat(128));
    set_index(
        dir.path(),
        &json!([{ "mediaType": MANIFEST, "digest": foreign, "size": 3 }]),
    );
    assert!(matches!(
        needed(&store),
        Err(RootError::Store(StoreError::ForeignDigest { .. }))
    ));
}

#[test]
fn disk_whose_map_is_damaged_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; 1 << 20]);
    drop(store.create_disk("d", &snapshot).unwrap());
    assert_eq!(needed(&store).unwrap(), all(&store));
    let map = dir.path().join("disks/d/map");
    let mut bytes = fs::read(&map).unwrap();
    bytes[30] ^= 1;
    fs::write(&map, bytes).unwrap();
    assert!(matches!(needed(&store), Err(RootError::Disk { .. })));
    // What has no map says nothing.
    fs::remove_file(&map).unwrap();
    assert!(needed(&store).unwrap().is_empty());
}

#[test]
fn what_may_be_a_disk_that_can_not_be_read_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; 1 << 20]);
    drop(store.create_disk("d", &snapshot).unwrap());
    let (disks, place) = (dir.path().join("disks"), dir.path().join("disks/d"));
    let elsewhere = dir.path().join("elsewhere");
    let refused = || {
        let refused = needed(&store);
        let refused = matches!(refused, Err(RootError::Store(StoreError::NoDisk { .. })));
        refused && store.gc(Duration::ZERO, &()).is_err()
    };
    fs::rename(&place, &elsewhere).unwrap();
    fs::write(&place, b"").unwrap();
    assert!(refused());
    fs::remove_file(&place).unwrap();
    for target in [&elsewhere, Path::new("nowhere")] {
        symlink(target, &place).unwrap();
        assert!(refused());
        let verified = store.verify(&()).unwrap();
        assert_eq!(verified.faults[0].file, place);
        assert!(store.remove_disk("d").is_err());
        fs::remove_file(&place).unwrap();
    }
    fs::remove_dir(&disks).unwrap();
    symlink("nowhere", &disks).unwrap();
    assert!(refused());
    fs::remove_file(&disks).unwrap();
    assert!(needed(&store).unwrap().is_empty());
}

#[test]
fn age_that_can_not_be_found_out_is_not_taken_for_old() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; 1 << 20]);
    let references = &store.inner.references;
    references.set_imported("image", snapshot, 1).unwrap();
    let path = store.blobs().path(&snapshot.into());
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let lock = references.lock().unwrap();
    let refused = Roots::read(&store, &lock, Duration::MAX);
    assert!(matches!(
        refused,
        Err(RootError::Store(StoreError::Io { .. }))
    ));
}
