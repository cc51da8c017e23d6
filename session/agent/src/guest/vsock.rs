//! Sockets to and from the host.
#![expect(unsafe_code, reason = "accept(2) returns a raw file descriptor")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use agent::protocol::{COMMAND_PORT, CONTROL_PORT, HOST_CID};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, accept4, bind, connect, getpeername,
    listen, socket,
};

use super::error::StartError;

/// How long the transport may take to come up, and the host to listen.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

fn stream() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Vsock,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// Opens the control connection.
pub(super) fn connect_to_host() -> Result<File, StartError> {
    let address = VsockAddr::new(HOST_CID, CONTROL_PORT);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt =
            stream().and_then(|socket| connect(socket.as_raw_fd(), &address).map(|()| socket));
        match attempt {
            Ok(socket) => return Ok(File::from(socket)),
            // A kernel without vsock gets none by waiting; a transport may yet come.
            Err(error) if error == Errno::EAFNOSUPPORT || Instant::now() >= deadline => {
                let host = format!("the host's vsock port {CONTROL_PORT}");
                return Err(StartError::step("connect to", host)(error));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Connects to a vsock port of the host; it answers at once, or refuses.
pub(super) fn dial_host(port: u32) -> io::Result<File> {
    let socket = stream()?;
    connect(socket.as_raw_fd(), &VsockAddr::new(HOST_CID, port))?;
    Ok(File::from(socket))
}

/// The socket that takes commands.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl Listener {
    pub(super) fn open() -> Result<Self, StartError> {
        let failed = || StartError::step("listen on", format!("vsock port {COMMAND_PORT}"));
        let socket = stream().map_err(failed())?;
        let address = VsockAddr::new(nix::libc::VMADDR_CID_ANY, COMMAND_PORT);
        bind(socket.as_raw_fd(), &address).map_err(failed())?;
        let backlog = Backlog::new(BACKLOG).map_err(failed())?;
        listen(&socket, backlog).map_err(failed())?;
        Ok(Self(socket))
    }

    /// Waits for a connection of the host's. A guest's own users, who come by way of the loopback, are hung up on.
    pub(super) fn accept(&self) -> io::Result<File> {
        loop {
            let socket = accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
            // SAFETY: accept4 has just made this descriptor, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(socket) };
            // One that can't say who it is has hung up already.
            if getpeername::<VsockAddr>(socket.as_raw_fd()).is_ok_and(|peer| is_host(&peer)) {
                return Ok(File::from(socket));
            }
        }
    }
}

fn is_host(peer: &VsockAddr) -> bool {
    peer.cid() == HOST_CID
}

#[cfg(test)]
mod tests {
    use nix::libc::{VMADDR_CID_ANY, VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL};

    use super::*;

    #[test]
    fn only_the_host_gives_commands() {
        let is_heard = |cid| is_host(&VsockAddr::new(cid, 1023));
        assert!(is_heard(HOST_CID));
        // The guest by its own number, and by that of the loopback.
        let others = [3, VMADDR_CID_LOCAL, VMADDR_CID_HYPERVISOR, VMADDR_CID_ANY];
        assert!(!others.into_iter().any(is_heard));
    }
}
