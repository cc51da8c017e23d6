//! Where a command's input comes from.

use std::fmt;
use std::io::{self, Read};

use agent::protocol::{Frame, MAX_DATA, write_frame};

use super::Connection;

/// The source of a command's standard input.
pub(super) enum Stdin {
    /// It reads `/dev/null`.
    Nothing,
    Bytes(Vec<u8>),
    Reader(Box<dyn Read + Send>),
    /// The caller writes it while the command runs.
    Piped,
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Reader(_) => f.write_str("Reader"),
            Self::Piped => f.write_str("Piped"),
        }
    }
}

/// Sends all of `reader` to the command, and the end of it. An error is the reader's own: that the command takes
/// no more is none.
pub(super) fn feed(
    mut connection: Box<dyn Connection>,
    mut reader: Box<dyn Read + Send>,
) -> io::Result<()> {
    let mut buffer = vec![0; MAX_DATA];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let frame = match count {
            0 => Frame::StdinEnd,
            count => Frame::Stdin(buffer[..count].to_vec()),
        };
        if write_frame(&mut connection, &frame).is_err() || count == 0 {
            return Ok(());
        }
    }
}
