//! `playground gc`, `clean` and `du`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session::{Compacted, DiskUsage, Housekeeping, SnapshotUsage, Store, Usage};

use crate::failure::Failure;
use crate::progress::Bar;
use crate::report::{Report, table};
use crate::sessions::Ended;
use crate::size;

pub(crate) fn gc(
    store: &Store,
    report: Report,
    grace: Duration,
    compact: bool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let compacted: u64 = match compact {
        true => moved(store.compact().on_progress(Bar::default()).start().wait()?),
        false => 0,
    };
    let collected = store.gc(grace).on_progress(Bar::default()).start().wait()?;
    let value = json!({
        "compacted_names": compacted,
        "removed_blobs": collected.removed_blobs,
        "removed_remote_packs": collected.removed_remote_packs,
        "freed_bytes": collected.freed_bytes,
        "kept_blobs": collected.kept_blobs,
        "kept_bytes": collected.kept_bytes,
        "spared_blobs": collected.spared_blobs,
        "spared_bytes": collected.spared_bytes,
        "seconds": begun.elapsed().as_secs_f64(),
    });
    report.print(&value, || {
        let row = |what: &str, blobs: u64, bytes| {
            vec![what.to_owned(), format!("{blobs} blobs"), size::show(bytes)]
        };
        table(&[
            row("removed", collected.removed_blobs, collected.freed_bytes),
            row("needed", collected.kept_blobs, collected.kept_bytes),
            row("too young", collected.spared_blobs, collected.spared_bytes),
        ])
    })
}

/// Status 1 if a session could not be ended.
pub(crate) fn clean(
    store: &Store,
    report: Report,
    keep_stopped: Option<Duration>,
    grace: Duration,
) -> Result<ExitCode, Failure> {
    let mut what = Housekeeping::default();
    what.keep_stopped = keep_stopped;
    what.gc_grace = Some(grace);
    let kept = store.clean(&what).on_progress(Bar::default()).start();
    let kept = kept.wait()?;
    let ended = Ended::of(&kept.enforced);
    let freed = kept.collected.map_or(0, |collected| collected.freed_bytes);
    let value = json!({
        "ended": ended.values,
        "expired": kept.expired,
        "freed_bytes": freed,
    });
    report.print(&value, || {
        let mut rows = ended.rows;
        let removed = |id: &String| vec![id.clone(), "expired".to_owned(), "removed".to_owned()];
        rows.extend(kept.expired.iter().map(removed));
        table(&rows) + &format!("{} freed", size::show(freed))
    })?;
    Ok(ended.code)
}

/// How many names have a smaller snapshot now. Their leases end here, as names keep them.
fn moved(compacted: Vec<Compacted>) -> u64 {
    let names = compacted
        .iter()
        .map(|compacted| compacted.names.len() as u64);
    names.sum()
}

pub(crate) fn usage(store: &Store, report: Report) -> Result<(), Failure> {
    let usage = store.usage().start().wait()?;
    let value = json!({
        "snapshots": usage.snapshots.iter().map(snapshot_value).collect::<Vec<_>>(),
        "disks": usage.disks.iter().map(disk_value).collect::<Vec<_>>(),
        "blob_bytes": usage.blob_bytes,
        "cache_bytes": usage.cache_bytes,
        "overlay_bytes": overlay_bytes(&usage),
        "unreachable_bytes": usage.unreachable_bytes,
    });
    report.print(&value, || usage_text(&usage))
}

fn snapshot_value(snapshot: &SnapshotUsage) -> Value {
    json!({
        "snapshot": snapshot.snapshot,
        "needed_by": snapshot.roots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "disk_bytes": snapshot.disk_bytes,
        "alone_bytes": snapshot.alone_bytes,
        "shared_bytes": snapshot.shared_bytes,
        "elsewhere_bytes": snapshot.elsewhere_bytes,
        "live_bytes": snapshot.live_bytes,
    })
}

fn disk_value(disk: &DiskUsage) -> Value {
    json!({ "disk": disk.id, "overlay_bytes": disk.overlay_bytes })
}

fn overlay_bytes(usage: &Usage) -> u64 {
    usage.disks.iter().map(|disk| disk.overlay_bytes).sum()
}

fn usage_text(usage: &Usage) -> String {
    let heads = ["NEEDED BY", "DISK", "ALONE", "SHARED", "ELSEWHERE", "LIVE"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let known = |bytes: Option<u64>| bytes.map_or("-".to_owned(), size::show);
    for snapshot in &usage.snapshots {
        let roots: Vec<_> = snapshot.roots.iter().map(ToString::to_string).collect();
        rows.push(vec![
            roots.join(", "),
            known(snapshot.disk_bytes),
            size::show(snapshot.alone_bytes),
            size::show(snapshot.shared_bytes),
            size::show(snapshot.elsewhere_bytes),
            known(snapshot.live_bytes),
        ]);
    }
    for disk in &usage.disks {
        let written = size::show(disk.overlay_bytes);
        let what = format!("written to disk `{}`", disk.id);
        rows.push(vec![what, String::new(), written]);
    }
    if usage.cache_bytes > 0 {
        let fetched = size::show(usage.cache_bytes);
        let what = "fetched of packs that are elsewhere".to_owned();
        rows.push(vec![what, String::new(), fetched]);
    }
    let total = size::show(usage.blob_bytes + usage.cache_bytes + overlay_bytes(usage));
    let unreachable = size::show(usage.unreachable_bytes);
    table(&rows) + &format!("{total} in all; nothing needs {unreachable} of them")
}
