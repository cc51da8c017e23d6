//! `playground image …`

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use session::{ImageConfig, Imported, SnapshotDigest, Store};

use crate::cli::ImportArgs;
use crate::failure::Failure;
use crate::progress::Bar;
use crate::report::{Report, table};
use crate::size;

#[derive(Debug, Serialize)]
struct ImportReport {
    snapshot: SnapshotDigest,
    disk_bytes: u64,
    new_chunks: u64,
    new_bytes: u64,
    stored_bytes: u64,
    seconds: f64,
}

pub(crate) fn import(store: &Store, report: Report, args: ImportArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut import = store.import(args.reference).on_progress(Bar::default());
    if let Some(name) = args.name {
        import = import.name(name);
    }
    if let Some(bytes) = args.size {
        import = import.disk_bytes(bytes);
    }
    if let Some(platform) = args.platform {
        import = import.platform(platform);
    }
    if let Some(parent) = args.parent {
        import = import.parent(store.resolve(&parent)?);
    }
    if args.again {
        import = import.again();
    }
    let imported = import.start().wait()?;
    print_import(report, &imported, begun.elapsed())
}

/// Says what an import made, of an image or of a disk.
pub(crate) fn print_import(
    report: Report,
    imported: &Imported,
    elapsed: Duration,
) -> Result<(), Failure> {
    let import = ImportReport {
        snapshot: imported.snapshot,
        disk_bytes: imported.disk_bytes,
        new_chunks: imported.new_chunks,
        new_bytes: imported.new_bytes,
        stored_bytes: imported.stored_bytes,
        seconds: elapsed.as_secs_f64(),
    };
    report.print(&import, || {
        format!(
            "{}\na disk of {}; {} new chunks of {}, stored in {}; {:.1} s",
            import.snapshot,
            size::show(import.disk_bytes),
            import.new_chunks,
            size::show(import.new_bytes),
            size::show(import.stored_bytes),
            import.seconds,
        )
    })
}

pub(crate) fn list(store: &Store, report: Report) -> Result<(), Failure> {
    let images = store.images()?;
    let listed: Vec<_> = images
        .iter()
        .map(|image| json!({"name": image.name, "snapshot": image.digest}))
        .collect();
    report.print(&json!({ "images": listed }), || {
        let rows: Vec<Vec<String>> = images
            .iter()
            .map(|image| vec![image.name.clone(), image.digest.to_string()])
            .collect();
        table(&rows)
    })
}

pub(crate) fn remove(store: &Store, report: Report, name: &str) -> Result<(), Failure> {
    store.remove_image(name)?;
    report.print(&json!({ "removed": name }), String::new)
}

pub(crate) fn inspect(store: &Store, report: Report, text: &str) -> Result<(), Failure> {
    let snapshot = store.snapshot(&store.resolve(text)?)?;
    let value = json!({
        "snapshot": snapshot.digest,
        "disk_bytes": snapshot.disk_bytes,
        "chunk_bytes": snapshot.chunk_bytes,
        "image": snapshot.image,
        "parent": snapshot.parent,
        "packs_bytes": snapshot.packs_bytes(),
        "machine": machine(&snapshot.machine),
    });
    report.print(&value, || {
        let none = || "none".to_owned();
        let parent = snapshot
            .parent
            .map_or_else(none, |digest| digest.to_string());
        let rows = [
            ["snapshot", &snapshot.digest.to_string()],
            ["disk", &size::show(snapshot.disk_bytes)],
            ["chunks of", &size::show(u64::from(snapshot.chunk_bytes))],
            ["packs", &size::show(snapshot.packs_bytes())],
            ["image", &snapshot.image.clone().unwrap_or_else(none)],
            ["parent", &parent],
        ];
        table(&rows.map(|row| row.map(str::to_owned).to_vec()))
    })
}

fn machine(config: &ImageConfig) -> serde_json::Value {
    json!({
        "env": config.env,
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "user": config.user,
        "working_dir": config.working_dir,
        "labels": config.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "stop_signal": config.stop_signal,
    })
}
