//! Access control lists: Linux hands them out in one encoding, and ext4 stores them in another.

const LINUX_VERSION: u32 = 2;
const EXT4_VERSION: u32 = 1;
const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// Tags of entries that name a user or a group.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
/// Tags of entries that don't: owner, owning group, mask, others.
const UNNAMED: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

/// Turns the value of `system.posix_acl_access` into what ext4 stores; nothing if it is malformed.
pub(super) fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (header, entries) = value.split_at_checked(HEADER_BYTES)?;
    if header != LINUX_VERSION.to_le_bytes() || !entries.len().is_multiple_of(ENTRY_BYTES) {
        return None;
    }
    let mut disk = EXT4_VERSION.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let stored = match tag {
            USER | GROUP => entry,
            _ if UNNAMED.contains(&tag) => &entry[..4],
            _ => return None,
        };
        disk.extend_from_slice(stored);
    }
    Some(disk)
}

/// Turns what ext4 stores into the value of `system.posix_acl_access`; nothing if it is malformed.
pub(super) fn from_disk(stored: &[u8]) -> Option<Vec<u8>> {
    /// What Linux says where no user or group is named.
    const NOBODY: u32 = u32::MAX;
    let (header, mut entries) = stored.split_at_checked(HEADER_BYTES)?;
    if header != EXT4_VERSION.to_le_bytes() {
        return None;
    }
    let mut value = LINUX_VERSION.to_le_bytes().to_vec();
    while let Some(tag) = entries.first_chunk() {
        let tag = u16::from_le_bytes(*tag);
        let len = match tag {
            USER | GROUP => ENTRY_BYTES,
            _ if UNNAMED.contains(&tag) => ENTRY_BYTES / 2,
            _ => return None,
        };
        let (entry, rest) = entries.split_at_checked(len)?;
        value.extend_from_slice(entry);
        if len < ENTRY_BYTES {
            value.extend_from_slice(&NOBODY.to_le_bytes());
        }
        entries = rest;
    }
    entries.is_empty().then_some(value)
}

#[cfg(test)]
mod tests;
