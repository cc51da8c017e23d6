//! Where a session is in its life.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use vmm_core::VsockHost;

use crate::background::Background;
use crate::folder::LockedFolder;
use crate::holding::Holding;
use crate::machine::{Gone, Machine, Watch};
use crate::snapshot::Snapshot;
use crate::tasks::Runner;

use super::doors::Doors;

/// A guest that was started, with what it holds. The machine goes before the disk, which it calls.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) doors: Doors,
    pub(super) machine: Machine,
    /// After the machine, which its tasks run in; before what they tell of.
    pub(super) tasks: Option<Runner>,
    pub(super) background: Background,
    pub(super) holding: Holding,
    pub(super) vsock: VsockHost,
    pub(super) is_paused: bool,
    /// How often it was made to stand still.
    pub(super) pauses: u64,
}

impl Live {
    pub(super) fn new(machine: Machine, background: Background, holding: Holding) -> Self {
        let vsock = machine.vsock();
        Self {
            doors: Doors::default(),
            machine,
            background,
            holding,
            vsock,
            tasks: None,
            is_paused: false,
            pauses: 0,
        }
    }

    /// Ends the guest, and lets go of all but what the session holds of its store.
    pub(super) fn end(self) -> Holding {
        let Self {
            doors,
            machine,
            tasks,
            background,
            holding,
            ..
        } = self;
        background.cancel();
        drop(doors);
        drop(machine);
        drop(tasks);
        drop(background);
        holding
    }
}

/// A session whose guest is gone, and whose disk is no snapshot yet.
#[derive(Debug)]
pub(super) struct Halted {
    pub(super) holding: Holding,
    pub(super) clean: bool,
    /// What ended the guest, if nobody had asked for that.
    pub(super) crash: Option<String>,
}

/// The present step, with what belongs to it.
#[derive(Debug)]
pub(super) enum Phase {
    Running(Box<Live>),
    /// An operation has the rest; this is the guest that it may still wait for.
    Busy(Doing, Option<Watch>),
    Halted(Box<Halted>),
    Stopped(Snapshot),
    /// It was terminated, and something of it could not be removed: others are still kept from it.
    Removing(Arc<LockedFolder>),
    Removed,
}

/// What an operation does that has taken the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Ending,
    Rebooting,
}

/// How a session is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The guest runs.
    Running,
    /// The guest stands still.
    Paused,
    /// The guest was ended, to be started again with the same disk.
    Rebooting,
    /// The guest has ended by itself; a shutdown keeps its disk.
    GuestGone {
        /// What ended it.
        reason: String,
    },
    /// It is being shut down or terminated.
    Ending,
    /// The guest was shut down, but the snapshot failed: shut the session down again, or resume it later.
    Unsaved,
    /// It was shut down: its disk is this snapshot.
    Stopped(Snapshot),
    /// It was terminated, but something of it could not be removed: terminate it again.
    Unremoved,
    /// It was terminated.
    Terminated,
}

impl Phase {
    /// Whether it holds what others wait for: a guest, disks, or the session's lock.
    pub(super) fn holds_session(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Halted(_) | Self::Removing(_))
    }

    /// The guest, if there is one.
    pub(super) fn watch(&self) -> Option<Watch> {
        match self {
            Self::Running(live) => Some(live.machine.watch()),
            Self::Busy(_, watch) => watch.clone(),
            _ => None,
        }
    }

    /// Lets go of a guest that has ended.
    pub(super) fn halt(&mut self, clean: bool, crash: Option<String>) {
        match mem::replace(self, Self::Removed) {
            Self::Running(live) => {
                let holding = live.end();
                *self = Self::Halted(Box::new(Halted {
                    holding,
                    clean,
                    crash,
                }));
            }
            other => *self = other,
        }
    }

    pub(super) fn status(&self) -> Status {
        match self {
            Self::Running(live) => match live.machine.watch().exit_within(Duration::ZERO) {
                Some(Gone { reason, .. }) => Status::GuestGone { reason },
                None if live.is_paused => Status::Paused,
                None => Status::Running,
            },
            Self::Busy(Doing::Ending, _) => Status::Ending,
            Self::Busy(Doing::Rebooting, _) => Status::Rebooting,
            Self::Halted(halted) => match &halted.crash {
                Some(reason) => Status::GuestGone {
                    reason: reason.clone(),
                },
                None => Status::Unsaved,
            },
            Self::Stopped(snapshot) => Status::Stopped(snapshot.clone()),
            Self::Removing(_) => Status::Unremoved,
            Self::Removed => Status::Terminated,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Rebooting => f.write_str("rebooting"),
            Self::GuestGone { reason } => write!(f, "the guest is gone ({reason})"),
            Self::Ending => f.write_str("ending"),
            Self::Unsaved => f.write_str("not saved"),
            Self::Stopped(snapshot) => write!(f, "stopped ({snapshot})"),
            Self::Unremoved => f.write_str("not removed"),
            Self::Terminated => f.write_str("terminated"),
        }
    }
}
