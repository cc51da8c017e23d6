//! Disks that hold nothing but a file system.

use crate::chunk::DEFAULT_CHUNK_BYTES;
use crate::ext4::{LABEL_BYTES, Layout, LayoutError};
use crate::import::{Imported, round_up};
use crate::manifest::MAX_DISK_BYTES;
use crate::pack::PACK_BYTES;
use crate::plain_disk::PlainDisk;
use crate::store::{Store, StoreError};
use crate::tree::{Tree, TreeError};

/// Why an empty disk could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmptyDiskError {
    /// A size that no disk can have was asked for.
    #[error("an empty disk can't have {disk_bytes} bytes: ask for 1 to {MAX_DISK_BYTES}")]
    DiskSize {
        /// The size in bytes.
        disk_bytes: u64,
    },
    /// A label that the file system has no room for.
    #[error("{label:?} is no label: use 1 to {LABEL_BYTES} letters, digits, '-', '_' or '.'")]
    Label {
        /// The label.
        label: String,
    },
    /// The file system has no room on a disk of that size.
    #[error("could not make a file system")]
    Layout(#[from] LayoutError),
    /// The host has no room for temporary files.
    #[error(transparent)]
    Scratch(#[from] TreeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a snapshot of a disk of `disk_bytes`, rounded up to a multiple of 1 MiB, with an ext4 on it that is called
    /// `label` and holds no files. The same size and label give the same snapshot in every store.
    ///
    /// The snapshot has no name yet; [`Imported::lease`] keeps it.
    ///
    /// # Errors
    /// [`EmptyDiskError`]; no snapshot is visible.
    pub fn empty_disk(&self, disk_bytes: u64, label: &str) -> Result<Imported, EmptyDiskError> {
        let rounded = round_up(disk_bytes).ok_or(EmptyDiskError::DiskSize { disk_bytes })?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=LABEL_BYTES).contains(&label.len()) || !label.bytes().all(allowed) {
            let label = label.to_owned();
            return Err(EmptyDiskError::Label { label });
        }
        let chunk_bytes = DEFAULT_CHUNK_BYTES;
        let tree = Tree::new(self.blobs().staging())?;
        let layout = Layout::plan(tree, rounded, chunk_bytes)?.labelled(label);
        let occupied = layout.occupied_chunks(chunk_bytes);
        let read = |chunk: u64, buffer: &mut [u8]| {
            // Nothing is read but what the layout makes up.
            let nothing = |_: u64, _: &mut [u8]| Ok::<_, StoreError>(());
            layout.read_with(buffer, chunk * u64::from(chunk_bytes), nothing)
        };
        let disk = PlainDisk {
            disk_bytes: rounded,
            count: occupied.len() as u64,
            occupied: occupied.into_iter(),
            read: &read,
            pack_bytes: PACK_BYTES,
        };
        Ok(self.seal_plain(disk, &())?)
    }
}

#[cfg(test)]
mod tests;
