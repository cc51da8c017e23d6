//! Snapshots to and from a registry on this machine.

use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use benches::MeasureError;
use rootfs_store::{
    PullOptions, Registries, RegistryOptions, RegistryReference, SnapshotDigest, Store,
    StoreOptions,
};
use serde_json::{Value, json};
use testbed::{Options, Registry};

/// Says where the registry is before it waits: whoever started this reads a line, then closes its input to end it.
pub(crate) fn serve() -> Result<Value, MeasureError> {
    let registry = Registry::start(&Options::default())?;
    println!("{}", json!({ "host": registry.host() }));
    let waited = io::stdin().read_to_end(&mut Vec::new());
    waited.map_err(MeasureError::io("wait on", Path::new("/dev/stdin")))?;
    Ok(json!({}))
}

fn open(store: &Path, reference: &RegistryReference) -> Result<Store, MeasureError> {
    let mut options = RegistryOptions::default();
    options.plain_http.insert(reference.host().to_owned());
    let options = StoreOptions {
        registries: Some(Registries::new(options)?),
        ..StoreOptions::default()
    };
    Ok(Store::open_with(store, options)?)
}

pub(crate) fn push(
    store: &Path,
    snapshot: &SnapshotDigest,
    reference: &RegistryReference,
) -> Result<Value, MeasureError> {
    let begun = Instant::now();
    let pushed = open(store, reference)?.push(snapshot, reference, &())?;
    Ok(json!({
        "sent_bytes": pushed.sent_bytes,
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}

pub(crate) fn pull(store: &Path, reference: &RegistryReference) -> Result<Value, MeasureError> {
    let begun = Instant::now();
    let store = open(store, reference)?;
    let pulled = store.pull(reference, &PullOptions::default(), &())?;
    store.set_name("pulled", &pulled.snapshot)?;
    Ok(json!({
        "snapshot": pulled.snapshot.to_string(),
        "fetched_bytes": pulled.fetched_bytes,
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}
