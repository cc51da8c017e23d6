//! Writes to disks and files, and commits.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Instant;

use benches::{Changes, MeasureError};
use rootfs_store::{SnapshotDigest, Store};
use serde_json::{Value, json};

pub(crate) fn change(
    store: &Path,
    snapshot: &SnapshotDigest,
    id: &str,
    changes: Changes,
) -> Result<Value, MeasureError> {
    let store = Store::open(store)?;
    store.remove_disk(id)?;
    let disk = store.create_disk(id, snapshot)?;
    let begun = Instant::now();
    changes.write_to(&disk, disk.size())?;
    let written = begun.elapsed();
    disk.flush()?;
    Ok(json!({
        "write_seconds": written.as_secs_f64(),
        "flush_seconds": (begun.elapsed() - written).as_secs_f64(),
    }))
}

pub(crate) fn change_file(path: &Path, changes: Changes) -> Result<Value, MeasureError> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(MeasureError::io("open", path))?;
    let metadata = file.metadata().map_err(MeasureError::io("inspect", path))?;
    changes.write_to(&(&file, path), metadata.len())?;
    file.sync_all().map_err(MeasureError::io("sync", path))?;
    Ok(json!({ "disk_bytes": metadata.len() }))
}

pub(crate) fn commit(store: &Path, id: &str) -> Result<Value, MeasureError> {
    let begun = Instant::now();
    let store = Store::open(store)?;
    let disk = store.open_disk(id)?;
    let opened = begun.elapsed();
    let committed = store.commit(&disk, &())?;
    Ok(json!({
        "snapshot": committed.snapshot.to_string(),
        "changed_chunks": committed.changed_chunks,
        "new_bytes": committed.new_bytes,
        "stored_bytes": committed.stored_bytes,
        "open_seconds": opened.as_secs_f64(),
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}
