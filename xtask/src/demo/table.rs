//! The table that the demonstration ends with.

use serde_json::Value;

use super::Step;

/// The parts of a session's time, in their order. playground names them in `timings_ms`.
const PARTS: [&str; 8] = [
    "import",
    "prepare",
    "start",
    "hello",
    "ready",
    "command",
    "power_off",
    "commit",
];

/// One line a step: its time, what it added to the store, and where the time went.
pub(super) fn table(steps: &[Step]) -> String {
    let mut text = format!(
        "\n{:<14}{:>10}{:>12}  {}\n",
        "step", "time", "stored", "of the time, in ms"
    );
    for step in steps {
        let report = &step.report;
        let (time, stored) = (seconds(report), mebibytes(report));
        text += &format!(
            "{:<14}{time:>10}{stored:>12}  {}\n",
            step.name,
            parts(report)
        );
    }
    text + "\nThe second session read what the first one wrote.\n"
}

fn seconds(report: &Value) -> String {
    let whole = report["seconds"].as_f64();
    let total = report["timings_ms"]["total"].as_f64().map(|ms| ms / 1e3);
    whole
        .or(total)
        .map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.2} s"))
}

fn mebibytes(report: &Value) -> String {
    let bytes = report["stored_bytes"].as_f64();
    bytes.map_or_else(
        || "?".to_owned(),
        |bytes| format!("{:.2} MiB", bytes / f64::from(1 << 20)),
    )
}

fn parts(report: &Value) -> String {
    let part = |name: &&str| {
        let ms = report["timings_ms"][*name].as_f64()?;
        Some(format!("{name} {ms:.0}"))
    };
    PARTS.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
