//! The socket in a session's folder that leads to its guest's SSH server.
//!
//! Invariant: it is there while the guest runs, for the user of the process that runs it.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use agent::protocol::Address;

use crate::command::Guest;
use crate::error::{Error, Repr};
use crate::forward::{self, Door, Forward, below};

/// The socket's name in the session's folder.
const NAME: &str = "ssh.sock";

/// Takes connections in the session's folder, whose lock the caller holds: a socket that is there is a left-over.
pub(crate) fn serve(guest: Arc<dyn Guest>, folder: &Path) -> Result<Forward, Error> {
    let door = File::open(folder).and_then(|folder| Door::open_in(folder, NAME));
    let door = door.map_err(|source| Repr::HostListen {
        address: folder.join(NAME).display().to_string(),
        source,
    })?;
    forward::serve(guest, door, Address::Ssh)
}

/// Connects to the socket in `folder`.
pub(crate) fn connect(folder: &Path) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(below(&folder, NAME))
}

#[cfg(test)]
mod tests;
