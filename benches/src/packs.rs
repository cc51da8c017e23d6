//! What a snapshot's packs hold, by their tables.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rootfs_store::formats::{Table, TableEntry};
use rootfs_store::{Snapshot, Store};

use crate::MeasureError;

/// Bytes of the footer of a pack, of an entry of its table, and of the header before it: see the format's
/// documentation.
const FOOTER_BYTES: u64 = 24;
const ENTRY_BYTES: u64 = 44;
const SKIPPABLE_HEADER_BYTES: u64 = 8;

/// The frames that an import has written.
#[derive(Debug, Clone)]
pub struct Frames {
    chunks: Vec<TableEntry>,
    pages: Vec<TableEntry>,
}

/// What a second version of an image adds to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Chunks of the second version.
    pub chunks: u64,
    /// Those of them that the first one lacks.
    pub new_chunks: u64,
    /// Bytes of all chunks' frames.
    pub stored_bytes: u64,
    /// Bytes of the frames of those that the first one lacks.
    pub new_stored_bytes: u64,
}

impl Frames {
    /// Frames of an imported snapshot, of which the first `chunks` are chunks: its packs are its own, and not more than
    /// the last has pages.
    ///
    /// # Errors
    /// [`MeasureError`] if a pack can't be read.
    pub fn of(store: &Store, snapshot: &Snapshot, chunks: u64) -> Result<Self, MeasureError> {
        let mut frames = Vec::new();
        for pack in &snapshot.packs {
            let digest = pack.digest.to_string();
            let blobs = store.dir().join("blobs/sha256");
            let path = blobs.join(&digest["sha256:".len()..]);
            frames.extend(table(&path, pack.bytes)?.entries);
        }
        let chunks =
            usize::try_from(chunks).map_or(frames.len(), |chunks| chunks.min(frames.len()));
        let pages = frames.split_off(chunks);
        Ok(Self {
            chunks: frames,
            pages,
        })
    }

    /// These and `more`.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.chunks.extend(more.chunks);
        self.pages.extend(more.pages);
        self
    }

    /// Bytes of the index pages.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        bytes(&self.pages)
    }

    /// What these frames add to those of an earlier version.
    #[must_use]
    pub fn added_to(&self, first: &Self) -> Added {
        let known: HashSet<_> = first.chunks.iter().map(|chunk| chunk.digest).collect();
        let is_new = |chunk: &&TableEntry| !known.contains(&chunk.digest);
        let new: Vec<_> = self.chunks.iter().filter(is_new).copied().collect();
        Added {
            chunks: self.chunks.len() as u64,
            new_chunks: new.len() as u64,
            stored_bytes: bytes(&self.chunks),
            new_stored_bytes: bytes(&new),
        }
    }
}

fn bytes(frames: &[TableEntry]) -> u64 {
    frames.iter().map(|frame| u64::from(frame.len)).sum()
}

fn table(path: &Path, pack_bytes: u64) -> Result<Table, MeasureError> {
    let file = File::open(path).map_err(MeasureError::io("open", path))?;
    let read = |buffer: &mut [u8], before_end: u64| {
        file.read_exact_at(buffer, pack_bytes.saturating_sub(before_end))
            .map_err(MeasureError::io("read", path))
    };
    let mut count = [0; 4];
    read(&mut count, FOOTER_BYTES)?;
    let entries = u64::from(u32::from_le_bytes(count));
    let tail_bytes =
        (SKIPPABLE_HEADER_BYTES + entries * ENTRY_BYTES + FOOTER_BYTES).min(pack_bytes);
    let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
    read(&mut tail, tail_bytes)?;
    Table::parse(&tail, pack_bytes).map_err(|source| MeasureError::Pack {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use rootfs_store::ChunkDigest;

    use super::*;

    fn frame(content: u8, len: u32) -> TableEntry {
        TableEntry {
            digest: ChunkDigest::of(&[content]),
            offset: 0,
            len,
        }
    }

    #[test]
    fn only_unknown_chunks_are_added() {
        let frames = |chunks: &[TableEntry]| Frames {
            chunks: chunks.to_vec(),
            pages: vec![frame(9, 7)],
        };
        let first = frames(&[frame(1, 10), frame(2, 20)]);
        let second = frames(&[frame(1, 10), frame(3, 30)]);
        let added = second.added_to(&first);
        assert_eq!((added.chunks, added.new_chunks), (2, 1));
        assert_eq!((added.stored_bytes, added.new_stored_bytes), (40, 30));
        assert_eq!(second.index_bytes(), 7);
    }
}
