//! How much may come.

/// How much of a stream may be headers, names and padding, for each entry that it may have.
const ENTRY_ROOM: u64 = 16 << 10;

/// How much is taken of a stream that nobody vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links; what is skipped counts. About 60 bytes are remembered of each.
    pub entries: u64,
    /// Bytes of files, holes included.
    pub bytes: u64,
    /// How many bytes stay free on the disk that is unpacked to.
    pub reserve: u64,
}

impl Default for Limits {
    /// Two million entries, of any size, to the last byte of the disk.
    fn default() -> Self {
        Self {
            entries: 2 << 20,
            bytes: u64::MAX,
            reserve: 0,
        }
    }
}

impl Limits {
    /// The position in a stream that no entry begins behind.
    pub(super) fn stream(&self) -> u64 {
        self.bytes
            .saturating_add(self.entries.saturating_mul(ENTRY_ROOM))
    }
}
