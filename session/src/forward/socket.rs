//! A socket of the host's, of either kind.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::HostAddress;

/// How long a connection may take to be accepted.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for room where too many wait already.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects to what listens on the host.
    pub(super) fn connect(address: &HostAddress) -> io::Result<Self> {
        match address {
            HostAddress::Tcp(address) => {
                let socket = TcpStream::connect_timeout(address, PATIENCE)?;
                socket.set_nodelay(true)?;
                Ok(Self::Tcp(socket))
            }
            HostAddress::Unix(path) => Ok(Self::Unix(connect_unix(path, PATIENCE)?)),
        }
    }

    /// Ends one direction, or both. A socket that is over is left as it is.
    pub(super) fn shutdown(&self, how: Shutdown) {
        let done = match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        };
        drop(done);
    }
}

/// Connects without waiting: fails with [`WouldBlock`](io::ErrorKind::WouldBlock) where too many wait to be accepted.
pub(super) fn connect_unix_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

fn connect_unix(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now() + patience;
    loop {
        match connect_unix_now(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Err(Errno::TIMEDOUT.into());
                }
                thread::sleep(RETRY);
            }
            connected => return connected,
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).read(buf),
            Socket::Unix(socket) => (&*socket).read(buf),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&*socket).write(buf),
            Socket::Unix(socket) => (&*socket).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
