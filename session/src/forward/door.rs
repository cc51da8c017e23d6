//! A listening socket of the host's, which can be closed while it is waited for.
//!
//! Invariant: the file of a Unix socket goes with it, and no file is replaced but a socket that nobody listens at.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::HostAddress;
use super::socket::{Socket, connect_unix_now};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Only the owner of the process connects.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

#[derive(Debug)]
pub(crate) struct Door {
    listener: Listener,
    closed: UnixStream,
    closer: Closer,
}

/// Ends the wait at a [`Door`].
#[derive(Debug)]
pub(super) struct Closer(UnixStream);

impl Closer {
    /// Lets no more connections in.
    pub(super) fn close(&self) {
        // A buffer that is full says the same.
        drop((&self.0).write(&[0]));
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixDoor),
}

impl Door {
    /// Listens at `address`, with whatever port is free if that is 0.
    pub(super) fn open(address: &HostAddress) -> io::Result<Self> {
        let listener = match address {
            HostAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Listener::Tcp(listener)
            }
            HostAddress::Unix(path) => {
                remove_stale(path)?;
                Listener::Unix(UnixDoor::open(path.clone(), None)?)
            }
        };
        Self::new(listener)
    }

    /// Listens at `name` in `folder`, in the place of what has that name: the caller knows that nobody uses it.
    pub(crate) fn open_in(folder: File, name: &str) -> io::Result<Self> {
        let path = below(&folder, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Self::new(Listener::Unix(UnixDoor::open(path, Some(folder))?))
    }

    fn new(listener: Listener) -> io::Result<Self> {
        let (closed, closer) = UnixStream::pair()?;
        Ok(Self {
            listener,
            closed,
            closer: Closer(closer),
        })
    }

    pub(super) fn address(&self) -> io::Result<HostAddress> {
        Ok(match &self.listener {
            Listener::Tcp(listener) => HostAddress::Tcp(listener.local_addr()?),
            Listener::Unix(door) => HostAddress::Unix(door.path.clone()),
        })
    }

    /// Waits for the next connection; `None` once it is closed.
    pub(super) fn accept(&self) -> Option<io::Result<Socket>> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.closed.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Some(Err(error.into())),
            }
            if !fds[0].revents().is_empty() {
                return None;
            }
            match self.listener.accept() {
                // Whoever came is gone again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => return Some(accepted),
            }
        }
    }

    pub(super) fn closer(&self) -> io::Result<Closer> {
        self.closer.0.try_clone().map(Closer)
    }
}

impl Listener {
    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nonblocking(false)?;
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }
            Self::Unix(door) => {
                let (socket, _) = door.listener.accept()?;
                socket.set_nonblocking(false)?;
                Ok(Socket::Unix(socket))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(door) => door.listener.as_fd(),
        }
    }
}

#[derive(Debug)]
struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    /// What the path goes through, if that is a descriptor.
    _folder: Option<File>,
    /// Device and inode of the file, so that another one of this name stays.
    file: Option<(u64, u64)>,
}

impl UnixDoor {
    fn open(path: PathBuf, folder: Option<File>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the socket's mode, so that there is no time in which others could connect.
        fchmod(&socket, MODE)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        let file = fs::symlink_metadata(&path).ok().as_ref().map(identity);
        // From here on the file is removed if something fails.
        let door = Self {
            listener: UnixListener::from(socket),
            path,
            _folder: folder,
            file,
        };
        listen(&door.listener, BACKLOG)?;
        Ok(door)
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok();
        let is_ours = self.file.is_some() && now.as_ref().map(identity) == self.file;
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a socket could not be removed");
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// The path of what is called `name` in an open folder: short, however long that of the folder is.
pub(crate) fn below(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// Removes the socket that a process left at `path` which is no more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let is_stale = is_socket
        && connect_unix_now(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_stale {
        fs::remove_file(path)?;
    }
    Ok(())
}
