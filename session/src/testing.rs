//! What several unit tests begin with.

use rootfs_store::{ImageReference, ImportOptions, SnapshotDigest};
use tempfile::TempDir;

use crate::record::{Record, RecordState};
use crate::store::Store;

#[path = "../tests/it/image.rs"]
mod image;

/// A store with a small image in it, and the folder that holds both.
pub(crate) fn store_with_image() -> (TempDir, Store, SnapshotDigest) {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("image");
    image::write(&layout);
    let store = Store::open(folder.path().join("store")).unwrap();
    let reference: ImageReference = format!("oci:{}", layout.display()).parse().unwrap();
    let options = ImportOptions {
        disk_bytes: Some(64 << 20),
        ..ImportOptions::default()
    };
    let imported = store.inner().import(&reference, &options, &()).unwrap();
    (folder, store, imported.snapshot)
}

/// The record of a session that was never started.
pub(crate) fn record(id: &str, snapshot: SnapshotDigest) -> Record {
    Record {
        id: id.into(),
        state: RecordState::Stopped,
        snapshot,
        origin: snapshot,
        kernel: "/k".into(),
        modules: None,
        vcpus: 1,
        memory_mib: 64,
        hostname: None,
        created: 0,
        changed: 0,
        drives: Vec::new(),
    }
}
