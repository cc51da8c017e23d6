//! VM sessions that survive their shutdown.
//!
//! A [`Session`] is a virtual machine that runs in the caller's own process, made from a container image. Shutting it
//! down keeps its disk as a [`Snapshot`], named by a digest; any number of sessions can be started from that, now or by
//! a later process.
//!
//! ```no_run
//! # async fn example() -> Result<(), session::Error> {
//! use session::{Session, Store};
//!
//! let store = Store::open("/var/lib/playgrounds")?;
//! let session = Session::from_image(&store, "docker://alpine:3.22").memory_mib(256).start().await?;
//! session.command("sh").args(["-c", "echo hi > /note"]).output().await?;
//! let snapshot = session.shutdown().await?;                       // the disk is safe, and named by a digest
//! let again = Session::from_snapshot(&store, &snapshot).start().await?;
//! assert_eq!(again.command("cat").arg("/note").output().await?.stdout, b"hi\n");
//! # Ok(())
//! # }
//! ```
//!
//! Each slow call returns an [`Op`]: an operation that is under way, to be `.await`ed on any executor, or finished with
//! [`Op::wait`] on a plain thread. There is no async runtime inside, and dropping an `Op` lets it finish.
//!
//! # What is kept
//!
//! - A shutdown returns when the snapshot is on the host's disk for good.
//! - Dropping a [`Session`], or killing its process, is a power cut to the guest: its disk keeps what the guest had
//!   flushed. [`Store::sessions`] then shows it as [`Interrupted`](SessionState::Interrupted), and [`Session::resume`]
//!   goes on from there.
//! - [`Session::terminate`] throws the disk away; the snapshot that the session came from stays.
//!
//! # Limits
//!
//! x86-64 Linux with KVM; guests with a stock Linux kernel of 5.10 or later whose virtio drivers are built in or modules.
//! Images come from registries (`docker://NAME:TAG`), OCI layouts (`oci:DIR:TAG`) and Docker archives
//! (`docker-archive:FILE`); snapshots go to registries and come back.
//! No network, no terminal, and no memory snapshots yet: a resumed session boots.
#![forbid(unsafe_code)]

mod background;
mod builder;
mod command;
mod console;
mod control;
mod disk;
mod disks;
mod drive;
mod error;
mod event;
mod folder;
mod holding;
mod id;
mod initramfs;
mod kernel;
mod launch;
mod machine;
mod op;
mod record;
mod session;
mod snapshot;
mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod timings;

pub use builder::SessionBuilder;
pub use command::{
    Command, ExitStatus, Output, Process, ProcessControl, ProcessOutput, ProcessStdin,
};
pub use drive::{DriveInfo, ExtraDrive};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use kernel::Kernel;
pub use op::Op;
pub use rootfs_store::image::ImageConfig;
pub use rootfs_store::{
    Affected, BlobDigest, BootPacked, Collected, Compacted, Credential, Credentials, Diff,
    DiskUsage, Elsewhere, Exported, Fault, Filled, Imported, NamedSnapshot, NotRepaired, Problem,
    Progress, ProxySetting, Pulled, Pushed, Registries, RegistryError, RegistryMetrics,
    RegistryOptions, RegistryReference, RemoteStats, RemoteTrouble, RepairSource, Repaired,
    RetryPolicy, Root, Secret, Snapshot as SnapshotInfo, SnapshotDigest, SnapshotUsage, Stage,
    StoreOptions, Usage, Verified,
};
pub use session::{Session, Status};
pub use snapshot::{DriveSnapshot, Snapshot};
pub use store::{Base, Chore, Export, Import, SessionInfo, SessionState, Store, UnreadableSession};
pub use timings::Timings;
