//! Describing a session before it starts.

use std::fmt;
use std::iter;
use std::num::NonZeroU64;
use std::time::Duration;

use rootfs_store::{Lease, Progress, SnapshotDigest};
use vmm_core::Switch;

use crate::about::About;
use crate::background::Fill;
use crate::drive::ExtraDrive;
use crate::error::Error;
use crate::event::{Event, Listener};
use crate::identity::{Description, Group, GuestFile, User};
use crate::kernel::Kernel;
use crate::launch;
use crate::limits::Limits;
use crate::network::Network;
use crate::op::Op;
use crate::record::Record;
use crate::session::Session;
use crate::store::{Import, SessionInfo, Store};
use crate::tasks::Task;

/// How long a guest may take until it takes commands, unless it is said otherwise.
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a guest may take to shut down, unless it is said otherwise: as long as systemd gives its units.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(90);

/// A session that is being described; [`start`](Self::start) makes it run.
///
/// What is not set is 1 vCPU, 512 MiB of memory, the guest's own hostname, and the kernel in the store's `kernel`
/// folder (an unpacked distribution package) or, without one, the host's own. A resumed session keeps what it had.
#[must_use = "nothing runs before `start`"]
pub struct SessionBuilder {
    pub(crate) store: Store,
    pub(crate) source: Source,
    pub(crate) settings: Settings,
    pub(crate) listener: Option<Listener>,
}

/// What a session starts from.
pub(crate) enum Source {
    Image(Box<Import>),
    Snapshot(SnapshotDigest),
    Session(String),
    /// A new session from the snapshot of another one, on a machine like that. The leases keep what it begins with.
    Like(Box<Record>, Vec<Lease>),
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) id: Option<String>,
    pub(crate) kernel: Option<Kernel>,
    pub(crate) vcpus: Option<u8>,
    pub(crate) memory_mib: Option<u32>,
    pub(crate) hostname: Option<String>,
    pub(crate) description: Description,
    pub(crate) waits_for_tasks: bool,
    /// One for each network that was given; `None` where it is no switch.
    pub(crate) switches: Vec<Option<Switch>>,
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) fill: Option<Fill>,
    pub(crate) limits: Option<Limits>,
    pub(crate) about: Option<About>,
    pub(crate) drives: Vec<ExtraDrive>,
    pub(crate) boot_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
}

impl SessionBuilder {
    pub(crate) fn new(store: &Store, source: Source) -> Self {
        let settings = Settings {
            id: None,
            kernel: None,
            vcpus: None,
            memory_mib: None,
            hostname: None,
            description: Description::default(),
            waits_for_tasks: false,
            switches: Vec::new(),
            disk_bytes: None,
            fill: None,
            limits: None,
            about: None,
            drives: Vec::new(),
            boot_timeout: BOOT_TIMEOUT,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
        };
        Self {
            store: store.clone(),
            source,
            settings,
            listener: None,
        }
    }

    /// A new session that begins with the snapshots that `record` names, on a machine like that one's.
    pub(crate) fn like(store: &Store, record: Record) -> Result<Self, Error> {
        let drives = record.drives.iter().map(|drive| drive.snapshot);
        let snapshots = iter::once(record.snapshot).chain(drives);
        let kept = snapshots.map(|snapshot| store.keep(&snapshot));
        let kept = kept.collect::<Result<_, _>>()?;
        Ok(Self::new(store, Source::Like(Box::new(record), kept)))
    }

