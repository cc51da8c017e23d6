//! Writing a new file with holes where it is zero.
//!
//! Invariant: what was not written reads as zeros, so the file has the bytes that were given, and takes no room for
//! pieces that are zero.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What is left out as a whole: the block of most file systems.
const PIECE_BYTES: usize = 4096;

/// The content of a file that has none yet.
#[derive(Debug)]
pub(super) struct Content<'a> {
    file: &'a File,
    at: u64,
    /// Whether a hole is the last that it has.
    ends_in_hole: bool,
}

impl<'a> Content<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            at: 0,
            ends_in_hole: false,
        }
    }

    /// Puts `bytes` behind those that were given before.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let is_hole = is_zero(&bytes[..self.piece(bytes, 0)]);
            let mut len = 0;
            while len < bytes.len() {
                let next = len + self.piece(bytes, len);
                if is_zero(&bytes[len..next]) != is_hole {
                    break;
                }
                len = next;
            }
            if !is_hole {
                self.file.write_all_at(&bytes[..len], self.at)?;
            }
            self.ends_in_hole = is_hole;
            self.at += len as u64;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// How many of the bytes from `from` on are in one piece of the file.
    fn piece(&self, bytes: &[u8], from: usize) -> usize {
        let into = (self.at + from as u64) % PIECE_BYTES as u64;
        // It is less than a piece.
        let left = PIECE_BYTES - usize::try_from(into).unwrap_or(0);
        left.min(bytes.len() - from)
    }

    /// Gives the file its length, which a hole at its end has not.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.ends_in_hole {
            true => self.file.set_len(self.at),
            false => Ok(()),
        }
    }
}

/// Whether a piece is all zeros; a comparison is much faster than a look at each byte.
fn is_zero(piece: &[u8]) -> bool {
    static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
    ZEROS.get(..piece.len()) == Some(piece)
}
