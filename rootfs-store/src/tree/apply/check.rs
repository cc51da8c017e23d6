//! Checks what an entry says about itself against what Linux and ext4 can hold.

use std::mem;

use crate::tree::error::EntryFault;
use crate::tree::node::{Attributes, BLOCK, Device};
use crate::tree::path::MAX_PATH_LEN;
use crate::tree::tar_stream::{Entry, EntryKind};

/// Longest file that ext4's 32-bit block numbers can address.
const MAX_FILE_BYTES: u64 = (u32::MAX as u64) * BLOCK;

pub(super) fn attributes_of(entry: &mut Entry) -> Result<Attributes, EntryFault> {
    if let Some(fault) = entry.bad_xattr.take() {
        return Err(fault);
    }
    let id =
        |field, value| u32::try_from(value).map_err(|_| EntryFault::IdTooLarge { field, value });
    let symlink = matches!(entry.kind, EntryKind::Symlink { .. });
    Ok(Attributes {
        // Linux gives every symbolic link this mode, whatever the archive says.
        mode: if symlink { 0o777 } else { entry.mode },
        uid: id("uid", entry.uid)?,
        gid: id("gid", entry.gid)?,
        mtime: entry.mtime,
        xattrs: mem::take(&mut entry.xattrs),
    })
}

pub(super) fn checked_target(target: &[u8]) -> Result<&[u8], EntryFault> {
    match target {
        b"" => Err(EntryFault::EmptyLink),
        t if t.len() > MAX_PATH_LEN => Err(EntryFault::PathTooLong { len: t.len() }),
        t if t.contains(&0) => Err(EntryFault::Nul),
        t => Ok(t),
    }
}

pub(super) fn check_len(len: u64) -> Result<(), EntryFault> {
    if len > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES;
        return Err(EntryFault::FileTooLarge { len, limit });
    }
    Ok(())
}

pub(super) fn device(major: u32, minor: u32) -> Result<Device, EntryFault> {
    if major > 0xfff || minor > 0xf_ffff {
        return Err(EntryFault::Device { major, minor });
    }
    Ok(Device { major, minor })
}
