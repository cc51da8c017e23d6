//! What can be seen of sessions from outside: metrics, and spans of `tracing`.
//!
//! Metrics go to whatever recorder the program has installed for the `metrics` crate, and nowhere without one:
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | [`RUNNING`] | gauge | | guests that run in this process and take commands |
//! | [`STARTS`] | counter | `outcome`: `ok` or an [`ErrorKind`](crate::ErrorKind) | starts and resumes that ended |
//! | [`START_SECONDS`] | histogram | | a start that succeeded, from the call until the guest took commands |
//! | [`SHUTDOWN_SECONDS`] | histogram | | a shutdown that succeeded, from the call until the snapshot was durable |
//! | [`EXITS`] | counter | `reason`, see below | guests that ended |
//! | [`DISK_READ_BYTES`], [`DISK_WRITTEN_BYTES`] | counter | | what guests read of their disks, and wrote to them |
//! | [`COMMIT_SECONDS`] | histogram | | making snapshots of all disks of a session |
//! | [`COMMIT_BYTES`] | counter | | bytes that stores grew by for these |
//! | [`IMPORT_BYTES`] | counter | | bytes that stores grew by for images |
//! | [`PUSH_BYTES`], [`PULL_BYTES`] | counter | | bytes sent to registries, and fetched by pulls and fills |
//! | [`COMMANDS`] | counter | | commands that ran to their end |
//! | [`AGENT_ERRORS`] | counter | | connections to guests' agents that failed, or on which the agent made no sense |
//!
//! A guest ends by a `shutdown`; is `forced` to, as that took too long; by itself (`guest`); or is `cut_off`, as its
//! session was terminated or dropped.
//!
//! Each operation has a span of the target `session` on its own thread: `start`, `shutdown`, `terminate`, `snapshot`,
//! `import`, `push`, `pull`, `export`, `publish` and `gc`; others are called `operation`, with their name in the field
//! `name`. The parent is the span in which the caller was. What belongs to one session has its id in the field
//! `session`. Within, `boot` and `commit` are spans of their own.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::error::{Error, Repr};

/// Guests that run.
pub const RUNNING: &str = "session_running";
/// Starts that ended, well or not.
pub const STARTS: &str = "session_starts_total";
/// How long starts took.
pub const START_SECONDS: &str = "session_start_seconds";
/// How long shutdowns took.
pub const SHUTDOWN_SECONDS: &str = "session_shutdown_seconds";
/// Guests that ended.
pub const EXITS: &str = "session_exits_total";
/// What guests read of their disks.
pub const DISK_READ_BYTES: &str = "session_disk_read_bytes_total";
/// What guests wrote to their disks.
pub const DISK_WRITTEN_BYTES: &str = "session_disk_written_bytes_total";
/// How long snapshots took.
pub const COMMIT_SECONDS: &str = "session_commit_seconds";
/// What snapshots added to stores.
pub const COMMIT_BYTES: &str = "session_commit_bytes_total";
/// What images added to stores.
pub const IMPORT_BYTES: &str = "session_import_bytes_total";
/// What was sent to registries.
pub const PUSH_BYTES: &str = "session_push_bytes_total";
/// What was fetched from registries.
pub const PULL_BYTES: &str = "session_pull_bytes_total";
/// Commands that ran to their end.
pub const COMMANDS: &str = "session_commands_total";
/// Trouble with agents.
pub const AGENT_ERRORS: &str = "session_agent_errors_total";

/// Tells the recorder that is installed what the metrics mean, and their units.
pub fn describe() {
    describe_gauge!(RUNNING, "guests that run in this process and take commands");
    describe_counter!(STARTS, "starts and resumes that ended");
    describe_histogram!(START_SECONDS, Unit::Seconds, "starts that succeeded");
    describe_histogram!(SHUTDOWN_SECONDS, Unit::Seconds, "shutdowns that succeeded");
    describe_counter!(EXITS, "guests that ended");
    describe_counter!(
        DISK_READ_BYTES,
        Unit::Bytes,
        "what guests read of their disks"
    );
    describe_counter!(
        DISK_WRITTEN_BYTES,
        Unit::Bytes,
        "what guests wrote to their disks"
    );
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "snapshots of all disks of a session"
    );
    describe_counter!(
        COMMIT_BYTES,
        Unit::Bytes,
        "what stores grew by for snapshots"
    );
    describe_counter!(IMPORT_BYTES, Unit::Bytes, "what stores grew by for images");
    describe_counter!(PUSH_BYTES, Unit::Bytes, "what was sent to registries");
    describe_counter!(
        PULL_BYTES,
        Unit::Bytes,
        "what pulls and fills fetched from registries"
    );
    describe_counter!(COMMANDS, "commands that ran to their end");
    describe_counter!(
        AGENT_ERRORS,
        "connections to agents that failed or made no sense"
    );
}

