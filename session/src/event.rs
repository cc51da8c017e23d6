//! What happens to a session while it runs, told as it happens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::tasks::TaskStatus;

/// Something that happened to a running session, and that no call of its owner returns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A request of the guest's to its disk failed, or one of our own, as a part of the disk is in a registry that
    /// can't be reached or does not give it. More such errors follow without an event, until
    /// [`DiskReachableAgain`](Self::DiskReachableAgain).
    ///
    /// Reads are none the worse for it later. A change that failed so, a discard or a write of less than a block, is
    /// an error of [`Session::shutdown`](crate::Session::shutdown), as is any that the host could not make; a resumed
    /// session goes on with what its guest had flushed.
    DiskUnreachable {
        /// What could not be had, from where, and why.
        message: String,
    },
    /// What could not be had of the disk has been since.
    DiskReachableAgain {
        /// How many of the guest's requests failed.
        failed: u64,
        /// Since the first of these.
        outage: Duration,
    },
    /// A part of the guest's identity, such as a user's keys, could not be carried out at a start that did not change
    /// it; the guest runs without that part. Told once for each part while the session starts.
    IdentityIncomplete {
        /// What could not be done, and why, in the agent's words.
        message: String,
    },
    /// A task of the session has ended.
    TaskEnded {
        /// How.
        status: TaskStatus,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskUnreachable { message } => {
                write!(f, "a part of the disk can't be had: {message}")
            }
            Self::DiskReachableAgain { failed, outage } => write!(
                f,
                "the disk can be read again, after {failed} requests that failed in {} s",
                outage.as_secs()
            ),
            Self::IdentityIncomplete { message } => {
                write!(f, "the guest is not all that it should be: {message}")
            }
            Self::TaskEnded { status } => write!(f, "task {}: {}", status.name, status.state),
        }
    }
}

type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// Who wants to be told.
#[derive(Default)]
pub(crate) struct Events(Option<Listener>);

impl Events {
    pub(crate) fn to(listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(listener)))
    }

    /// Tells of an event. A listener that panics is no reason for a guest's device to end.
    pub(crate) fn tell(&self, event: &Event) {
        let told = self
            .0
            .as_ref()
            .map(|listener| catch_unwind(AssertUnwindSafe(|| listener(event))));
        if let Some(Err(_)) = told {
            tracing::error!(?event, "who listens for a session's events panicked");
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.is_some()).finish()
    }
}
