//! Frames of a pack's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::table::{
    ENTRY_BYTES, FOOTER_BYTES, Footer, MAX_FRAME_BYTES, PackError, SKIPPABLE_HEADER_BYTES, Table,
    TableEntry, parse_entry,
};
use crate::blobs::open_blob;
use crate::store::StoreError;

/// Reads the table of a pack of this many bytes.
pub(crate) fn read_table(file: &File, bytes: u64) -> io::Result<Result<Table, PackError>> {
    let footer = match read_footer(file, bytes)? {
        Ok(footer) => footer,
        Err(error) => return Ok(Err(error)),
    };
    // The footer vouches for a table that is not larger than the pack, nor than any may be.
    let mut tail = vec![0; usize::try_from(footer.tail_bytes()).unwrap_or(0)];
    file.read_exact_at(&mut tail, bytes - footer.tail_bytes())?;
    Ok(Table::parse(&tail, bytes))
}

fn read_footer(file: &File, bytes: u64) -> io::Result<Result<Footer, PackError>> {
    let Some(start) = bytes.checked_sub(FOOTER_BYTES as u64) else {
        return Ok(Err(PackError::NoPack));
    };
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, start)?;
    Ok(Footer::parse(&footer, bytes))
}

/// An open pack whose footer was verified.
#[derive(Debug)]
pub(crate) struct PackFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    footer: Footer,
}

impl PackFile {
    /// Opens the pack at `path`.
    ///
    /// # Errors
    /// [`StoreError::Io`], or [`StoreError::Pack`] if it is none that can be read.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let io_error = |source| StoreError::Io {
            action: "open pack",
            path: path.clone(),
            source,
        };
        let (file, bytes) = open_blob(&path).map_err(io_error)?;
        let footer = read_footer(&file, bytes).map_err(io_error)?;
        let footer = footer.map_err(|source| StoreError::Pack {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            file,
            path,
            bytes,
            footer,
        })
    }

    /// How many frames its table has.
    pub(crate) fn entries(&self) -> u32 {
        self.footer.entries
    }

    /// At most `count` entries of the table from number `first` on, for a caller that verified the table before.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn table_part(&self, first: u32, count: u32) -> Result<Vec<TableEntry>, StoreError> {
        let count = count.min(self.entries().saturating_sub(first));
        let table = self.bytes - self.footer.tail_bytes() + SKIPPABLE_HEADER_BYTES;
        let mut bytes = vec![0; count as usize * ENTRY_BYTES];
        let offset = table + u64::from(first) * ENTRY_BYTES as u64;
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|source| StoreError::Io {
            action: "read pack",
            path: self.path.clone(),
            source,
        })?;
        Ok(bytes.as_chunks().0.iter().map(parse_entry).collect())
    }

    /// Reads the frame at `offset`, compressed as it is.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the pack has no such bytes.
    pub(crate) fn frame(&self, offset: u64, len: u32) -> Result<Vec<u8>, StoreError> {
        let io_error = |source| StoreError::Io {
            action: "read pack",
            path: self.path.clone(),
            source,
        };
        let inside = offset
            .checked_add(u64::from(len))
            .is_some_and(|end| end <= self.bytes);
        if len > MAX_FRAME_BYTES || !inside {
            return Err(io_error(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut frame = vec![0; len as usize];
        self.file
            .read_exact_at(&mut frame, offset)
            .map_err(io_error)?;
        Ok(frame)
    }
}
