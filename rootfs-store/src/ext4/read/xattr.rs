//! Extended attributes, read: from the inode, from a block, and from inodes of their own.

use super::budget::Budget;
use super::disk::Disk;
use super::fields::{u16_at, u32_at};
use super::inode::{Inode, Inodes};
use super::{Content, ReadAt, ReadError, extents};
use crate::ext4::acl;
use crate::ext4::checksum::crc;
use crate::ext4::format::{XATTR_MAGIC, flag};
use crate::tree::Xattrs;

const BLOCK_HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
/// Largest value (Linux: `XATTR_SIZE_MAX`).
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Longest full name (Linux: `XATTR_NAME_MAX`).
const MAX_XATTR_NAME: usize = 255;

/// All attributes of a file by full name, as Linux hands them out.
pub(super) fn read<R: ReadAt>(
    disk: &Disk<R>,
    inodes: &mut Inodes<'_, R>,
    inode: &Inode,
    filesystem_seed: Option<u32>,
    budget: &mut Budget,
) -> Result<Xattrs, ReadError> {
    let mut reader = Reader {
        disk,
        inodes,
        inode,
        budget,
        found: Xattrs::new(),
    };
    if u32_at(&inode.rest, 0) == XATTR_MAGIC {
        let room = &inode.rest[4..];
        reader.entries(room, room, &|what| inode.damaged(what))?;
    }
    if inode.xattr_block != 0 {
        reader.block(inode.xattr_block, filesystem_seed)?;
    }
    Ok(reader.found)
}

struct Reader<'a, 'b, R> {
    disk: &'a Disk<R>,
    inodes: &'a mut Inodes<'b, R>,
    inode: &'a Inode,
    budget: &'a mut Budget,
    found: Xattrs,
}

impl<R: ReadAt> Reader<'_, '_, R> {
    fn block(&mut self, number: u64, seed: Option<u32>) -> Result<(), ReadError> {
        const CHECKSUM: usize = 16;
        let ino = self.inode.ino;
        let damaged = |what| ReadError::Block {
            ino,
            block: number,
            what,
        };
        if !self.disk.has_blocks(number, 1) {
            return Err(self.inode.damaged("block of extended attributes"));
        }
        let mut block = self.disk.block(number)?;
        if u32_at(&block, 0) != XATTR_MAGIC {
            return Err(damaged("header"));
        }
        if let Some(seed) = seed {
            let expected = u32_at(&block, CHECKSUM);
            block[CHECKSUM..CHECKSUM + 4].fill(0);
            if crc(crc(seed, &number.to_le_bytes()), &block) != expected {
                return Err(damaged("checksum"));
            }
        }
        self.entries(&block[BLOCK_HEADER_BYTES..], &block, &damaged)
    }

    /// Takes in a list of entries, whose values are in `values`.
    fn entries(
        &mut self,
        mut list: &[u8],
        values: &[u8],
        damaged: &dyn Fn(&'static str) -> ReadError,
    ) -> Result<(), ReadError> {
        // As Linux, which takes four zeros for the end.
        while list.len() >= 4 && u32_at(list, 0) != 0 {
            let name_len = usize::from(list[0]);
            let suffix = list.get(ENTRY_BYTES..ENTRY_BYTES + name_len);
            let suffix = suffix.ok_or_else(|| damaged("list of extended attributes"))?;
            let size = usize::try_from(u32_at(list, 8)).unwrap_or(usize::MAX);
            if size > MAX_VALUE_BYTES {
                return Err(damaged("length of an extended attribute"));
            }
            self.budget.metadata(ENTRY_BYTES + name_len + size)?;
            let value = match u32_at(list, 4) {
                0 => {
                    let at = usize::from(u16_at(list, 2));
                    let value = if size == 0 {
                        Some(&[][..])
                    } else {
                        values.get(at..at + size)
                    };
                    value
                        .ok_or_else(|| damaged("place of an extended attribute"))?
                        .to_vec()
                }
                own => self.own_value(own, size)?,
            };
            self.add(list[1], suffix, value).map_err(damaged)?;
            let next = ENTRY_BYTES + name_len.next_multiple_of(4);
            list = list.get(next..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// The value that an inode of its own holds.
    fn own_value(&mut self, ino: u32, size: usize) -> Result<Vec<u8>, ReadError> {
        let inode = self.inodes.read(ino)?;
        if !inode.has(flag::EA_INODE) || inode.size != size as u64 {
            return Err(inode.damaged("value of an extended attribute"));
        }
        let content = Content {
            len: inode.size,
            runs: extents::runs(self.disk, &inode, self.budget)?.into(),
        };
        let mut value = vec![0; size];
        self.disk.read_content(&content, 0, &mut value)?;
        Ok(value)
    }

    fn add(&mut self, index: u8, suffix: &[u8], value: Vec<u8>) -> Result<(), &'static str> {
        let (prefix, value): (&[u8], _) = match index {
            1 => (b"user.", value),
            2 => (b"system.posix_acl_access", acl_value(&value)?),
            3 => (b"system.posix_acl_default", acl_value(&value)?),
            4 => (b"trusted.", value),
            6 => (b"security.", value),
            7 => (b"system.", value),
            _ => return Err("namespace of an extended attribute"),
        };
        if suffix.contains(&0) || (matches!(index, 2 | 3) != suffix.is_empty()) {
            return Err("name of an extended attribute");
        }
        let name = [prefix, suffix].concat().into_boxed_slice();
        if name.len() > MAX_XATTR_NAME {
            return Err("name of an extended attribute");
        }
        match self.found.insert(name, value.into()) {
            None => Ok(()),
            Some(_) => Err("list of extended attributes"),
        }
    }
}

fn acl_value(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    acl::from_disk(value).ok_or("access control list")
}
