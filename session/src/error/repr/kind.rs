//! Which kind each case is.

use agent::protocol::FailureKind;
use rootfs_store::GrowError;
use vmm_core::NetError;

use super::Repr;
use crate::error::ErrorKind;
use crate::error::kinds::{
    diff_kind, disk_kind, empty_disk_kind, export_kind, import_disk_kind, import_kind,
    publish_kind, pull_kind, push_kind, registry_kind, repair_kind, start_kind, store_kind,
};

impl Repr {
    pub(in crate::error) fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => store_kind(error),
            Self::Import(error) => import_kind(error),
            Self::Disk(error) => disk_kind(error),
            Self::Commit(_) | Self::Roots(_) => ErrorKind::Storage,
            Self::Repair(error) => repair_kind(error),
            Self::ImportDisk(error) => import_disk_kind(error),
            Self::Registries(error) => registry_kind(error),
            Self::Push(error) => push_kind(error),
            Self::Pull(error) => pull_kind(error),
            Self::Publish(error) => publish_kind(error),
            Self::Diff(error) => diff_kind(error),
            Self::Export(error) => export_kind(error),
            Self::Start(error) => start_kind(error),
            Self::EmptyDisk(error) => empty_disk_kind(error),
            Self::Grow(GrowError::Store(error)) => store_kind(error),
            Self::Io { .. }
            | Self::RecordDamaged { .. }
            | Self::RecordVersion { .. }
            | Self::DiskFailed { .. } => ErrorKind::Storage,
            Self::NoSession { .. } => ErrorKind::NotFound,
            Self::SessionExists { .. }
            | Self::SessionBusy { .. }
            | Self::NotAtRest { .. }
            | Self::GrowInterrupted { .. } => ErrorKind::Busy,
            Self::Reference(_)
            | Self::Platform(_)
            | Self::ReservedName { .. }
            | Self::BadId { .. }
            | Self::IdOfResumed { .. }
            | Self::TimeOver { .. }
            | Self::BadDriveName { .. }
            | Self::DriveTwice { .. }
            | Self::TooManyDrives { .. }
            | Self::BadMountPoint { .. }
            | Self::MountTwice { .. }
            | Self::BadMountOption { .. }
            | Self::DrivesOfResumed { .. }
            | Self::BadHostname { .. }
            | Self::BadLimits { .. }
            | Self::OtherMachine { .. }
            | Self::BadSetting { .. }
            | Self::BadKey { .. }
            | Self::NoSwitch { .. }
            | Self::ConfigTooLong
            | Self::UnknownNeed { .. }
            | Self::TaskCircle { .. }
            | Self::NotRunning { .. }
            | Self::TerminalSize { .. }
            | Self::GuestPath { .. }
            | Self::HostPath { .. }
            | Self::BadAddress { .. }
            | Self::Grow(_) => ErrorKind::InvalidInput,
            Self::CopyRefused {
                kind: FailureKind::NotFound,
                ..
            } => ErrorKind::NotFound,
            Self::Copy { .. } | Self::CopyInput { .. } | Self::CopyRefused { .. } => {
                ErrorKind::Copy
            }
            Self::Refused { .. } | Self::HostListen { .. } | Self::SshSocket { .. } => {
                ErrorKind::Refused
            }
            Self::KernelUnreadable { .. }
            | Self::KernelName { .. }
            | Self::NoKernelInFolder { .. }
            | Self::NoKernel { .. }
            | Self::NoHostKernel { .. }
            | Self::ModuleMissing { .. }
            | Self::NotAModule { .. }
            | Self::ModuleDamaged { .. } => ErrorKind::Kernel,
            Self::GuestStopped { .. }
            | Self::GuestGone { .. }
            | Self::Agent { .. }
            | Self::AgentConfused { .. }
            | Self::Protocol(_)
            | Self::Connection { .. } => ErrorKind::Guest,
            Self::OverQuota { .. } | Self::HostFull { .. } => ErrorKind::Quota,
            Self::BootTimeout { .. } | Self::AgentSilent { .. } | Self::CommandTimeout { .. } => {
                ErrorKind::Timeout
            }
            Self::Command { .. }
            | Self::CommandInput { .. }
            | Self::OutputTooLong { .. }
            | Self::CommandTooLong { .. } => ErrorKind::Command,
            Self::Network(NetError::TapName { .. } | NetError::NoInterface { .. }) => {
                ErrorKind::InvalidInput
            }
            Self::Network(_) | Self::Thread { .. } => ErrorKind::Host,
            Self::Panicked { .. } | Self::HostKey { .. } => ErrorKind::Internal,
        }
    }
}
