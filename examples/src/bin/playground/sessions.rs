//! `playground ls`, `inspect` and `rm`

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use session::{
    About, AtEnd, DriveInfo, Enforced, Limit, SessionInfo, SnapshotDigest, Store, UnreadableSession,
};

use crate::failure::{Failure, one_line};
use crate::progress::Bar;
use crate::report::{Report, table};

/// `sha256:` and twelve digits.
const SHORT_DIGEST: usize = 19;

pub(crate) fn list(store: &Store, report: Report) -> Result<(), Failure> {
    let sessions = store.sessions()?;
    let (mut whole, mut unreadable) = (Vec::new(), Vec::new());
    for session in &sessions {
        match session {
            Ok(info) => whole.push(brief(info)),
            Err(session) => unreadable.push(json!({
                "session": session.id,
                "error": one_line(&session.error),
            })),
        }
    }
    let value = json!({ "sessions": whole, "unreadable": unreadable });
    report.print(&value, || {
        let heads = ["SESSION", "STATE", "SNAPSHOT", "BASE", "CREATED", "CHANGED"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        let now = now();
        rows.extend(sessions.iter().map(|session| row(session, now)));
        let unreadable = sessions.iter().filter_map(|session| session.as_ref().err());
        let errors = unreadable.map(|session| one_line(&session.error) + "\n");
        table(&rows) + &errors.collect::<String>()
    })
}

fn row(session: &Result<SessionInfo, UnreadableSession>, now: u64) -> Vec<String> {
    let info = match session {
        Ok(info) => info,
        Err(session) => return vec![session.id.clone(), "unreadable".to_owned()],
    };
    vec![
        info.id.clone(),
        info.state.to_string(),
        short(&info.snapshot),
        short(&info.base),
        age(now.saturating_sub(info.created)),
        age(now.saturating_sub(info.changed)),
    ]
}

/// Enough of a digest to name a snapshot with.
fn short(digest: &SnapshotDigest) -> String {
    digest.to_string().chars().take(SHORT_DIGEST).collect()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn age(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60)];
    let unit = units.into_iter().find(|(_, length)| seconds >= *length);
    let (unit, length) = unit.unwrap_or(("s", 1));
    format!("{} {unit} ago", seconds / length)
}

pub(crate) fn inspect(store: &Store, report: Report, id: &str) -> Result<(), Failure> {
    let info = store.session(id)?;
    let mut value = brief(&info);
    value["kernel"] = json!(info.kernel);
    value["modules"] = json!(info.modules);
    value["vcpus"] = json!(info.vcpus);
    value["memory_mib"] = json!(info.memory_mib);
    value["hostname"] = json!(info.hostname);
    value["started"] = json!(info.started);
    value["failure"] = json!(info.failure);
    value["max_uptime_s"] = json!(info.limits.max_uptime.map(|limit| limit.as_secs()));
    value["idle_s"] = json!(info.limits.idle.as_ref().map(|idle| idle.after.as_secs()));
    value["at_end"] = json!(info.limits.at_end);
    value["ssh_host_key"] = json!(info.ssh_host_key);
    value["machine_id"] = json!(info.machine_id);
    value["drives"] = drives(&info.drives);
    value["pinned"] = json!(info.about.pinned);
    value["keep_for_s"] = json!(info.about.keep_for.map(|time| time.as_secs()));
    report.print(&value, || {
        let labels: Vec<_> = info
            .about
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let rows = [
            ["session", &info.id],
            ["title", info.about.title.as_deref().unwrap_or("none")],
            ["labels", &labels.join(" ")],
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
            ["may run", &limit(info.limits.max_uptime)],
            [
                "idle after",
                &limit(info.limits.idle.as_ref().map(|idle| idle.after)),
            ],
            ["then", value["at_end"].as_str().unwrap_or_default()],
            [
                "ssh host key",
                info.ssh_host_key.as_deref().unwrap_or("none yet"),
            ],
            ["kept for", &kept(&info.about)],
            ["failed", info.failure.as_deref().unwrap_or("no")],
        ];
        table(&rows.map(|row| row.map(str::to_owned).to_vec()))
    })
}

