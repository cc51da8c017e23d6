//! Bytes between a socket of the host's and the guest, both ways, until both ways have ended.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;

use super::GuestStream;
use super::socket::Socket;

/// What is moved at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Moves bytes to the end of both directions. An end of one is passed on; when one breaks, all does.
pub(super) fn splice(socket: &Socket, guest: &GuestStream) -> io::Result<()> {
    // The guest's handles are of one connection, without descriptors of their own.
    let (mut from_guest, mut to_guest) = (guest.try_clone()?, guest.try_clone()?);
    let mut from_host = socket;
    let break_off = || {
        socket.shutdown(Shutdown::Both);
        guest.abort();
    };
    thread::scope(|scope| {
        let back = move || match copy(&mut from_guest, &mut &*socket) {
            Ok(()) => socket.shutdown(Shutdown::Write),
            Err(_) => break_off(),
        };
        let back = thread::Builder::new()
            .name("forward-back".to_owned())
            .spawn_scoped(scope, back);
        if let Err(error) = back {
            break_off();
            return Err(error);
        }
        let there = copy(&mut from_host, &mut to_guest).and_then(|()| to_guest.shutdown_write());
        if there.is_err() {
            break_off();
        }
        Ok(())
    })
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
