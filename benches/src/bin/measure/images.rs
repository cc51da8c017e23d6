//! Imports and exports.

use std::path::Path;
use std::time::Instant;

use benches::{Frames, MeasureError};
use rootfs_store::{ImageReference, ImportOptions, Imported, SnapshotDigest, Store};
use serde_json::{Value, json};

pub(crate) fn import(
    image: &ImageReference,
    store: &Path,
    chunk_bytes: u32,
    disk_bytes: Option<u64>,
) -> Result<Value, MeasureError> {
    let options = ImportOptions {
        chunk_bytes,
        disk_bytes,
        ..ImportOptions::default()
    };
    let begun = Instant::now();
    let store = Store::open(store)?;
    let imported = store.import(image, &options, &())?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({
        "snapshot": imported.snapshot.to_string(),
        "disk_bytes": imported.disk_bytes,
        "new_chunks": imported.new_chunks,
        "new_bytes": imported.new_bytes,
        "stored_bytes": imported.stored_bytes,
        "index_bytes": frames(&store, &imported)?.index_bytes(),
        "seconds": seconds,
    }))
}

pub(crate) fn import_disk(file: &Path, store: &Path) -> Result<Value, MeasureError> {
    let begun = Instant::now();
    let imported = Store::open(store)?.import_disk(file, &())?;
    Ok(json!({
        "snapshot": imported.snapshot.to_string(),
        "new_chunks": imported.new_chunks,
        "stored_bytes": imported.stored_bytes,
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}

pub(crate) fn export(
    store: &Path,
    snapshot: &SnapshotDigest,
    file: &Path,
) -> Result<Value, MeasureError> {
    let begun = Instant::now();
    let exported = Store::open(store)?.export(snapshot, file, &())?;
    Ok(json!({
        "disk_bytes": exported.disk_bytes,
        "written_bytes": exported.written_bytes,
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}

/// Imports two versions of an image into a new store, and compares their chunks.
pub(crate) fn dedup(
    dir: &Path,
    first: &ImageReference,
    second: &ImageReference,
    chunk_bytes: u32,
) -> Result<Value, MeasureError> {
    let store = Store::open(dir)?;
    let options = ImportOptions {
        chunk_bytes,
        ..ImportOptions::default()
    };
    let import = |image| store.import(image, &options, &());
    let (first, second) = (import(first)?, import(second)?);
    let known = frames(&store, &first)?;
    let packs = store.snapshot(&first.snapshot)?.packs;
    let mut later = store.snapshot(&second.snapshot)?;
    let all = later.packs.len();
    later.packs.retain(|pack| !packs.contains(pack));
    let own = Frames::of(&store, &later, second.new_chunks)?;
    let later = match later.packs.len() < all {
        true => known.clone().and(own),
        false => own,
    };
    let added = later.added_to(&known);
    Ok(json!({
        "chunk_bytes": chunk_bytes,
        "chunks": added.chunks,
        "new_chunks": added.new_chunks,
        "stored_bytes": added.stored_bytes,
        "new_stored_bytes": added.new_stored_bytes,
    }))
}

/// Frames of an image of which the store had nothing.
fn frames(store: &Store, imported: &Imported) -> Result<Frames, MeasureError> {
    Frames::of(
        store,
        &store.snapshot(&imported.snapshot)?,
        imported.new_chunks,
    )
}
