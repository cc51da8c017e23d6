//! Connections from the host to what listens in the guest.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use agent::protocol::{Address, FailureKind, Frame};

use super::job::failed;
use super::link::Link;
use super::{splice, ssh};

/// How long a TCP connection may take to be accepted.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects, and moves bytes until both sides have ended; returns the last frame, if there is one.
pub(super) fn run(link: &mut Link, address: &Address) -> Option<Frame> {
    let dialled = match address {
        Address::Port(port) => loopback(*port),
        Address::Tcp(address) => tcp(*address),
        Address::Unix(path) => {
            UnixStream::connect(path).map(|socket| File::from(OwnedFd::from(socket)))
        }
        Address::Ssh => return ssh::run(link),
    };
    match dialled {
        Ok(socket) => serve(link, &socket),
        Err(error) => {
            let message = format!(
                "could not connect to {} in the guest: {error}",
                show(address)
            );
            Some(failed(FailureKind::Refused, message))
        }
    }
}

/// Tells the host that it is connected to `socket` now, and makes that true.
pub(super) fn serve(link: &mut Link, socket: &File) -> Option<Frame> {
    if link.say(&Frame::Connected) {
        splice::run(&link.connection, socket);
    }
    None
}

/// Connects to what listens at a port of the loopback interface, be it by IPv4 or IPv6.
pub(super) fn loopback(port: u16) -> io::Result<File> {
    let address = |ip: IpAddr| SocketAddr::new(ip, port);
    tcp(address(Ipv4Addr::LOCALHOST.into()))
        // The first error is about the address that people know.
        .or_else(|error| tcp(address(Ipv6Addr::LOCALHOST.into())).map_err(|_| error))
}

fn tcp(address: SocketAddr) -> io::Result<File> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    // The host's program has decided what goes together.
    socket.set_nodelay(true)?;
    Ok(File::from(OwnedFd::from(socket)))
}

/// An address for people.
pub(super) fn show(address: &Address) -> String {
    match address {
        Address::Port(port) => format!("port {port}"),
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => path.clone(),
        Address::Ssh => "the SSH server".to_owned(),
    }
}
