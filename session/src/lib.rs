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
//! # Reaching in
//!
//! Everything goes by the guest's agent, so images need no programs and guests no network for it:
//! [`command`](Session::command), with a [terminal](Command::terminal) or without; [`copy_in`](Session::copy_in) and
//! [`copy_out`](Session::copy_out), or their [`pack`](Session::pack) and [`unpack`](Session::unpack) of tar streams;
//! [`connect`](Session::connect) for one stream, [`forward`](Session::forward) and
//! [`forward_to_host`](Session::forward_to_host) for a port or a Unix socket; [`Store::connect_ssh`] for `ssh` in another
//! process. What a guest sends is not trusted by any of them: it names no file and no address of the host's.
//!
//! # What is kept
//!
//! - A shutdown returns when the snapshot is on the host's disk for good.
//! - Dropping a [`Session`], or killing its process, is a power cut to the guest: its disk keeps what the guest had
//!   flushed. [`Store::sessions`] then shows it as [`Interrupted`](SessionState::Interrupted), and [`Session::resume`]
//!   goes on from there.
//! - [`Session::terminate`] throws the disk away; the snapshot that the session came from stays.
//! - [`Session::snapshot`] keeps what the disk holds while the guest goes on.
//!
//! # When a session ends by itself
//!
//! [`Limits`] say for how long a run may last, 8 hours unless it is said otherwise, and after how long without use it ends.
//! The session is then shut down, or thrown away, and [`SessionBuilder::on_event`] tells of it. If its process is gone at
//! that moment, [`Store::enforce_limits`] does so later. A guest that switches itself off is shut down; one that reboots is
//! started again.
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
//! No memory snapshots yet: a resumed session boots. [`SessionState`] has the states of a session, and what leads from one to
//! another.
#![forbid(unsafe_code)]

mod about;
mod activity;
mod background;
mod builder;
mod clock;
mod command;
mod console;
mod control;
mod copy;
mod disk;
mod disks;
mod drive;
mod error;
mod event;
mod folder;
mod forward;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod holding;
mod id;
mod identity;
mod initramfs;
mod kernel;
mod launch;
mod limits;
mod machine;
mod network;
mod op;
mod over;
mod quotas;
mod record;
mod session;
mod snapshot;
mod ssh;
mod store;
mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod timings;

pub use about::About;
pub use builder::SessionBuilder;
pub use clock::{Clock, SystemClock};
pub use command::{
    Command, ExitStatus, Output, Process, ProcessControl, ProcessOutput, ProcessStdin, TerminalSize,
};
pub use console::ConsoleLog;
pub use copy::{Copied, CopyIn, CopyOut, GuestTar};
pub use drive::{DriveInfo, ExtraDrive};
pub use error::{Error, ErrorKind};
pub use event::{Device, Event, StartStep};
pub use forward::{Forward, GuestAddress, GuestStream, HostAddress};
pub use identity::{Group, GuestFile, User};
pub use kernel::Kernel;
pub use limits::{AtEnd, IdleLimit, Limit, Limits};
pub use network::Network;
pub use op::Op;
pub use quotas::Quotas;
pub use rootfs_store::image::ImageConfig;
pub use rootfs_store::{
    Affected, BlobDigest, BootPacked, Collected, Compacted, Credential, Credentials, Diff,
    DiskUsage, Elsewhere, Exported, Fault, Filled, Imported, NamedSnapshot, NotRepaired, Problem,
    Progress, ProxySetting, Pulled, Pushed, Registries, RegistryError, RegistryMetrics,
    RegistryOptions, RegistryReference, RemoteStats, RemoteTrouble, RepairSource, Repaired,
    RetryPolicy, Root, Secret, Snapshot as SnapshotInfo, SnapshotDigest, SnapshotUsage, Stage,
    StoreOptions, Usage, Verified,
};
pub use session::{Session, Status, TimeLeft};
pub use snapshot::{DriveSnapshot, Snapshot};
pub use store::{
    Base, Chore, Enforced, Export, Housekeeper, Housekeeping, Import, Kept, SessionInfo,
    SessionState, SessionStorage, Store, UnreadableSession,
};
pub use tasks::{Task, TaskState, TaskStatus};
pub use timings::Timings;
pub use vmm_core::{Switch, SwitchPort};
