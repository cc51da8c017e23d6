//! Init tasks: what is run in the guest once it takes commands, in the order of what needs what.
//!
//! The host runs them, as the commands that they are. What is to be run once in a session's life is marked as
//! done on the guest's disk by the agent, so that it shares the fate of what the task did there.

mod board;
mod check;
mod runner;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::ExitStatus;

pub(crate) use board::Board;
pub(crate) use check::check;
pub(crate) use runner::Runner;

/// How long a task may take, unless it is said otherwise.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A task that is run in the guest after it has started: once in the session's life, when it first succeeds,
/// unless it is for [every start](Self::at_every_start).
///
/// Tasks begin when the guest takes commands, which an image's init may still be starting its services at: a
/// script that needs them waits for them, as by `systemctl is-system-running --wait`.
///
/// They have the environment of the session's commands, and start in `/`.
///
/// Tasks run at the same time, up to four of them, but for those that [need](Self::needs) others. Whether they
/// succeed is told by [`Session::tasks`](crate::Session::tasks).
///
/// ```
/// # use session::Task;
/// let update = Task::script("update", "apt-get update");
/// let install = Task::script("install", "apt-get install -y git").needs(["update"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "it is given to `SessionBuilder::task`"]
pub struct Task {
    name: String,
    run: Run,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    needs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<(String, String)>,
    timeout: Duration,
    every_start: bool,
}

/// What a task is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Run {
    Script(String),
    Command(Vec<String>),
}

impl Task {
    /// A task of this name (1 to 32 lower-case letters, digits, `-` or `_`) that the image's `sh` runs.
    pub fn script(name: impl Into<String>, script: impl Into<String>) -> Self {
        Self::new(name.into(), Run::Script(script.into()))
    }

    /// A task of this name that is a program with its arguments, for images without a shell.
    pub fn command(
        name: impl Into<String>,
        argv: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self::new(name.into(), Run::Command(argv))
    }

    fn new(name: String, run: Run) -> Self {
        Self {
            name,
            run,
            needs: Vec::new(),
            user: None,
            env: Vec::new(),
            timeout: TIMEOUT,
            every_start: false,
        }
    }

    /// Names of tasks that must have succeeded before this one begins.
    pub fn needs(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.needs.extend(names.into_iter().map(Into::into));
        self
    }

    /// As whom it runs: `user[:group]`. Without it, it is root, whoever other commands run as.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// How long it may take before it is killed; 10 minutes if it is not called.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it at every start of the session.
    pub fn at_every_start(mut self) -> Self {
        self.every_start = true;
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// How a task is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskStatus {
    /// The task's name.
    pub name: String,
    /// Whether it ran, and how that ended.
    pub state: TaskState,
    /// The last 16 KiB that it printed, on either stream.
    pub output: Vec<u8>,
}

/// Where a task is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// It waits for what it needs, or for its turn.
    Waiting,
    /// It runs.
    Running,
    /// It succeeded.
    Done,
    /// It succeeded at an earlier start of the session.
    DoneBefore,
    /// It ended with another status than zero.
    Failed(ExitStatus),
    /// It could not be run, or the guest ended meanwhile.
    Broken {
        /// Why.
        reason: String,
    },
    /// It took longer than it may, and was killed.
    TimedOut,
    /// What it needs did not succeed.
    Skipped {
        /// The task that did not.
        need: String,
    },
    /// The session ended before its turn came.
    Cancelled,
}

impl TaskState {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    /// Whether it did what it should, now or before.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done | Self::DoneBefore)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Running => f.write_str("running"),
            Self::Done => f.write_str("done"),
            Self::DoneBefore => f.write_str("done before"),
            Self::Failed(status) => write!(f, "failed ({status})"),
            Self::Broken { reason } => write!(f, "could not be run ({reason})"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Skipped { need } => write!(f, "skipped, as {need} did not succeed"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}
