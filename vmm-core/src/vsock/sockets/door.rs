//! The socket file that clients connect to, and the way to those that the guest connects to.
//!
//! Invariant: nothing here waits, and no file is replaced or removed but a socket that nobody listens at.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use super::VsockSocketError;

/// What a socket's address has room for, its end not counted (`sun_path` of unix(7)).
const MAX_ADDRESS_BYTES: usize = 107;
/// The longest of what comes behind the path for a port of the host's: `_4294967295`.
const MAX_SUFFIX_BYTES: usize = 11;
/// The longest path, so that every port has a socket.
pub(super) const MAX_PATH_BYTES: usize = MAX_ADDRESS_BYTES - MAX_SUFFIX_BYTES;
/// Clients that wait to be accepted.
const BACKLOG: i32 = 128;
/// What all sockets here have, from their beginning.
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// Only the owner of the process connects.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Checks what can be checked of a path without touching it.
pub(super) fn check_path(path: &Path) -> Result<(), VsockSocketError> {
    let bytes = path.as_os_str().len();
    if bytes == 0 || bytes > MAX_PATH_BYTES {
        let path = path.to_owned();
        return Err(VsockSocketError::PathLength { path, bytes });
    }
    Ok(())
}

/// A listening socket whose file goes when this is dropped.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that another one of this name stays.
    file: Option<(u64, u64)>,
}

impl Door {
    pub(super) fn open(path: &Path) -> Result<Self, VsockSocketError> {
        let failed = |action| {
            move |errno: Errno| VsockSocketError::Io {
                action,
                path: path.to_owned(),
                source: errno.into(),
            }
        };
        check_path(path)?;
        let address = SocketAddrUnix::new(path).map_err(failed("make an address of"))?;
        let socket = new_socket().map_err(failed("make a socket for"))?;
        // Linux gives the file the socket's mode, less the umask: so there is no time in which others could
        // connect, and the process's umask stays as it is.
        fchmod(&socket, MODE).map_err(failed("set the permissions of"))?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address)?;
                bind(&socket, &address)
            }
            result => result,
        }
        .map_err(failed("make"))?;
        // From here on the file is removed if something fails.
        let door = Self {
            listener: UnixListener::from(socket),
            path: path.to_owned(),
            file: fs::symlink_metadata(path).ok().as_ref().map(identity),
        };
        listen(&door.listener, BACKLOG).map_err(failed("listen at"))?;
        Ok(door)
    }

    /// The next client.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        let client = accept_with(&self.listener, FLAGS)?;
        Ok(UnixStream::from(client))
    }

    /// Connects to the socket for the host's `port`; at once, or not at all.
    pub(super) fn reach(&self, port: u32) -> io::Result<UnixStream> {
        let mut path = OsString::from(&self.path);
        path.push(format!("_{port}"));
        let socket = new_socket()?;
        connect(&socket, &SocketAddrUnix::new(Path::new(&path))?)?;
        Ok(UnixStream::from(socket))
    }
}

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok();
        let is_ours = self.file.is_some() && now.as_ref().map(identity) == self.file;
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a vsock socket could not be removed");
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)
}

/// Removes the socket that a process left at `path` which is no more.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), VsockSocketError> {
    let failed = |action, source| VsockSocketError::Io {
        action,
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(VsockSocketError::NotASocket { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("examine", error)),
    }
    let probe = new_socket().map_err(|errno| failed("examine", errno.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .map_err(|error| failed("remove the left-over socket", error)),
        Err(Errno::NOENT) => Ok(()),
        // A listener whose backlog is full, or a socket of another type, is somebody's, too.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            Err(VsockSocketError::InUse { path: path.into() })
        }
        Err(errno) => Err(failed("examine", errno.into())),
    }
}
