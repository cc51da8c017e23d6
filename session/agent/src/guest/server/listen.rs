//! Connections from the guest to the host.
//!
//! Invariant: it listens for as long as the host's connection is open, and holds at most [`MAX_FORWARDED`] connections.

#[cfg(test)]
mod tests;

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use agent::protocol::{Address, FailureKind, Frame, Listen, MAX_FORWARDED};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;

use super::connect::show;
use super::dial::unix_now;
use super::job::failed;
use super::link::{HOST_GONE, Link};
use super::{RETRY_PAUSE, STACK_BYTES, splice};
use crate::guest::vsock;

/// How long to wait for one of so many connections to end.
const FULL_PAUSE_MS: u16 = 100;

/// Who may connect to a socket is for the permissions of its folder to say.
const SOCKET_MODE: u32 = 0o666;

/// Listens until the host hangs up; returns the last frame, if there is one.
pub(super) fn run(link: &mut Link, listen: &Listen) -> Option<Frame> {
    let (door, address) = match Door::open(&listen.address) {
        Ok(opened) => opened,
        Err(error) => {
            let address = show(&listen.address);
            let message = format!("could not listen at {address} in the guest: {error}");
            return Some(failed(FailureKind::Refused, message));
        }
    };
    let port = listen.port;
    if link.say(&Frame::Listening(address)) {
        serve(link, &door, move || vsock::dial_host(port));
    }
    None
}

fn serve(link: &Link, door: &Door, dial: impl Fn() -> io::Result<File> + Clone + Send + 'static) {
    // Each connection's thread has one more of these.
    let open = Arc::new(());
    loop {
        let is_full = Arc::strong_count(&open) > MAX_FORWARDED;
        match wait(link, door, is_full) {
            Some(false) => {}
            Some(true) => {
                let (place, dial) = (Arc::clone(&open), dial.clone());
                let accepted = door.accept().and_then(|client| {
                    thread::Builder::new()
                        .stack_size(STACK_BYTES)
                        .spawn(move || {
                            if let Ok(host) = dial() {
                                splice::run(&client, &host);
                            }
                            drop(place);
                        })
                });
                match accepted {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => thread::sleep(RETRY_PAUSE),
                }
            }
            None => return,
        }
    }
}

/// Waits for a client: whether there is one, or `None` if the host has hung up, or says what makes no sense.
fn wait(link: &Link, door: &Door, is_full: bool) -> Option<bool> {
    let mut fds = vec![PollFd::new(
        link.connection.as_fd(),
        PollFlags::POLLIN | HOST_GONE,
    )];
    let mut timeout = PollTimeout::NONE;
    if is_full {
        timeout = PollTimeout::from(FULL_PAUSE_MS);
    } else {
        fds.push(PollFd::new(door.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(_) => thread::sleep(RETRY_PAUSE),
    }
    // No events at all are HOST_GONE, which nix doesn't know.
    match fds[0].revents() {
        Some(events) if events.is_empty() => {
            let client = fds.get(1).and_then(|fd| fd.any());
            Some(client.unwrap_or(false))
        }
        _ => None,
    }
}

/// A listening socket; the file of a Unix socket goes with it.
enum Door {
    Tcp(TcpListener),
    Unix {
        _file: SocketFile,
        listener: UnixListener,
    },
}

impl Door {
    /// Listens, and says where.
    fn open(address: &Address) -> io::Result<(Self, Address)> {
        let tcp = |address: SocketAddr| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = Address::Tcp(listener.local_addr()?);
            Ok((Self::Tcp(listener), address))
        };
        match address {
            Address::Port(port) => tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
            Address::Tcp(address) => tcp(*address),
            Address::Unix(path) => {
                let listener = unix(Path::new(path))?;
                let file = SocketFile::open_up(PathBuf::from(path))?;
                Ok((
                    Self::Unix {
                        _file: file,
                        listener,
                    },
                    address.clone(),
                ))
            }
            Address::Ssh => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn accept(&self) -> io::Result<File> {
        Ok(File::from(match self {
            Self::Tcp(listener) => {
                let (client, _) = listener.accept()?;
                client.set_nodelay(true)?;
                OwnedFd::from(client)
            }
            Self::Unix { listener, .. } => OwnedFd::from(listener.accept()?.0),
        }))
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

/// The file of a socket, which goes with this.
struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that another file of this name stays.
    identity: (u64, u64),
}

impl SocketFile {
    /// Lets everybody connect to the socket that was just made at `path`, if it is that: others may write to the folder.
    fn open_up(path: PathBuf) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
            .open(&path)?;
        let data = file.metadata()?;
        if !data.file_type().is_socket() || data.uid() != geteuid().as_raw() {
            return Err(Errno::ESTALE.into());
        }
        // The very file that was looked at, whatever has its name now.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(itself, Permissions::from_mode(SOCKET_MODE))?;
        let identity = identity(&data);
        Ok(Self { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|data| identity(&data) == self.identity) {
            // What is left is replaced by the next one.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

/// Listens at `path`, in the place of a socket that nobody listens at any more.
fn unix(path: &Path) -> io::Result<UnixListener> {
    let is_stale = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && unix_now(path).is_err_and(|error| error == Errno::ECONNREFUSED);
    if is_stale {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
