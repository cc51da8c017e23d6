//! What happens to a session while it runs, told as it happens.

mod listener;

use std::fmt;
use std::time::Duration;

use crate::limits::Limit;
use crate::snapshot::Snapshot;
use crate::tasks::TaskStatus;

pub(crate) use listener::{Events, Listener};

/// Something that happened to a running session, and that no call of its owner returns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The start of the guest has come so far; told also when it is started again.
    Starting {
        /// How far.
        step: StartStep,
    },
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
    /// The host could not do what the guest asked of a disk, for another reason than a registry: its own disk is full or
    /// damaged, for example. The guest was told of an I/O error. After a change that failed so, no snapshot is made of
    /// the disk. Told at most once a second for each disk.
    DiskFailed {
        /// Which disk.
        device: Device,
        /// What went wrong.
        message: String,
    },
    /// What connects one of the guest's networks on the host is gone, as `passt` that was killed. The guest sees the link
    /// go down, until it sets the interface up anew or is started again.
    NetworkLost {
        /// Which of the networks, in the order in which they were given, counted from 0.
        network: usize,
        /// What went wrong.
        message: String,
    },
    /// The host has not come to an end with what the guest wants of a disk or a network: an overloaded host, or a file
    /// system or a registry that does not answer. The guest waits for it, and so may a pause and a snapshot. Told once for
    /// each such wait.
    DeviceSlow {
        /// Of what.
        device: Device,
        /// For how long by now.
        waited: Duration,
    },
    /// A limit is near, by one of [`Limits::warnings`](crate::Limits::warnings).
    LimitNear {
        /// Which.
        limit: Limit,
        /// How long it is until then.
        left: Duration,
    },
    /// A limit was reached; how the session ended is told next.
    LimitReached {
        /// Which.
        limit: Limit,
    },
    /// The guest switched itself off; how the session ended is told next.
    PoweredOff,
    /// The session was shut down by itself: by a limit, a quota, a full host, or after its guest had switched itself off.
    ShutDown {
        /// Its disk.
        snapshot: Snapshot,
    },
    /// The session was thrown away by itself: by a limit, after its guest had switched itself off, or because a termination
    /// that had failed was tried again.
    Terminated,
    /// The guest has written more than [`Quotas::bytes_per_run`](crate::Quotas::bytes_per_run); how the session ended is
    /// told next.
    QuotaReached {
        /// Bytes that its writes take.
        written: u64,
        /// Bytes that they may take.
        limit: u64,
    },
    /// The host's disk is nearly full, by [`Quotas::host_reserve`](crate::Quotas::host_reserve); how the session ended is
    /// told next.
    HostFull {
        /// Bytes that are left.
        free: u64,
    },
    /// The session could not be ended as was due. Nothing is lost, and it is tried again: after a minute, and less and less
    /// often, down to once an hour.
    NotEnded {
        /// Why.
        message: String,
    },
    /// The guest was started again: it had rebooted, or [`Session::reboot`](crate::Session::reboot) was called.
    Rebooted {
        /// How long that took, from the end of the guest until it took commands.
        took: Duration,
    },
    /// The guest's kernel crashed, its VM could not go on, or it did not come up after a reboot. A shutdown keeps its disk,
    /// as after a power cut.
    GuestFailed {
        /// What happened.
        reason: String,
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

impl Event {
    /// Whether it tells of trouble with a device, which may come again and again.
    fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::DiskUnreachable { .. }
                | Self::DiskReachableAgain { .. }
                | Self::DiskFailed { .. }
                | Self::NetworkLost { .. }
                | Self::DeviceSlow { .. }
        )
    }
}

/// How far the start of a guest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartStep {
    /// Its disks, networks and initial RAM disk are there.
    Prepared,
    /// Its VM runs: the kernel boots.
    Booting,
    /// The agent is up, and makes the guest what it was described as.
    Configuring,
    /// It takes commands.
    Ready,
}

/// A device of the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The disk of its root.
    RootDisk,
    /// A further drive.
    Drive {
        /// Its name.
        name: String,
    },
    /// A network.
    Network {
        /// Which, in the order in which they were given, counted from 0.
        network: usize,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootDisk => f.write_str("the root's disk"),
            Self::Drive { name } => write!(f, "drive {name}"),
            Self::Network { network } => write!(f, "network {network}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting { step } => f.write_str(match step {
                StartStep::Prepared => "its disks are there",
                StartStep::Booting => "its kernel boots",
                StartStep::Configuring => "its agent is up",
                StartStep::Ready => "it takes commands",
            }),
            Self::DiskUnreachable { message } => {
                write!(f, "a part of the disk can't be had: {message}")
            }
            Self::DiskReachableAgain { failed, outage } => write!(
                f,
                "the disk can be read again, after {failed} requests that failed in {} s",
                outage.as_secs()
            ),
            Self::DiskFailed { device, message } => {
                write!(f, "a request of the guest's to {device} failed: {message}")
            }
            Self::NetworkLost { network, message } => {
                write!(f, "network {network} is gone: {message}")
            }
            Self::DeviceSlow { device, waited } => {
                let seconds = waited.as_secs();
                write!(f, "the guest has waited {seconds} s for {device}")
            }
            Self::LimitNear { limit, left } => {
                let what = match limit {
                    Limit::Uptime => "its time is over",
                    Limit::Idle => "it counts as idle",
                };
                write!(f, "{what} in {} s", left.as_secs())
            }
            Self::LimitReached {
                limit: Limit::Uptime,
            } => f.write_str("its time is over"),
            Self::LimitReached { limit: Limit::Idle } => f.write_str("it is idle"),
            Self::QuotaReached { written, limit } => {
                write!(f, "its writes take {written} bytes, and may take {limit}")
            }
            Self::HostFull { free } => {
                write!(f, "the host's disk is nearly full, with {free} bytes left")
            }
            Self::PoweredOff => f.write_str("the guest has switched itself off"),
            Self::ShutDown { snapshot } => write!(f, "it is shut down, its disk is {snapshot}"),
            Self::Terminated => f.write_str("it is thrown away"),
            Self::NotEnded { message } => write!(f, "it could not be ended: {message}"),
            Self::Rebooted { took } => {
                write!(f, "the guest was started again, in {} ms", took.as_millis())
            }
            Self::GuestFailed { reason } => write!(f, "the guest is gone: {reason}"),
            Self::IdentityIncomplete { message } => {
                write!(f, "the guest is not all that it should be: {message}")
            }
            Self::TaskEnded { status } => write!(f, "task {}: {}", status.name, status.state),
        }
    }
}
