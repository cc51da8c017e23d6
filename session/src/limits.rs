//! How long a session may run, and what becomes of it then.

mod idle;
mod watch;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Repr};

pub(crate) use idle::Sample;
pub(crate) use watch::{LimitWatch, Verdict};

/// As long as labs give their students.
const DEFAULT_UPTIME: Duration = Duration::from_secs(8 * 3600);
/// When warnings are given, unless it is said otherwise.
const DEFAULT_WARNINGS: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(60)];
/// What a guest that does nothing takes of a processor, with room to spare.
const DEFAULT_CPU_PERCENT: u32 = 5;
/// What address resolution and renewed leases make a guest send that does nothing.
const DEFAULT_NETWORK_BYTES: u64 = 4096;
/// More warnings than anyone reads.
const MAX_WARNINGS: usize = 32;

/// When a session ends by itself, and how: [`Limits::default`] and then the fields that should be different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// How long a run may last, from its start; 8 hours at first, `None` is without end.
    ///
    /// Reboots and pauses count. A run that is cut off, as its process dies, and resumed goes on counting from where it
    /// had begun, by the host's clock; if its time was over by then it begins anew, as after a shutdown, or is refused if
    /// the session was to be thrown away then.
    pub max_uptime: Option<Duration>,
    /// When a session counts as idle; `None`, as at first, is never.
    pub idle: Option<IdleLimit>,
    /// What becomes of a session whose time is over, or that is idle; a shutdown at first.
    pub at_end: AtEnd,
    /// What becomes of a session whose guest switches itself off; a shutdown at first.
    pub at_power_off: AtEnd,
    /// How long before an end [`Event::LimitNear`](crate::Event::LimitNear) warns: 10 minutes and 1 minute at first.
    pub warnings: Vec<Duration>,
    /// Whether the guest's terminals show the warnings; yes at first.
    pub tell_guest: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_uptime: Some(DEFAULT_UPTIME),
            idle: None,
            at_end: AtEnd::Shutdown,
            at_power_off: AtEnd::Shutdown,
            warnings: DEFAULT_WARNINGS.to_vec(),
            tell_guest: true,
        }
    }
}

impl Limits {
    /// No limits: the session runs until it is ended.
    #[must_use]
    pub fn none() -> Self {
        Self {
            max_uptime: None,
            idle: None,
            ..Self::default()
        }
    }

    /// Refuses what would end a session at once, or makes no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = if self.max_uptime.is_some_and(|limit| limit.is_zero()) {
            "a session that may run for no time"
        } else if self.idle.as_ref().is_some_and(|idle| idle.after.is_zero()) {
            "a session that is idle after no time"
        } else if self.warnings.len() > MAX_WARNINGS {
            "more than 32 warnings"
        } else {
            return Ok(());
        };
        Err(Repr::BadLimits { problem }.into())
    }
}

/// When a session is idle: for this long, all of these were true.
///
/// - No command ran, and nobody called [`Session::touch`](crate::Session::touch). A console takes no input; a terminal is a
///   command's.
/// - Nothing went through a forwarded connection, either way.
/// - The guest sent no more than [`network_bytes_per_minute`](Self::network_bytes_per_minute) to its networks. What others
///   send to it does not count: networks are never quiet.
/// - The guest's processors together took no more time than [`cpu_percent`](Self::cpu_percent).
///
/// All of it is measured on the host, so a guest keeps its session alive by working, or by leaving the host waiting for a
/// command's end, which [`Command::timeout`](crate::Command::timeout) bounds. A paused session does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct IdleLimit {
    /// For how long.
    pub after: Duration,
    /// What processor time does not count as work: in percent of one processor, 5 at first.
    pub cpu_percent: u32,
    /// What network traffic does not count as work: bytes that the guest sends in a minute, 4096 at first.
    pub network_bytes_per_minute: u64,
}

impl IdleLimit {
    /// Idle after this long.
    #[must_use]
    pub fn after(after: Duration) -> Self {
        Self {
            after,
            cpu_percent: DEFAULT_CPU_PERCENT,
            network_bytes_per_minute: DEFAULT_NETWORK_BYTES,
        }
    }
}

/// What becomes of a session at the end of its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AtEnd {
    /// Its disk is kept, as a snapshot.
    #[default]
    Shutdown,
    /// It is thrown away.
    Terminate,
}

/// Which of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::max_uptime`].
    Uptime,
    /// [`Limits::idle`].
    Idle,
}

#[cfg(test)]
mod tests;
