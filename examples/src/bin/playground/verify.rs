//! `playground verify`

use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use session::{Affected, Fault, RepairSource, Repaired, Store, Verified};

use crate::failure::{Failure, one_line};
use crate::progress::Bar;
use crate::report::Report;
use crate::size;

pub(crate) fn verify(store: &Store, report: Report) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let verified = store.verify().on_progress(Bar::default()).start().wait()?;
    let mut value = verified_value(&verified);
    value["seconds"] = json!(begun.elapsed().as_secs_f64());
    report.print(&value, || verified_text(&verified))?;
    Ok(status(&verified))
}

pub(crate) fn repair(
    store: &Store,
    report: Report,
    from: RepairSource,
) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let repair = store.repair(from).on_progress(Bar::default());
    let repaired = repair.start().wait()?;
    let mut value = verified_value(&repaired.verified);
    value["repaired"] = json!(repaired.blobs);
    value["repaired_bytes"] = json!(repaired.bytes);
    let lost = repaired.lost.iter();
    value["lost"] = lost
        .map(|(digest, why)| json!({ "digest": digest, "why": one_line(why) }))
        .collect();
    value["seconds"] = json!(begun.elapsed().as_secs_f64());
    report.print(&value, || repaired_text(&repaired))?;
    Ok(status(&repaired.verified))
}

fn status(verified: &Verified) -> ExitCode {
    match verified.faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn verified_value(verified: &Verified) -> Value {
    json!({
        "snapshots": verified.snapshots,
        "disks": verified.disks,
        "blobs": verified.blobs,
        "bytes": verified.bytes,
        "unreachable_blobs": verified.unreachable_blobs,
        "unreachable_bytes": verified.unreachable_bytes,
        "remote_packs": verified.remote_packs,
        "remote_bytes": verified.remote_bytes,
        "missing_bytes": verified.missing_bytes,
        "faults": verified.faults.iter().map(fault_value).collect::<Vec<_>>(),
    })
}

fn fault_value(fault: &Fault) -> Value {
    json!({
        "file": fault.file.display().to_string(),
        "digest": fault.digest,
        "problem": one_line(&fault.problem),
        "advice": fault.advice(),
        "affected": fault.affected.iter().map(affected_value).collect::<Vec<_>>(),
    })
}

fn affected_value(affected: &Affected) -> Value {
    let ranges = affected.ranges.iter();
    json!({
        "snapshot": affected.snapshot,
        "needed_by": affected.roots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ranges": ranges
            .map(|range| json!({ "offset": range.start, "bytes": range.end - range.start }))
            .collect::<Vec<_>>(),
        "more": affected.more,
    })
}

fn verified_text(verified: &Verified) -> String {
    let mut text: String = verified.faults.iter().map(fault_text).collect();
    text.push_str(&format!(
        "{}{} faults in {} blobs of {}: {} snapshots, {} disks; nothing needs {} more",
        verified.faults.len(),
        if verified.more_faults {
            " and more"
        } else {
            ""
        },
        verified.blobs,
        size::show(verified.bytes),
        verified.snapshots,
        verified.disks,
        size::show(verified.unreachable_bytes),
    ));
    if verified.remote_packs > 0 {
        text.push_str(&format!(
            "\n{} packs of {} are in a registry, {} of them not here",
            verified.remote_packs,
            size::show(verified.remote_bytes),
            size::show(verified.missing_bytes),
        ));
    }
    text
}

fn fault_text(fault: &Fault) -> String {
    let mut text = format!("{fault}\n");
    for affected in &fault.affected {
        let roots: Vec<_> = affected.roots.iter().map(ToString::to_string).collect();
        let ranges = affected.ranges.iter();
        let lost: u64 = ranges.map(|range| range.end - range.start).sum();
        let more = if affected.more { " and more" } else { "" };
        let what = match affected.ranges.first() {
            Some(first) => format!(
                "loses {}{more}, from byte {} on",
                size::show(lost),
                first.start
            ),
            None => "needs it".to_owned(),
        };
        let roots = roots.join(", ");
        text.push_str(&format!("  {} ({roots}) {what}\n", affected.snapshot));
    }
    text + &format!("  {}\n", fault.advice())
}

fn repaired_text(repaired: &Repaired) -> String {
    let mut text = format!(
        "{} blobs of {} were put back\n",
        repaired.blobs.len(),
        size::show(repaired.bytes)
    );
    for (digest, why) in &repaired.lost {
        text.push_str(&format!("{digest} can't be had: {}\n", one_line(why)));
    }
    text + &verified_text(&repaired.verified)
}
