//! Index pages, from and to bytes.
//!
//! Numbers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | magic `VSIP` |
//! | 2 | version, 1 |
//! | 1 | level: 0 if the entries are chunks, else one more than that of the pages they are |
//! | 1 | zero |
//! | 2 | n, the number of entries: 1 to 256 |
//! | 2 | p, the number of packs but the page's own: 0 to 256 |
//! | 4 | zero |
//! | 32 · p | digests of these packs, ascending |
//! | 48 · n | entries, by ascending slot: slot (1), zero (1), pack (2), frame length (4), frame offset (8), digest (32) |
//! | 4 | CRC-32C of all before |
//!
//! An entry's pack is 0 for the pack that the page itself lies in, or one more than its place in the list.
//!
//! Invariant: the bytes of a page follow from its entries, so equal pages have equal digests.

use crate::digest::{BlobDigest, ChunkDigest, DIGEST_BYTES};
use crate::index::{FANOUT, Locator, MAX_LEVELS, PackRef};
use crate::pack::MAX_FRAME_BYTES;

/// The version of pages that is written and read here.
pub(crate) const PAGE_VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"VSIP";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16 + DIGEST_BYTES;
const CRC_BYTES: usize = 4;
/// Largest page, in bytes.
pub(crate) const MAX_PAGE_BYTES: usize =
    HEADER_BYTES + 256 * (DIGEST_BYTES + ENTRY_BYTES) + CRC_BYTES;

// Pages of this version live in users' registries: a change of their form needs a new version.
const _: () =
    assert!(ENTRY_BYTES == 48 && MAX_PAGE_BYTES == 20_500 && FANOUT == 256 && PAGE_VERSION == 1);

/// Why bytes are no index page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The bytes don't begin as a page does.
    #[error("it does not begin as an index page")]
    NoPage,
    /// The page was written by a newer version.
    #[error("it is an index page of version {found}; this version reads {PAGE_VERSION}")]
    Version {
        /// The version in the page.
        found: u16,
    },
    /// The page's length is not what its counts need.
    #[error("its {len} bytes are not what {entries} entries and {packs} packs take")]
    Length {
        /// Length in bytes.
        len: usize,
        /// Entries that it claims.
        entries: usize,
        /// Packs that it claims.
        packs: usize,
    },
    /// The checksum is wrong.
    #[error("its checksum is wrong")]
    Checksum,
    /// A page that is well-formed is not written like this.
    #[error("its {part} break the rules of index pages")]
    Rules {
        /// Which part.
        part: &'static str,
    },
    /// The page is not of the level that its place in the tree needs.
    #[error("it has level {found} where level {expected} belongs")]
    Level {
        /// Level of the page.
        found: u8,
        /// Level of its place.
        expected: u8,
    },
}

/// A page in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 0 if the entries are chunks, else one more than that of the pages they are.
    pub level: u8,
    /// Slots in use, ascending.
    pub entries: Vec<(u8, Locator)>,
}

impl Page {
    /// The entry of `slot`.
    pub(crate) fn get(&self, slot: u8) -> Option<&Locator> {
        let at = match self.entries.get(usize::from(slot)) {
            // As in a page all of whose slots are in use.
            Some((found, _)) if *found == slot => usize::from(slot),
            _ => self
                .entries
                .binary_search_by_key(&slot, |(slot, _)| *slot)
                .ok()?,
        };
        Some(&self.entries[at].1)
    }