pub(crate) fn fork(
    store: &Store,
    report: Report,
    id: &str,
    name: Option<String>,
) -> Result<(), Failure> {
    let mut builder = store.fork(id)?;
    if let Some(name) = name {
        builder = builder.id(name);
    }
    let info = builder.create().wait()?;
    report.print(&brief(&info), || format!("{}\n", info.id))
}

pub(crate) fn settle(store: &Store, report: Report, id: String) -> Result<(), Failure> {
    let info = store
        .settle(id)
        .on_progress(Bar::default())
        .start()
        .wait()?;
    report.print(&brief(&info), || format!("{}\n", info.snapshot))
}

/// Status 1 if a session could not be ended.
pub(crate) fn enforce(store: &Store, report: Report) -> Result<ExitCode, Failure> {
    let enforced = store.enforce_limits().on_progress(Bar::default()).start();
    let ended = Ended::of(&enforced.wait()?);
    report.print(&json!({ "ended": ended.values }), || table(&ended.rows))?;
    Ok(ended.code)
}

/// Sessions whose time had passed.
pub(crate) struct Ended {
    pub(crate) values: Vec<Value>,
    pub(crate) rows: Vec<Vec<String>>,
    /// A failure if one of them could not be ended.
    pub(crate) code: ExitCode,
}

impl Ended {
    pub(crate) fn of(enforced: &[Enforced]) -> Self {
        let mut ended = Self {
            values: Vec::new(),
            rows: Vec::new(),
            code: ExitCode::SUCCESS,
        };
        for one in enforced {
            let what = match &one.result {
                Ok(AtEnd::Terminate) => "thrown away".to_owned(),
                Ok(_) => "shut down".to_owned(),
                Err(error) => {
                    ended.code = ExitCode::FAILURE;
                    one_line(error)
                }
            };
            let why = match one.limit {
                Limit::Idle => "idle",
                _ => "time is over",
            };
            let value = json!({ "session": one.id, "limit": why, "result": what });
            ended.values.push(value);
            ended.rows.push(vec![one.id.clone(), why.to_owned(), what]);
        }
        ended
    }
}

pub(crate) fn describe(
    store: &Store,
    report: Report,
    id: &str,
    change: impl FnOnce(&mut About),
) -> Result<(), Failure> {
    store.describe_session(id, change)?;
    inspect(store, report, id)
}

pub(crate) fn console(store: &Store, report: Report, id: &str) -> Result<(), Failure> {
    let log = store.console_log(id)?;
    let value = json!({ "console": log.to_text(), "omitted_bytes": log.omitted });
    report.print(&value, || log.to_text())
}

pub(crate) fn remove(store: &Store, report: Report, id: &str) -> Result<(), Failure> {
    store.remove_session(id)?;
    report.print(&json!({ "removed": id }), String::new)
}

fn drives(drives: &[DriveInfo]) -> Value {
    drives
        .iter()
        .map(|drive| json!({ "name": drive.name, "snapshot": drive.snapshot, "read_only": drive.read_only }))
        .collect()
}

/// For how long it is kept after its shutdown.
fn kept(about: &About) -> String {
    match (about.pinned, about.keep_for) {
        (true, _) => "ever".to_owned(),
        (false, None) => "as long as `clean` says".to_owned(),
        (false, Some(time)) => limit(Some(time)),
    }
}

fn limit(limit: Option<Duration>) -> String {
    limit.map_or_else(
        || "without limit".to_owned(),
        |limit| match limit.as_secs() {
            seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
            seconds => format!("{seconds} s"),
        },
    )
}

fn brief(info: &SessionInfo) -> Value {
    json!({
        "session": info.id,
        "state": info.state.as_str(),
        "snapshot": info.snapshot,
        "base": info.base,
        "created": info.created,
        "changed": info.changed,
        "title": info.about.title,
        "labels": info.about.labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_the_largest_unit_that_fits() {
        assert_eq!(age(0), "0 s ago");
        assert_eq!(age(59), "59 s ago");
        assert_eq!(age(3599), "59 min ago");
        assert_eq!(age(7200), "2 h ago");
        assert_eq!(age(10 * 86_400), "10 d ago");
    }
}
