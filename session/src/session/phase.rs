//! Where a session is in its life.

use std::fmt;
use std::mem;
use std::time::Duration;

use vmm_core::VsockHost;

use crate::background::Background;
use crate::holding::Holding;
use crate::machine::{Machine, Watch};
use crate::snapshot::Snapshot;

use super::doors::Doors;

/// A guest that was started, with what it holds. The machine goes before the disk, which it calls.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) doors: Doors,
    pub(super) machine: Machine,
    pub(super) background: Background,
    pub(super) holding: Holding,
    pub(super) vsock: VsockHost,
}

/// A guest that was shut down, and whose snapshot failed.
#[derive(Debug)]
pub(super) struct Halted {
    pub(super) holding: Holding,
    pub(super) clean: bool,
}

/// The present step, with what belongs to it.
#[derive(Debug)]
pub(super) enum Phase {
    Running(Box<Live>),
    /// An operation has the rest; this is the guest that it may still wait for.
    Ending(Option<Watch>),
    Halted(Box<Halted>),
    Stopped(Snapshot),
    Removed,
}

/// How a session is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The guest runs.
    Running,
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
    /// It was terminated.
    Terminated,
}

impl Phase {
    pub(super) fn halted(holding: Holding, clean: bool) -> Self {
        Self::Halted(Box::new(Halted { holding, clean }))
    }

    /// The guest, if there is one.
    pub(super) fn watch(&self) -> Option<Watch> {
        match self {
            Self::Running(live) => Some(live.machine.watch()),
            _ => None,
        }
    }

    /// Lets go of a guest that has ended.
    pub(super) fn halt(&mut self, clean: bool) {
        if let Self::Running(live) = mem::replace(self, Self::Removed) {
            let Live {
                doors,
                machine,
                background,
                holding,
                ..
            } = *live;
            drop(doors);
            drop(machine);
            drop(background);
            *self = Self::halted(holding, clean);
        }
    }

    pub(super) fn status(&self) -> Status {
        match self {
            Self::Running(live) => match live.machine.watch().exit_within(Duration::ZERO) {
                Some(reason) => Status::GuestGone { reason },
                None => Status::Running,
            },
            Self::Ending(_) => Status::Ending,
            Self::Halted(_) => Status::Unsaved,
            Self::Stopped(snapshot) => Status::Stopped(snapshot.clone()),
            Self::Removed => Status::Terminated,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::GuestGone { reason } => write!(f, "the guest is gone ({reason})"),
            Self::Ending => f.write_str("ending"),
            Self::Unsaved => f.write_str("not saved"),
            Self::Stopped(snapshot) => write!(f, "stopped ({snapshot})"),
            Self::Terminated => f.write_str("terminated"),
        }
    }
}
