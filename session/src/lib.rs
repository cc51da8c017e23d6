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
//! # Who the guest is
//!
//! [`SessionBuilder`] says which users, groups, files, networks and tasks a guest has. The agent carries it out
//! before the image's init starts, in images without `useradd`, `sh` or `sshd` too. Each session has an id and
//! an SSH host key of its own, made when it is created. What was described is recorded: a resumed session has
//! it without being told again.
//!
//! ```no_run
//! # fn example(store: &session::Store) -> Result<(), session::Error> {
//! use session::{GuestFile, Session, Task, User};
//!
//! let session = Session::from_image(store, "docker://debian:12")
//!     .hostname("lab-7")
//!     .user(User::new("ann").groups(["docker"]).sudo().authorized_key("ssh-ed25519 AAAA… ann@desk"))
//!     .file(GuestFile::new("/home/ann/README", "Have fun.\n").owner("ann"))
//!     .task(Task::script("unpack", "mkdir -p /srv/lab && tar -xf /opt/lab.tar -C /srv/lab"))
//!     .wait_for_tasks()
//!     .start()
//!     .wait()?;
//! for task in session.tasks() {
//!     println!("{}: {}", task.name, task.state);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! x86-64 Linux with KVM; guests with a stock Linux kernel of 5.10 or later whose virtio drivers are built in or modules.
//! Images come from registries (`docker://NAME:TAG`), OCI layouts (`oci:DIR:TAG`) and Docker archives
//! (`docker-archive:FILE`); snapshots go to registries and come back.
//! No terminal, and no memory snapshots yet: a resumed session boots.
#![forbid(unsafe_code)]

mod background;
mod builder;
mod command;
mod console;
mod control;
mod disk;
mod error;
mod event;
mod folder;
mod holding;
mod id;
mod identity;
mod initramfs;
mod kernel;
mod launch;
mod machine;
mod network;
mod op;
mod record;
mod session;
mod snapshot;
mod store;
mod tasks;
#[cfg(test)]
mod testing;
mod timings;

pub use builder::SessionBuilder;
pub use command::{
    Command, ExitStatus, Output, Process, ProcessControl, ProcessOutput, ProcessStdin,
};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use identity::{Group, GuestFile, User};
pub use kernel::Kernel;
pub use network::Network;
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
pub use snapshot::Snapshot;
pub use store::{Base, Chore, Export, Import, SessionInfo, SessionState, Store, UnreadableSession};
pub use tasks::{Task, TaskState, TaskStatus};
pub use timings::Timings;
pub use vmm_core::{Switch, SwitchPort};
