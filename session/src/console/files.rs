//! The console log in a session's folder: its beginning, and its end in numbered pieces.
//!
//! Invariant: [`HEAD_BYTES`] and two pieces of [`PIECE_BYTES`] at most are kept, the last piece and the one before it
//! among them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// How much is kept of the beginning: boot is what people look for there.
pub(super) const HEAD_BYTES: u64 = 1 << 20;

/// How much a piece of the end has, of which two are kept.
pub(super) const PIECE_BYTES: u64 = 3 << 19;

/// The beginning's file.
const HEAD: &str = "console.log";

/// What the names of pieces begin with, in front of their numbers.
const PIECE: &str = "console.";

/// A log that is written.
#[derive(Debug)]
pub(crate) struct ConsoleFiles {
    folder: PathBuf,
    current: File,
    left: u64,
    /// The number of the current piece; 0 is the beginning.
    number: u64,
}

impl ConsoleFiles {
    /// Starts a new log in `folder`, in place of the one that is there.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        for (_, piece) in pieces(folder)? {
            fs::remove_file(piece)?;
        }
        Ok(Self {
            current: File::create(folder.join(HEAD))?,
            folder: folder.to_owned(),
            left: HEAD_BYTES,
            number: 0,
        })
    }

    /// Appends `bytes`. What the host has no room for is lost.
    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 && self.next_piece().is_err() {
                return;
            }
            let count =
                usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            // A full disk must not stop the guest: the log is a convenience.
            let _written_or_lost = self.current.write_all(&bytes[..count]);
            self.left -= count as u64;
            bytes = &bytes[count..];
        }
    }

    fn next_piece(&mut self) -> io::Result<()> {
        let next = self.number + 1;
        self.current = File::create(self.folder.join(format!("{PIECE}{next}")))?;
        (self.number, self.left) = (next, PIECE_BYTES);
        if let Some(old) = next.checked_sub(2).filter(|old| *old > 0) {
            fs::remove_file(self.folder.join(format!("{PIECE}{old}")))?;
        }
        Ok(())
    }
}

/// What a guest printed on its serial console since its last start: guests choose these bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsoleLog {
    /// The beginning, up to 1 MiB.
    pub beginning: Vec<u8>,
    /// How many bytes between the beginning and the end were dropped.
    pub omitted: u64,
    /// The end, at least 1.5 MiB and up to 3 MiB if there is so much behind the beginning.
    pub end: Vec<u8>,
}

impl ConsoleLog {
    /// Reads the log in `folder`; empty if there is none.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let mut log = Self {
            beginning: read_up_to(&folder.join(HEAD), HEAD_BYTES)?,
            ..Self::default()
        };
        let pieces = pieces(folder)?;
        // The first piece has number 1.
        let first = pieces.first().map_or(1, |(number, _)| *number);
        log.omitted = first.saturating_sub(1).saturating_mul(PIECE_BYTES);
        for (_, piece) in pieces {
            log.end.extend(read_up_to(&piece, PIECE_BYTES)?);
        }
        Ok(log)
    }

    /// All of it as text, without control characters but line feeds, and a line in the place of what was dropped.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = super::plain(&self.beginning);
        if self.omitted > 0 {
            text.push_str(&format!("\n[{} bytes are left out]\n", self.omitted));
        }
        text.push_str(&super::plain(&self.end));
        text
    }
}

/// The pieces in `folder`, in their order.
fn pieces(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut pieces = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PIECE));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            pieces.push((number, entry.path()));
        }
    }
    pieces.sort_unstable();
    Ok(pieces)
}

/// A file that is not there, or was just removed, is empty.
fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
