//! `playground push`, `pull` and `publish`

use std::time::Instant;

use serde_json::json;
use session::{Base, Store};

use crate::cli::PullArgs;
use crate::failure::Failure;
use crate::progress::Bar;
use crate::report::Report;
use crate::size;

pub(crate) fn push(
    store: &Store,
    report: Report,
    snapshot: &str,
    reference: String,
    boot_pack: bool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut snapshot = store.resolve(snapshot)?;
    let mut _until_it_is_pushed = None;
    if boot_pack {
        let packed = store.with_boot_pack(snapshot);
        let packed = packed.on_progress(Bar::default()).start().wait()?;
        snapshot = packed.snapshot;
        _until_it_is_pushed = Some(packed.lease);
    }
    let push = store.push(snapshot, reference);
    let pushed = push.on_progress(Bar::default()).start().wait()?;
    let seconds = begun.elapsed().as_secs_f64();
    let value = json!({
        "snapshot": snapshot,
        "sent_blobs": pushed.sent_blobs,
        "sent_bytes": pushed.sent_bytes,
        "mounted_blobs": pushed.mounted_blobs,
        "found_blobs": pushed.found_blobs,
        "seconds": seconds,
    });
    report.print(&value, || {
        format!(
            "{snapshot}\nsent {} blobs, {}; {} were there, {} in another repository; {seconds:.1} s",
            pushed.sent_blobs,
            size::show(pushed.sent_bytes),
            pushed.found_blobs,
            pushed.mounted_blobs,
        )
    })
}

pub(crate) fn pull(store: &Store, report: Report, args: PullArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let name = args.name.as_deref();
    let pull = match args.lazy {
        true => store.pull_lazily(args.reference, name),
        false => store.pull(args.reference, name),
    };
    let pulled = pull.on_progress(Bar::default()).start().wait()?;
    let seconds = begun.elapsed().as_secs_f64();
    let value = json!({
        "snapshot": pulled.snapshot,
        "disk_bytes": pulled.disk_bytes,
        "packs_bytes": pulled.packs_bytes,
        "fetched_bytes": pulled.fetched_bytes,
        "seconds": seconds,
    });
    report.print(&value, || {
        format!(
            "{}\na disk of {}; fetched {} of {}; {seconds:.1} s",
            pulled.snapshot,
            size::show(pulled.disk_bytes),
            size::show(pulled.fetched_bytes),
            size::show(pulled.packs_bytes),
        )
    })
}

/// What an image shall be published upon.
pub(crate) fn base(image: Option<String>, squash: bool) -> Base {
    match image {
        _ if squash => Base::Nothing,
        Some(image) => Base::Image(image),
        None => Base::Origin,
    }
}

pub(crate) fn publish(
    store: &Store,
    report: Report,
    snapshot: &str,
    reference: String,
    base: Base,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let snapshot = store.resolve(snapshot)?;
    let publish = store.publish(snapshot, reference, base);
    let image = publish.on_progress(Bar::default()).start().wait()?;
    let seconds = begun.elapsed().as_secs_f64();
    let layer = image.layer.as_ref();
    let value = json!({
        "snapshot": snapshot,
        "image": image.manifest,
        "layers": image.layers,
        "layer": layer.map(|layer| layer.digest),
        "layer_bytes": layer.map(|layer| layer.bytes),
        "seconds": seconds,
    });
    report.print(&value, || {
        let bytes = layer.map_or(0, |layer| layer.bytes);
        format!(
            "{}\n{} layers, the new one of {}; {seconds:.1} s",
            image.manifest,
            image.layers,
            size::show(bytes),
        )
    })
}
