//! `playground ls`, `inspect` and `rm`

use serde_json::{Value, json};
use session::{SessionInfo, Store};

use crate::failure::Failure;
use crate::report::{Report, table};

pub(crate) fn list(store: &Store, report: Report) -> Result<(), Failure> {
    let sessions = store.sessions()?;
    let listed: Vec<Value> = sessions.iter().map(brief).collect();
    report.print(&json!({ "sessions": listed }), || {
        let row = |info: &SessionInfo| {
            vec![
                info.id.clone(),
                info.state.to_string(),
                info.snapshot.to_string(),
            ]
        };
        table(&sessions.iter().map(row).collect::<Vec<_>>())
    })
}

pub(crate) fn inspect(store: &Store, report: Report, id: &str) -> Result<(), Failure> {
    let info = store.session(id)?;
    let mut value = brief(&info);
    value["kernel"] = json!(info.kernel);
    value["modules"] = json!(info.modules);
    value["vcpus"] = json!(info.vcpus);
    value["memory_mib"] = json!(info.memory_mib);
    value["hostname"] = json!(info.hostname);
    report.print(&value, || {
        let rows = [
            ["session", &info.id],
            ["state", info.state.as_str()],
            ["snapshot", &info.snapshot.to_string()],
            ["base", &info.base.to_string()],
            ["kernel", &info.kernel.display().to_string()],
            ["vcpus", &info.vcpus.to_string()],
            ["memory", &format!("{} MiB", info.memory_mib)],
            [
                "hostname",
                info.hostname.as_deref().unwrap_or("the image's own"),
            ],
        ];
        table(&rows.map(|row| row.map(str::to_owned).to_vec()))
    })
}

pub(crate) fn remove(store: &Store, report: Report, id: &str) -> Result<(), Failure> {
    store.remove_session(id)?;
    report.print(&json!({ "removed": id }), String::new)
}

fn brief(info: &SessionInfo) -> Value {
    json!({
        "session": info.id,
        "state": info.state.as_str(),
        "snapshot": info.snapshot,
        "base": info.base,
        "created": info.created,
        "changed": info.changed,
    })
}
