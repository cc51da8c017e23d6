//! How far a long call has come.

/// A part of a call whose length is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Bytes read of an archive that has to be decompressed before its layers can be found.
    Archive,
    /// Compressed layer bytes read.
    Layers,
    /// Disk bytes turned into chunks.
    Chunks,
    /// How far an export has come on the disk; holes are passed over at once.
    Export,
    /// Bytes of blobs that a collection has decided about.
    Collect,
    /// Bytes of blobs read and hashed.
    Verify,
    /// Bytes of frames that are copied to new packs.
    Compact,
    /// Bytes of blobs that a registry has by now.
    Push,
    /// Bytes of packs, or of other blobs, that are here, of those that are fetched.
    Fetch,
    /// Bytes of files written to a layer.
    Publish,
}

/// Told how far a call has come, from whichever thread does the work.
pub trait Progress: Sync {
    /// Called now and then with the bytes that are `done` out of `total`; must return quickly.
    fn advance(&self, stage: Stage, done: u64, total: u64);
}

/// Ignores what it is told.
impl Progress for () {
    fn advance(&self, _stage: Stage, _done: u64, _total: u64) {}
}
