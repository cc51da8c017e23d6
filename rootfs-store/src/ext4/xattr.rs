//! Extended attributes: in the inode if there is room, else in a block, and large values in inodes of their own.

use std::borrow::Cow;

use super::acl;
use super::checksum::{crc, filesystem_seed};
use super::format::{BLOCK_BYTES, EXTRA_INODE_BYTES, INODE_BYTES, XATTR_MAGIC, put_u16, put_u32};
use crate::tree::Xattrs;

/// Where an inode's attributes start.
pub(super) const INODE_START: usize = 128 + EXTRA_INODE_BYTES as usize;
const MAGIC_BYTES: usize = 4;
const BLOCK_HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
/// Zeros after the last entry.
const END_BYTES: usize = 4;
const INODE_ROOM: usize = INODE_BYTES - INODE_START - MAGIC_BYTES - END_BYTES;
const BLOCK_ROOM: usize = BLOCK_BYTES - BLOCK_HEADER_BYTES - END_BYTES;

/// Why attributes can't be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum XattrFault {
    Acl(&'static str),
    TooLarge,
}

/// One attribute as it is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    /// Number of the name's prefix.
    index: u8,
    /// The name without the prefix.
    suffix: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
    /// If the value has an inode of its own, which of the file's.
    pub(super) own_inode: Option<u32>,
}

impl Attribute<'_> {
    fn value_room(&self) -> usize {
        match self.own_inode {
            Some(_) => 0,
            None => self.value.len().next_multiple_of(4),
        }
    }

    fn room(&self) -> usize {
        ENTRY_BYTES + self.suffix.len().next_multiple_of(4) + self.value_room()
    }
}

/// Where the attributes of one file go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    pub(super) in_inode: Vec<Attribute<'a>>,
    pub(super) in_block: Vec<Attribute<'a>>,
}

impl<'a> Plan<'a> {
    /// Decides where each attribute goes. Those of namespaces that ext4 has not are left out, as every unpacker does
    /// where the file system refuses them.
    pub(super) fn new(xattrs: &'a Xattrs) -> Result<Self, XattrFault> {
        let mut plan = Self::default();
        let mut attributes = Vec::new();
        for (name, value) in xattrs {
            attributes.extend(attribute(name, value)?);
        }
        // The order that Linux keeps and searches by.
        attributes.sort_by_key(|a| (a.index, a.suffix.len(), a.suffix));
        let mut left = INODE_ROOM;
        for attribute in attributes {
            if let Some(rest) = left.checked_sub(attribute.room()) {
                left = rest;
                plan.in_inode.push(attribute);
            } else {
                plan.in_block.push(attribute);
            }
        }
        plan.move_large_values_out()?;
        Ok(plan)
    }

    /// The values that have inodes of their own, in the order of those inodes.
    pub(super) fn own_values(&self) -> Vec<&[u8]> {
        let own = self
            .in_block
            .iter()
            .filter_map(|a| Some((a.own_inode?, &*a.value)));
        let mut own: Vec<_> = own.collect();
        own.sort_unstable();
        own.into_iter().map(|(_, value)| value).collect()
    }

    fn move_large_values_out(&mut self) -> Result<(), XattrFault> {
        // Checked first, because it leaves so few attributes that looking for the largest again and again is cheap.
        let names = self.in_block.iter().map(|a| a.room() - a.value_room());
        if names.sum::<usize>() > BLOCK_ROOM {
            return Err(XattrFault::TooLarge);
        }
        let mut total: usize = self.in_block.iter().map(Attribute::room).sum();
        let mut moved = 0;
        while total > BLOCK_ROOM {
            let largest = self.in_block.iter_mut().max_by_key(|a| a.value_room());
            let largest = largest.filter(|a| a.value_room() > 0);
            let largest = largest.ok_or(XattrFault::TooLarge)?;
            total -= largest.value_room();
            largest.own_inode = Some(moved);
            moved += 1;
        }
        Ok(())
    }
}

fn attribute<'a>(name: &'a [u8], value: &'a [u8]) -> Result<Option<Attribute<'a>>, XattrFault> {
    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    for (acl_name, index) in [(ACCESS, 2), (DEFAULT, 3)] {
        if name == acl_name.as_bytes() {
            let value = acl::to_disk(value).ok_or(XattrFault::Acl(acl_name))?;
            return Ok(Some(Attribute {
                index,
                suffix: b"",
                value: Cow::Owned(value),
                own_inode: None,
            }));
        }
    }
    let stored = PREFIXES.iter().find_map(|(prefix, index)| {
        let suffix = name.strip_prefix(*prefix)?;
        (!suffix.is_empty()).then_some((*index, suffix))
    });
    Ok(stored.map(|(index, suffix)| Attribute {
        index,
        suffix,
        value: Cow::Borrowed(value),
        own_inode: None,
    }))
}

