//! Connections from the host to what listens in the guest.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use agent::protocol::{Address, FailureKind, Frame};

use super::dial::Dial;
use super::job::failed;
use super::link::Link;
use super::{splice, ssh};

/// Connects, and moves bytes until both sides have ended; returns the last frame, if there is one.
pub(super) fn run(link: &mut Link, address: &Address) -> Option<Frame> {
    let dial = Dial::new(link);
    let dialled = match address {
        Address::Port(port) => dial.loopback(*port),
        Address::Tcp(address) => dial.tcp(*address),
        Address::Unix(path) => dial.unix(Path::new(path)),
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

/// An address for people.
pub(super) fn show(address: &Address) -> String {
    match address {
        Address::Port(port) => format!("port {port}"),
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => path.clone(),
        Address::Ssh => "the SSH server".to_owned(),
    }
}