    /// The page's bytes, where `own` is the pack that it will lie in.
    #[must_use]
    pub fn to_bytes(
        &self,
        own: PackRef,
        digest_of: impl Fn(usize) -> Option<BlobDigest>,
    ) -> Vec<u8> {
        let complete = |pack: PackRef| match pack {
            pack if pack == own => None,
            PackRef::Complete(digest) => Some(digest),
            PackRef::New(number) => digest_of(number),
        };
        let mut packs: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(_, entry)| complete(entry.pack))
            .collect();
        packs.sort_unstable();
        packs.dedup();
        let mut bytes = Vec::with_capacity(MAX_PAGE_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&PAGE_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[self.level, 0]);
        bytes.extend_from_slice(&count(self.entries.len()).to_le_bytes());
        bytes.extend_from_slice(&count(packs.len()).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for pack in &packs {
            bytes.extend_from_slice(pack.as_bytes());
        }
        for (slot, entry) in &self.entries {
            let pack = complete(entry.pack).and_then(|pack| packs.binary_search(&pack).ok());
            bytes.extend_from_slice(&[*slot, 0]);
            bytes.extend_from_slice(&count(pack.map_or(0, |at| at + 1)).to_le_bytes());
            bytes.extend_from_slice(&entry.len.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.extend_from_slice(entry.digest.as_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a page that lies in the pack `own`.
    ///
    /// # Errors
    /// Any [`PageError`].
    pub fn parse(bytes: &[u8], own: BlobDigest) -> Result<Self, PageError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(PageError::NoPage)?;
        if header[..4] != MAGIC {
            return Err(PageError::NoPage);
        }
        let version = u16_at(header, 4);
        if version != PAGE_VERSION {
            return Err(PageError::Version { found: version });
        }
        let (entries, packs) = (
            usize::from(u16_at(header, 8)),
            usize::from(u16_at(header, 10)),
        );
        if bytes.len() != HEADER_BYTES + packs * DIGEST_BYTES + entries * ENTRY_BYTES + CRC_BYTES {
            return Err(PageError::Length {
                len: bytes.len(),
                entries,
                packs,
            });
        }
        let (body, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return Err(PageError::Checksum);
        }
        let level = header[6];
        if level >= MAX_LEVELS || header[7] != 0 || header[12..] != [0; 4] {
            return Err(PageError::Rules {
                part: "header fields",
            });
        }
        let (packs, entries) = rest[..rest.len() - CRC_BYTES].split_at(packs * DIGEST_BYTES);
        let packs: Vec<_> = packs
            .as_chunks()
            .0
            .iter()
            .map(|bytes| BlobDigest::from_bytes(*bytes))
            .collect();
        if !packs.is_sorted_by(|a, b| a < b) || packs.contains(&own) {
            return Err(PageError::Rules { part: "packs" });
        }
        parse_entries(entries.as_chunks().0, own, &packs).map(|entries| Self { level, entries })
    }
}

fn parse_entries(
    entries: &[[u8; ENTRY_BYTES]],
    own: BlobDigest,
    packs: &[BlobDigest],
) -> Result<Vec<(u8, Locator)>, PageError> {
    let mut used = vec![false; packs.len()];
    let mut parsed: Vec<(u8, Locator)> = Vec::with_capacity(entries.len());
    for bytes in entries {
        let rules = PageError::Rules { part: "entries" };
        let (slot, len) = (bytes[0], u32_at(bytes, 4));
        let ascending = parsed.last().is_none_or(|(last, _)| *last < slot);
        if !ascending || bytes[1] != 0 || len > MAX_FRAME_BYTES {
            return Err(rules);
        }
        let pack = match usize::from(u16_at(bytes, 2)).checked_sub(1) {
            None => own,
            Some(at) if at < packs.len() => {
                used[at] = true;
                packs[at]
            }
            Some(_) => return Err(rules),
        };
        let (mut offset, mut digest) = ([0; 8], [0; DIGEST_BYTES]);
        offset.copy_from_slice(&bytes[8..16]);
        digest.copy_from_slice(&bytes[16..]);
        let digest = ChunkDigest::from_bytes(digest);
        let offset = u64::from_le_bytes(offset);
        parsed.push((
            slot,
            Locator {
                digest,
                pack: PackRef::Complete(pack),
                offset,
                len,
            },
        ));
    }
    if parsed.is_empty() || used.contains(&false) {
        return Err(PageError::Rules { part: "counts" });
    }
    Ok(parsed)
}

/// At most 256, as there are no more slots.
fn count(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
