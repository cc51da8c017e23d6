//! `playground ssh-proxy`

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;

use session::Store;

use crate::failure::Failure;

/// Connects our streams to the SSH server of a session's guest, until that ends the connection.
pub(crate) fn proxy(store: &Store, session: &str) -> Result<(), Failure> {
    let mut from = store.connect_ssh(session)?;
    let failed = || Failure::io("read from the session's SSH socket");
    let mut to = from.try_clone().map_err(failed())?;
    // It may wait for input when the connection is over; then it ends with the process.
    thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    let mut output = io::stdout().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).map_err(failed())? {
            0 => return Ok(()),
            count => output.write_all(&buffer[..count])?,
        }
        // Standard output is buffered by lines, which this isn't made of.
        output.flush()?;
    }
}
