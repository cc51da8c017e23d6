//! `playground disk …`

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use session::Store;

use crate::failure::Failure;
use crate::progress::Bar;
use crate::report::Report;
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
