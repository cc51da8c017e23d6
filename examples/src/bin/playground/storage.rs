//! `playground du --sessions` and `--label`

use serde_json::json;
use session::Store;

use crate::failure::Failure;
use crate::report::{Report, table};
use crate::size;

pub(crate) fn of_sessions(store: &Store, report: Report) -> Result<(), Failure> {
    let sessions = store.storage().start().wait()?;
    let values: Vec<_> = sessions
        .iter()
        .map(|session| {
            json!({
                "session": session.id,
                "labels": session.labels,
                "disk_bytes": session.disk_bytes,
                "snapshot_bytes": session.snapshot_bytes,
            })
        })
        .collect();
    report.print(&json!({ "sessions": values }), || {
        let heads = ["SESSION", "WRITTEN", "SNAPSHOTS", "IN ALL"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(sessions.iter().map(|session| {
            let sizes = [session.disk_bytes, session.snapshot_bytes, session.bytes()];
            let mut row = vec![session.id.clone()];
            row.extend(sizes.map(size::show));
            row
        }));
        table(&rows)
    })
}

pub(crate) fn of_label(
    store: &Store,
    report: Report,
    (key, value): (String, String),
) -> Result<(), Failure> {
    let bytes = store.storage_of_label(&key, &value).start().wait()?;
    let answer = json!({ "label": { key: value }, "bytes": bytes });
    report.print(&answer, || size::show(bytes))
}
