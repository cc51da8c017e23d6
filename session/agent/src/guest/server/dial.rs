//! Connections to what listens in the guest, which may accept nobody.
//!
//! Invariant: whoever dials is back after [`PATIENCE`], or sooner if the host hangs up.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, getsockopt, setsockopt,
    socket, sockopt,
};

use super::link::{HOST_GONE, Link, timeout};

/// How long a connection may take to be accepted.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for room where too many wait already.
const RETRY: Duration = Duration::from_millis(50);

/// A connection that is being made for the host.
#[derive(Debug)]
pub(super) struct Dial<'a> {
    link: &'a Link,
    deadline: Instant,
}

impl<'a> Dial<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        Self::until(link, Instant::now() + PATIENCE)
    }

    fn until(link: &'a Link, deadline: Instant) -> Self {
        Self { link, deadline }
    }

    /// Connects to what listens at a port of the loopback interface, be it by IPv4 or IPv6.
    pub(super) fn loopback(&self, port: u16) -> io::Result<File> {
        let address = |ip: IpAddr| SocketAddr::new(ip, port);
        self.tcp(address(Ipv4Addr::LOCALHOST.into()))
            // The first error is about the address that people know.
            .or_else(|error| {
                self.tcp(address(Ipv6Addr::LOCALHOST.into()))
                    .map_err(|_| error)
            })
    }

    pub(super) fn tcp(&self, address: SocketAddr) -> io::Result<File> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let socket = open(family)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) => {}
            Err(Errno::EINPROGRESS) => {
                while !self.wait(Some(&socket), self.deadline)? {}
                match getsockopt(&socket, sockopt::SocketError)? {
                    0 => {}
                    error => return Err(io::Error::from_raw_os_error(error)),
                }
            }
            Err(error) => return Err(error.into()),
        }
        // The host's program has decided what goes together.
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
        Ok(File::from(socket))
    }

    pub(super) fn unix(&self, path: &Path) -> io::Result<File> {
        loop {
            match unix_now(path) {
                // Too many wait already, which can't be waited for.
                Err(Errno::EAGAIN) => {
                    let next = (Instant::now() + RETRY).min(self.deadline);
                    self.wait(None, next)?;
                }
                connected => return Ok(connected?),
            }
        }
    }

    /// Waits for the end of a connection's making, `until` a time; whether that was seen. An error if nobody waits any
    /// more.
    fn wait(&self, socket: Option<&OwnedFd>, until: Instant) -> io::Result<bool> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Errno::ETIMEDOUT.into());
        }
        let mut fds = vec![PollFd::new(self.link.connection.as_fd(), HOST_GONE)];
        fds.extend(socket.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)));
        match poll(&mut fds, timeout(until.saturating_duration_since(now))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // No events at all are HOST_GONE, which nix doesn't know.
        if fds[0].revents().is_none_or(|events| !events.is_empty()) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(fds.get(1).and_then(PollFd::any).unwrap_or(false))
    }
}

fn open(family: AddressFamily) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None)
}

/// Connects to a Unix socket without waiting.
pub(super) fn unix_now(path: &Path) -> nix::Result<File> {
    let socket = open(AddressFamily::Unix)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(File::from(socket))
}
