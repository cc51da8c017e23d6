//! A folder of snapshots and sessions.

mod chore;
mod export;
mod housekeeping;
mod import;
mod keeping;
mod limits;
mod registry;
mod sessions;
mod storage;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rootfs_store::{Lease, NamedSnapshot, SnapshotDigest, StoreError, StoreOptions};

use crate::clock::{Clock, SystemClock};
use crate::console::ConsoleLog;
use crate::error::{Error, Repr};
use crate::folder;
use crate::kernel::OpenKernels;
use crate::quotas::Quotas;

pub use chore::Chore;
pub use export::Export;
pub use import::Import;
pub use keeping::{Housekeeper, Housekeeping, Kept};
pub use limits::Enforced;
pub use registry::Base;
pub(crate) use sessions::remove_locked;
pub use sessions::{SessionInfo, SessionState, UnreadableSession};
pub use storage::SessionStorage;
pub(crate) use storage::Storage;

/// What the names start with that keep the snapshots of sessions.
const RESERVED: &str = "sessions/";

/// A folder that holds images, snapshots and sessions. Clones are the same store, and several processes may have
/// the same folder open.
#[derive(Debug, Clone)]
pub struct Store {
    inner: rootfs_store::Store,
    kernels: Arc<OpenKernels>,
    clock: Arc<dyn Clock>,
    quotas: Arc<Quotas>,
}

impl Store {
    /// Opens the store in `dir`, and makes it if there is none. What processes left behind that died while they made
    /// or removed a session is cleared away.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the folder can't be made, read or written.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// As [`Store::open`], with options: how registries are reached, for example.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(dir: impl AsRef<Path>, options: StoreOptions) -> Result<Self, Error> {
        let inner = rootfs_store::Store::open_with(dir, options)?;
        sessions::sweep(&inner);
        Ok(Self {
            inner,
            kernels: Arc::default(),
            clock: Arc::new(SystemClock::default()),
            quotas: Arc::default(),
        })
    }

    /// The same store, with another clock for the limits of sessions.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.inner.dir()
    }

    /// Makes a snapshot of a container image, named `docker://NAME[:TAG]`, `oci:DIR[:TAG]` or
    /// `docker-archive:FILE[:NAME:TAG]`. An image that was imported before is found again. Nothing happens before [`Import::start`].
    pub fn import(&self, reference: impl Into<String>) -> Import {
        Import::new(self.inner.clone(), reference.into())
    }

    /// The snapshots that have a name, sorted by it. Those that sessions were left in are not among them.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store can't be read.
    pub fn images(&self) -> Result<Vec<NamedSnapshot>, Error> {
        let mut names = self.inner.names()?;
        names.retain(|named| !named.name.starts_with(RESERVED));
        Ok(names)
    }

    /// Gives a snapshot a name, which keeps it. A name that is in use moves to it.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): it is no name for an image.
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): the store doesn't hold the snapshot.
    pub fn name_image(&self, name: &str, snapshot: impl Into<SnapshotDigest>) -> Result<(), Error> {
        check_name(name)?;
        Ok(self.inner.set_name(name, &snapshot.into())?)
    }

    /// Takes a name away; what no name and no session needs any more may then be reclaimed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if nothing has that name.
    pub fn remove_image(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        Ok(self.inner.remove_name(name)?)
    }

    /// Finds a snapshot by a name, its digest, a unique prefix of that, or the id of a session that is shut down.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): nothing is called that.
    /// - [`ErrorKind::Busy`](crate::ErrorKind::Busy): it is a session that was not shut down.
    pub fn resolve(&self, text: &str) -> Result<SnapshotDigest, Error> {
        let unknown = match self.inner.resolve(text) {
            Ok(digest) => return Ok(digest),
            Err(error @ (StoreError::NotFound { .. } | StoreError::BadName { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        match self.session(text) {
            Ok(info) => info.at_rest(),
            Err(error) if error.is_not_found() || error.is_invalid_input() => Err(unknown.into()),
            Err(error) => Err(error),
        }
    }

    /// Describes a snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the store doesn't hold it.
    pub fn snapshot(&self, digest: &SnapshotDigest) -> Result<rootfs_store::Snapshot, Error> {
        Ok(self.inner.snapshot(digest)?)
    }

    /// All sessions, sorted by id, as they are at this moment: those of other processes too, and those whose
    /// process is gone. One whose record can't be read is in its place among the others.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the folder of all sessions can't be read.
    pub fn sessions(&self) -> Result<Vec<Result<SessionInfo, UnreadableSession>>, Error> {
        sessions::list(self.dir())
    }

    /// One session.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none of that id.
    pub fn session(&self, id: &str) -> Result<SessionInfo, Error> {
        sessions::look(self.dir(), id)
    }

    /// What a session's guest printed on its console since it was started last, whether or not it still runs.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that id.
    /// - [`ErrorKind::Storage`](crate::ErrorKind::Storage): the log can't be read.
    pub fn console_log(&self, id: &str) -> Result<ConsoleLog, Error> {
        folder::console_log(self.dir(), id)
    }

    /// A stream to the SSH server in the guest of a session that runs, in whatever process of this user.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that id.
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): it does not run.
    /// - [`ErrorKind::Refused`](crate::ErrorKind::Refused): its process takes no connection.
    pub fn connect_ssh(&self, id: &str) -> Result<UnixStream, Error> {
        sessions::connect_ssh(self.dir(), id)
    }

    /// Throws a session away that does not run, with whatever its disk holds. Snapshots stay.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that id.
    /// - [`ErrorKind::Busy`](crate::ErrorKind::Busy): it is running.
    pub fn remove_session(&self, id: &str) -> Result<(), Error> {
        sessions::remove(&self.inner, id)
    }

    /// Writes a snapshot's disk to a sparse raw file, which must not exist. Nothing happens before [`Export::start`].
    pub fn export(&self, snapshot: impl Into<SnapshotDigest>, file: impl AsRef<Path>) -> Export {
        Export::new(
            self.inner.clone(),
            snapshot.into(),
            file.as_ref().to_owned(),
        )
    }

    /// Keeps a snapshot that nothing may name any more when it is needed.
    pub(crate) fn keep(&self, snapshot: &SnapshotDigest) -> Result<Lease, Error> {
        let bytes = self.inner.snapshot(snapshot)?.disk_bytes;
        // One that grows by nothing is the same, with a lease on it.
        Ok(self.inner.grow(snapshot, bytes)?.lease)
    }

    pub(crate) fn inner(&self) -> &rootfs_store::Store {
        &self.inner
    }

    /// The same store, with limits on what its sessions may take. They hold for what is done with this value and its clones.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        let quotas = Arc::new(quotas);
        Self { quotas, ..self }
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn kernels(&self) -> &OpenKernels {
        &self.kernels
    }
}

/// The name that keeps the snapshot of a session.
pub(crate) fn reference(id: &str) -> String {
    format!("{RESERVED}{id}")
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.starts_with(RESERVED) {
        return Err(Repr::ReservedName {
            name: name.to_owned(),
        }
        .into());
    }
    Ok(rootfs_store::Store::check_name(name)?)
}