/// Puts the attributes that an inode holds itself into its last bytes.
pub(super) fn put_in_inode(inode: &mut [u8], attributes: &[Attribute<'_>]) {
    if attributes.is_empty() {
        return;
    }
    put_u32(inode, INODE_START, XATTR_MAGIC);
    // Linux leaves the hashes of these out.
    put_entries(
        &mut inode[INODE_START + MAGIC_BYTES..],
        0,
        attributes,
        |_, _| 0,
        0,
    );
}

/// Fills the block `number` with attributes; `first_value` is the first inode that holds a value of this file.
pub(super) fn render_block(
    block: &mut [u8],
    number: u64,
    attributes: &[Attribute<'_>],
    first_value: u32,
) {
    const COUNT: usize = 4;
    const BLOCKS: usize = 8;
    const HASH: usize = 12;
    const CHECKSUM: usize = 16;
    put_u32(block, 0, XATTR_MAGIC);
    put_u32(block, COUNT, 1);
    put_u32(block, BLOCKS, 1);
    let hashes = put_entries(
        block,
        BLOCK_HEADER_BYTES,
        attributes,
        entry_hash,
        first_value,
    );
    put_u32(block, HASH, block_hash(&hashes));
    let sum = crc(filesystem_seed(), &number.to_le_bytes());
    let sum = crc(sum, block);
    put_u32(block, CHECKSUM, sum);
}

/// Puts entries at `start` and values at the end of `room`; returns the entries' hashes.
fn put_entries(
    room: &mut [u8],
    start: usize,
    attributes: &[Attribute<'_>],
    hash: impl Fn(&Attribute<'_>, &[u8]) -> u32,
    first_value: u32,
) -> Vec<u32> {
    let (mut at, mut values) = (start, room.len());
    let mut hashes = Vec::new();
    for attribute in attributes {
        let value_at = values - attribute.value_room();
        values = value_at;
        let size = attribute.value.len();
        room[at] = u8::try_from(attribute.suffix.len()).unwrap_or(u8::MAX);
        room[at + 1] = attribute.index;
        match attribute.own_inode {
            Some(own) => put_u32(room, at + 4, first_value + own),
            None if size == 0 => {}
            None => {
                put_u16(room, at + 2, u16::try_from(value_at).unwrap_or(0));
                room[value_at..value_at + size].copy_from_slice(&attribute.value);
            }
        }
        put_u32(room, at + 8, u32::try_from(size).unwrap_or(u32::MAX));
        let padded = &room[value_at..value_at + attribute.value_room()];
        let hash = hash(attribute, padded);
        put_u32(room, at + 12, hash);
        hashes.push(hash);
        let name = at + ENTRY_BYTES;
        room[name..name + attribute.suffix.len()].copy_from_slice(attribute.suffix);
        at = name + attribute.suffix.len().next_multiple_of(4);
    }
    hashes
}

/// Hash of a value that has an inode of its own.
pub(super) fn value_hash(value: &[u8]) -> u32 {
    crc(filesystem_seed(), value)
}

/// Hash of an entry: over its name and over its value, filled up with zeros, or over the value's own hash.
fn entry_hash(attribute: &Attribute<'_>, padded_value: &[u8]) -> u32 {
    let name = attribute.suffix.iter();
    let hash = name.fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    let mix = |hash: u32, word: u32| hash.rotate_left(16) ^ word;
    if attribute.own_inode.is_some() {
        return mix(hash, value_hash(&attribute.value));
    }
    let words = padded_value.chunks_exact(4);
    words.fold(hash, |hash, word| {
        mix(
            hash,
            u32::from_le_bytes([word[0], word[1], word[2], word[3]]),
        )
    })
}

/// Hash of a block's entries; zero, which forbids sharing the block, if one of them is.
fn block_hash(hashes: &[u32]) -> u32 {
    if hashes.contains(&0) {
        return 0;
    }
    hashes
        .iter()
        .fold(0u32, |hash, entry| hash.rotate_left(16) ^ entry)
}

#[cfg(test)]
mod tests;
