//! `playground disk …`

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use session::{Diff, Store};

use crate::failure::Failure;
use crate::image::print_import;
use crate::progress::Bar;
use crate::report::{Report, table};
use crate::size;

pub(crate) fn export(
    store: &Store,
    report: Report,
    snapshot: &str,
    file: &Path,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let digest = store.resolve(snapshot)?;
    let export = store.export(digest, file).on_progress(Bar::default());
    let exported = export.start().wait()?;
    let value = json!({
        "snapshot": digest,
        "file": file.display().to_string(),
        "disk_bytes": exported.disk_bytes,
        "written_bytes": exported.written_bytes,
        "seconds": begun.elapsed().as_secs_f64(),
    });
    report.print(&value, || {
        let (disk, written) = (exported.disk_bytes, exported.written_bytes);
        format!(
            "a disk of {}, {} of them written",
            size::show(disk),
            size::show(written)
        )
    })
}

pub(crate) fn import(
    store: &Store,
    report: Report,
    file: &Path,
    name: Option<&str>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let import = store.import_disk(file, name).on_progress(Bar::default());
    let imported = import.start().wait()?;
    print_import(report, &imported, begun.elapsed())
}

pub(crate) fn diff(store: &Store, report: Report, from: &str, to: &str) -> Result<(), Failure> {
    let (from, to) = (store.resolve(from)?, store.resolve(to)?);
    let diff = store.diff(from, to).start().wait()?;
    let ranges = diff.ranges.iter();
    let value = json!({
        "from": from,
        "to": to,
        "from_bytes": diff.from_bytes,
        "to_bytes": diff.to_bytes,
        "chunk_bytes": diff.chunk_bytes,
        "changed_bytes": diff.changed_bytes(),
        "changed_ranges": diff.ranges.len(),
        "ranges": ranges
            .map(|range| json!({ "offset": range.start, "bytes": range.end - range.start }))
            .collect::<Vec<_>>(),
    });
    report.print(&value, || diff_text(&diff))
}

fn diff_text(diff: &Diff) -> String {
    let mut text = String::new();
    if diff.from_bytes != diff.to_bytes {
        let sizes = [diff.from_bytes, diff.to_bytes].map(size::show);
        text.push_str(&format!("the disks have {} and {}\n", sizes[0], sizes[1]));
    }
    let rows = diff.ranges.iter().map(|range| {
        let bytes = range.end - range.start;
        vec![range.start.to_string(), size::show(bytes)]
    });
    text.push_str(&table(&rows.collect::<Vec<_>>()));
    text + &format!(
        "{} ranges differ, {} in chunks of {}",
        diff.ranges.len(),
        size::show(diff.changed_bytes()),
        size::show(u64::from(diff.chunk_bytes))
    )
}