/// A start has ended.
pub(crate) fn started<T>(result: &Result<T, Error>, took: Duration) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(error) => error.kind().as_str(),
    };
    counter!(STARTS, "outcome" => outcome).increment(1);
    if result.is_ok() {
        histogram!(START_SECONDS).record(took);
    }
}

/// A shutdown has succeeded.
pub(crate) fn shut_down(took: Duration) {
    histogram!(SHUTDOWN_SECONDS).record(took);
}

/// The disks of a session were made snapshots of, which added so many bytes to the store.
pub(crate) fn committed(took: Duration, stored_bytes: u64) {
    histogram!(COMMIT_SECONDS).record(took);
    counter!(COMMIT_BYTES).increment(stored_bytes);
}

/// An image was imported.
pub(crate) fn imported(stored_bytes: u64) {
    counter!(IMPORT_BYTES).increment(stored_bytes);
}

/// A snapshot was sent to a registry.
pub(crate) fn pushed(sent_bytes: u64) {
    counter!(PUSH_BYTES).increment(sent_bytes);
}

/// A snapshot, or more of one, was fetched from a registry.
pub(crate) fn pulled(fetched_bytes: u64) {
    counter!(PULL_BYTES).increment(fetched_bytes);
}

/// A command has run to its end.
pub(crate) fn command_ended() {
    counter!(COMMANDS).increment(1);
}

/// Something went wrong with a guest; it counts if its agent is to blame, or its connection.
pub(crate) fn guest_failed(error: &Error) {
    let is_agents = matches!(
        error.repr(),
        Repr::Agent { .. }
            | Repr::AgentConfused { .. }
            | Repr::Protocol(_)
            | Repr::Connection { .. }
    );
    if is_agents {
        counter!(AGENT_ERRORS).increment(1);
    }
}

/// What a disk's requests are counted with: without a look-up for each.
pub(crate) struct DiskBytes {
    read: metrics::Counter,
    written: metrics::Counter,
}

impl DiskBytes {
    pub(crate) fn new() -> Self {
        Self {
            read: counter!(DISK_READ_BYTES),
            written: counter!(DISK_WRITTEN_BYTES),
        }
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.read.increment(bytes);
    }

    pub(crate) fn written(&self, bytes: u64) {
        self.written.increment(bytes);
    }
}

impl std::fmt::Debug for DiskBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskBytes")
    }
}

/// Why a guest is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to shut down, and did.
    Shutdown,
    /// It did not in time.
    Forced,
    /// It had ended before anybody asked.
    Guest,
}

/// Counts a guest for as long as it runs, and then why it does not.
#[derive(Debug)]
pub(crate) struct RunningGuest(OnceLock<End>);

impl RunningGuest {
    pub(crate) fn new() -> Self {
        gauge!(RUNNING).increment(1.0);
        Self(OnceLock::new())
    }

    /// The guest has ended; what is said first counts.
    pub(crate) fn ended(&self, end: End) {
        if self.0.set(end).is_ok() {
            self.count();
        }
    }

    fn count(&self) {
        let reason = match self.0.get() {
            Some(End::Shutdown) => "shutdown",
            Some(End::Forced) => "forced",
            Some(End::Guest) => "guest",
            None => "cut_off",
        };
        gauge!(RUNNING).decrement(1.0);
        counter!(EXITS, "reason" => reason).increment(1);
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        if self.0.get().is_none() {
            self.count();
        }
    }
}

/// The span of an operation, within the caller's.
pub(crate) fn span(name: &'static str) -> Span {
    macro_rules! named {
        ($($literal:literal),*) => {
            match name {
                $($literal => info_span!(target: "session", $literal, session = Empty),)*
                _ => info_span!(target: "session", "operation", name, session = Empty),
            }
        };
    }
    named!(
        "start",
        "shutdown",
        "terminate",
        "snapshot",
        "import",
        "push",
        "pull",
        "export",
        "publish",
        "gc"
    )
}

/// Says which session the operation that runs on this thread is about.
pub(crate) fn of_session(id: &str) {
    Span::current().record("session", id);
}

/// The boot of a session's guest.
pub(crate) fn boot_span(id: &str) -> Span {
    info_span!(target: "session", "boot", session = id)
}

/// Making snapshots of a session's disks.
pub(crate) fn commit_span(id: &str) -> Span {
    info_span!(target: "session", "commit", session = id)
}

#[cfg(test)]
mod tests;
