//! The table of contents and the footer, from and to bytes.

use crate::digest::{ChunkDigest, DIGEST_BYTES};

/// The version of packs that is written and read here.
pub(crate) const PACK_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"VMS-PACK";
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
pub(super) const SKIPPABLE_HEADER_BYTES: u64 = 8;
pub(super) const ENTRY_BYTES: usize = DIGEST_BYTES + 8 + 4;
/// Bytes of the footer, the last of a pack.
pub(crate) const FOOTER_BYTES: usize = 24;
/// Most entries of a pack, which bounds what reading its table can cost: 176 MiB.
pub(crate) const MAX_ENTRIES: u32 = 4 << 20;
/// Longest frame, in bytes: a chunk of the largest size that does not compress.
pub(crate) const MAX_FRAME_BYTES: u32 = crate::chunk::MAX_CHUNK_BYTES + (64 << 10);

// Packs of this version live in users' registries: a change of their form needs a new version.
const _: () = assert!(ENTRY_BYTES == 44 && FOOTER_BYTES == 24 && PACK_VERSION == 1);

/// Why bytes are no pack.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The blob doesn't end with a pack's footer.
    #[error("it does not end with the footer of a pack")]
    NoPack,
    /// The pack was written by a newer version.
    #[error("it is a pack of version {found}; this version reads {PACK_VERSION}")]
    Version {
        /// The version in the footer.
        found: u32,
    },
    /// A checksum is wrong.
    #[error("the checksum of its {part} is wrong")]
    Checksum {
        /// `table` or `footer`.
        part: &'static str,
    },
    /// The footer claims more entries than a pack may have or this one has room for.
    #[error("its footer claims {entries} entries, which don't fit into its {pack_bytes} bytes")]
    Entries {
        /// Entries that the footer claims.
        entries: u32,
        /// Size of the blob.
        pack_bytes: u64,
    },
    /// The frames are not back to back from the start of the pack to the table.
    #[error("entry {entry} of its table does not begin where the one before ends")]
    Gap {
        /// Number of the entry; one past the last if the table does not begin there.
        entry: usize,
    },
}

/// One frame of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableEntry {
    /// Digest of the plain bytes.
    pub digest: ChunkDigest,
    /// Where the frame starts in the pack.
    pub offset: u64,
    /// Length of the frame in bytes.
    pub len: u32,
}

/// The table of contents of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// All frames, in the order of their offsets.
    pub entries: Vec<TableEntry>,
}

/// What the last [`FOOTER_BYTES`] of a pack say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(super) entries: u32,
    table_crc: u32,
}

impl Footer {
    /// Reads the footer of a pack of `pack_bytes`.
    pub(crate) fn parse(bytes: &[u8; FOOTER_BYTES], pack_bytes: u64) -> Result<Self, PackError> {
        if bytes[16..] != MAGIC {
            return Err(PackError::NoPack);
        }
        let version = u32_at(bytes, 8);
        if version != PACK_VERSION {
            return Err(PackError::Version { found: version });
        }
        if crc32c::crc32c(&bytes[..12]) != u32_at(bytes, 12) {
            return Err(PackError::Checksum { part: "footer" });
        }
        let footer = Self {
            entries: u32_at(bytes, 0),
            table_crc: u32_at(bytes, 4),
        };
        if footer.entries > MAX_ENTRIES || footer.tail_bytes() > pack_bytes {
            return Err(PackError::Entries {
                entries: footer.entries,
                pack_bytes,
            });
        }
        Ok(footer)
    }

    /// Bytes of the skippable frame that ends the pack.
    pub(crate) fn tail_bytes(self) -> u64 {
        SKIPPABLE_HEADER_BYTES + u64::from(self.entries) * ENTRY_BYTES as u64 + FOOTER_BYTES as u64
    }
}

impl Table {
    /// The skippable frame that ends a pack.
    #[must_use]
    pub fn to_tail(&self) -> Vec<u8> {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let mut table = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            table.extend_from_slice(entry.digest.as_bytes());
            table.extend_from_slice(&entry.offset.to_le_bytes());
            table.extend_from_slice(&entry.len.to_le_bytes());
        }
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        for field in [count, crc32c::crc32c(&table), PACK_VERSION] {
            footer.extend_from_slice(&field.to_le_bytes());
        }
        footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
        footer.extend_from_slice(&MAGIC);
        let len = u32::try_from(table.len() + footer.len()).unwrap_or(u32::MAX);
        let header = [SKIPPABLE_MAGIC.to_le_bytes(), len.to_le_bytes()];
        [header.concat(), table, footer].concat()
    }

    /// Reads the skippable frame that ends a pack of `pack_bytes`.
    ///
    /// # Errors
    /// Any [`PackError`].
    pub fn parse(tail: &[u8], pack_bytes: u64) -> Result<Self, PackError> {
        let (rest, footer) = tail.split_last_chunk().ok_or(PackError::NoPack)?;
        let footer = Footer::parse(footer, pack_bytes)?;
        let header = [
            SKIPPABLE_MAGIC.to_le_bytes(),
            u32::try_from(footer.tail_bytes() - SKIPPABLE_HEADER_BYTES)
                .unwrap_or(0)
                .to_le_bytes(),
        ];
        let table = match rest.split_first_chunk::<8>() {
            Some((found, table)) if *found == *header.as_flattened() => table,
            _ => return Err(PackError::NoPack),
        };
        if table.len() as u64 + SKIPPABLE_HEADER_BYTES + FOOTER_BYTES as u64 != footer.tail_bytes()
        {
            return Err(PackError::NoPack);
        }
        if crc32c::crc32c(table) != footer.table_crc {
            return Err(PackError::Checksum { part: "table" });
        }
        let entries: Vec<_> = table.as_chunks().0.iter().map(parse_entry).collect();
        check_back_to_back(&entries, pack_bytes - footer.tail_bytes())?;
        Ok(Self { entries })
    }
}

pub(super) fn parse_entry(bytes: &[u8; ENTRY_BYTES]) -> TableEntry {
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&bytes[..DIGEST_BYTES]);
    let mut offset = [0; 8];
    offset.copy_from_slice(&bytes[DIGEST_BYTES..DIGEST_BYTES + 8]);
    TableEntry {
        digest: ChunkDigest::from_bytes(digest),
        offset: u64::from_le_bytes(offset),
        len: u32_at(bytes, DIGEST_BYTES + 8),
    }
}

fn check_back_to_back(entries: &[TableEntry], frames_bytes: u64) -> Result<(), PackError> {
    let mut end = 0u64;
    for (number, entry) in entries.iter().enumerate() {
        if entry.offset != end || entry.len > MAX_FRAME_BYTES {
            return Err(PackError::Gap { entry: number });
        }
        end += u64::from(entry.len);
    }
    if end != frames_bytes {
        return Err(PackError::Gap {
            entry: entries.len(),
        });
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
mod tests;
