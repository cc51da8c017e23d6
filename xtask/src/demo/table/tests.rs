use serde_json::json;

use super::*;

#[test]
fn steps_show_time_bytes_and_parts() {
    let steps = [
        Step {
            name: "image import",
            report: json!({"seconds": 3.25, "stored_bytes": 1_572_864}),
        },
        Step {
            name: "run",
            report: json!({"timings_ms": {"total": 1234.0, "ready": 800.4, "commit": 3.6}}),
        },
    ];
    let text = table(&steps);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[2], "image import      3.25 s    1.50 MiB  ");
    assert_eq!(
        lines[3],
        "run               1.23 s           ?  ready 800, commit 4"
    );
}