    /// The session's id: 1 to 63 letters, digits, `-`, `_` or `.`. Without it, one is made up.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.settings.id = Some(id.into());
        self
    }

    /// The guest's memory in MiB.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.settings.memory_mib = Some(mib);
        self
    }

    /// The size of the guest's disk in bytes, rounded up to a multiple of 1 MiB. Without it, an image's is 8 GiB or
    /// more, and a snapshot's or session's is what it was. A disk can grow, and the file system on it does too when
    /// it is ext4; it can't shrink.
    pub fn disk_bytes(mut self, bytes: u64) -> Self {
        self.settings.disk_bytes = Some(bytes);
        self
    }

    /// Gives the session one more drive besides its root. Drives are chosen when a session is created; a resumed one has
    /// those that it had, as they were left.
    pub fn drive(mut self, drive: ExtraDrive) -> Self {
        self.settings.drives.push(drive);
        self
    }

    /// Fetches the rest of the root's disk, if it is in a registry, while the session runs, once the first command has an
    /// answer (or ten seconds after the guest is ready for one), at so many bytes per second at most if a limit is given.
    /// What has come when the session ends stays in the store. Without this, only what the guest reads is fetched, and
    /// what the last start read.
    pub fn fill_in_background(mut self, bytes_per_second: Option<NonZeroU64>) -> Self {
        self.settings.fill = Some(Fill { bytes_per_second });
        self
    }

    /// The guest's processors.
    pub fn vcpus(mut self, count: u8) -> Self {
        self.settings.vcpus = Some(count);
        self
    }

    /// The guest's hostname: 1 to 63 letters, digits or `-`.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.settings.hostname = Some(name.into());
        self
    }

    /// A user that the guest shall have. What a resumed session was described by before stays; one of the same name is
    /// replaced. This goes for groups, files and variables as well.
    pub fn user(mut self, user: User) -> Self {
        self.settings.description.users.push(user);
        self
    }

    /// A group that the guest shall have.
    pub fn group(mut self, group: Group) -> Self {
        self.settings.description.groups.push(group);
        self
    }

    /// A file to put into the guest.
    pub fn file(mut self, file: GuestFile) -> Self {
        self.settings.description.files.push(file);
        self
    }

    /// Sets a variable in the environment of all commands, on top of the image's. [`Command::env`](crate::Command::env)
    /// goes over it.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let description = &mut self.settings.description;
        description.env.push((name.into(), value.into()));
        self
    }

    /// The directory that commands start in, instead of the image's.
    pub fn working_dir(mut self, path: impl Into<String>) -> Self {
        self.settings.description.working_dir = Some(path.into());
        self
    }

    /// As whom commands run, instead of as the image says: `user[:group]`, names of the guest or numbers.
    pub fn run_as(mut self, user: impl Into<String>) -> Self {
        self.settings.description.run_as = Some(user.into());
        self
    }

    /// A network interface for the guest. A resumed session has those that it had, unless it is given any: it then has
    /// these alone.
    pub fn network(mut self, network: Network) -> Self {
        self.settings.description.networks.push(network.card);
        self.settings.switches.push(network.switch);
        self
    }

    /// A task to run in the guest once it takes commands.
    pub fn task(mut self, task: Task) -> Self {
        self.settings.description.tasks.push(task);
        self
    }

    /// Lets [`start`](Self::start) end only when all tasks have, whether or not they succeeded.
    pub fn wait_for_tasks(mut self) -> Self {
        self.settings.waits_for_tasks = true;
        self
    }

    /// The kernel to boot.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.settings.kernel = Some(kernel);
        self
    }

    /// When the session ends by itself, and how; [`Limits::default`] if it is not called: a shutdown after 8 hours.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = Some(limits);
        self
    }

    /// What is noted of the session: a title, labels, and for how long it is kept. Without it a fork has the labels of what
    /// it is a fork of.
    pub fn about(mut self, about: About) -> Self {
        self.settings.about = Some(about);
        self
    }

    /// How long the guest may take until it takes commands; 60 s if it is not called.
    pub fn boot_timeout(mut self, timeout: Duration) -> Self {
        self.settings.boot_timeout = timeout;
        self
    }

    /// How long the guest may take to shut down, before it is ended by force; 90 s if it is not called.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = timeout;
        self
    }

    /// Is told of what happens to the session while it runs, one event after the other, on a thread of its own, where it may
    /// do what it wants, also with the session: it must not own that, however, but hold a [`Weak`](std::sync::Weak), or nobody
    /// would ever drop it. While it does not return for one event up to 1,024 others wait; what comes then is lost to it,
    /// trouble with devices first. Only the last one that is set is called.
    pub fn on_event(mut self, listener: impl FnMut(&Event) + Send + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Is told how far the import of the image has come. Does nothing for a session that starts from a snapshot; the steps
    /// of a start itself are [events](Self::on_event).
    pub fn on_progress(mut self, progress: impl Progress + Send + 'static) -> Self {
        if let Source::Image(import) = self.source {
            self.source = Source::Image(Box::new(import.on_progress(progress)));
        }
        self
    }

    /// Makes the session without starting it; [`Session::resume`] does that, now or in a later process. It fails as
    /// [`start`](Self::start) does, and for a session that exists.
    pub fn create(self) -> Op<SessionInfo> {
        Op::start("create", move || launch::make_only(self))
    }

    /// Starts the session; it takes commands when the operation is done.
    ///
    /// A start that fails leaves no new session behind, and one that was to be resumed as it was. The kinds of its
    /// errors say where to look: [`InvalidInput`](crate::ErrorKind::InvalidInput), [`Kvm`](crate::ErrorKind::Kvm),
    /// [`Kernel`](crate::ErrorKind::Kernel), [`Image`](crate::ErrorKind::Image),
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Busy`](crate::ErrorKind::Busy),
    /// [`Guest`](crate::ErrorKind::Guest), [`Timeout`](crate::ErrorKind::Timeout),
    /// [`Registry`](crate::ErrorKind::Registry), [`Quota`](crate::ErrorKind::Quota),
    /// [`Host`](crate::ErrorKind::Host) and [`Storage`](crate::ErrorKind::Storage).
    pub fn start(self) -> Op<Session> {
        let waits_for_tasks = self.settings.waits_for_tasks;
        Op::start("start", move || {
            let session = launch::launch(self)?;
            if waits_for_tasks {
                session.finish_tasks();
            }
            Ok(session)
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(import) => import.fmt(f),
            Self::Snapshot(digest) => digest.fmt(f),
            Self::Session(id) => id.fmt(f),
            Self::Like(record, _) => record.id.fmt(f),
        }
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("source", &self.source)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
