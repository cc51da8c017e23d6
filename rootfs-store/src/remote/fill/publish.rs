//! From the cache file of a pack, which is complete, to a blob.
//!
//! Invariant: a file that gets its name was hashed after the last moment at which anybody but the fill could write to
//! it: a read of this process, or another process, which may believe an origin that lies until it has hashed a frame.

use std::io::Seek as _;

use super::super::cache::CacheFile;
use super::super::pack::RemotePack;
use super::Fill;
use crate::blobs::{hash, io_error, sync_dir};
use crate::store::StoreError;

/// Bytes that are copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// What is known of the bytes of a file before they are hashed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unhashed {
    /// No other process has the file open.
    is_alone: bool,
    /// So many reads of this one have written to it.
    landed: u64,
}

impl Unhashed {
    /// What is known now of the file of a pack, who opens it from now on being remembered.
    pub(super) fn begin(remote: &RemotePack) -> Result<Self, StoreError> {
        let landed = remote.landed();
        let is_alone = remote.cache_to_fill()?.watch();
        let is_alone = is_alone.map_err(|error| remote.cache_error("lock", error))?;
        Ok(Self { is_alone, landed })
    }
}

impl Fill<'_> {
    /// Makes a blob of a pack all of whose bytes were hashed since `unhashed`; says no if they were damaged after that.
    pub(super) fn publish(
        &self,
        remote: &RemotePack,
        unhashed: Unhashed,
    ) -> Result<bool, StoreError> {
        let source = &self.store.inner.source;
        self.lease.add_blob(remote.digest)?;
        let cache = remote.seal()?;
        let placed = self.place(remote, &cache, unhashed);
        if !matches!(placed, Ok(true)) {
            remote.unseal(&cache);
        }
        if !placed? {
            return Ok(false);
        }
        self.store.blobs().sync()?;
        sync_dir(self.store.blobs().files(), &remote.access.cache_dir)?;
        source.forget_pack(&remote.digest);
        source.remotes.remove_pack(&remote.digest)?;
        Ok(true)
    }

    /// Gives a sealed file its name among the blobs, or copies it if another process has it open. It is hashed once
    /// more if anybody may have written to it besides the fill.
    fn place(
        &self,
        remote: &RemotePack,
        cache: &CacheFile,
        unhashed: Unhashed,
    ) -> Result<bool, StoreError> {
        let failed = |error| remote.cache_error("make a blob of", error);
        let Some(was_opened) = cache.take_alone().map_err(failed)? else {
            return self.copy(remote, cache);
        };
        let is_known = unhashed.is_alone && !was_opened && remote.landed() == unhashed.landed;
        if !is_known && !is_whole(remote, cache)? {
            return Ok(false);
        }
        cache.become_blob().map_err(failed)?;
        let blobs = self.store.blobs();
        let path = blobs.path(&remote.digest);
        let renamed = blobs.files().rename(remote.cache_path(), &path);
        renamed.map_err(io_error("rename a blob to", &path))?;
        // Who waits for it finds that it is elsewhere now.
        let released = cache.get().unlock();
        released.map_err(io_error("unlock", &path))?;
        Ok(true)
    }

    fn copy(&self, remote: &RemotePack, cache: &CacheFile) -> Result<bool, StoreError> {
        let mut blob = self.store.blobs().create()?;
        let mut at = 0;
        while at < remote.bytes {
            let end = remote.bytes.min(at + PIECE_BYTES);
            let piece = cache.read_range(&(at..end));
            blob.write(&piece.map_err(|error| remote.cache_error("read", error))?)?;
            at = end;
        }
        let staged = blob.finish()?;
        // Another process may have written to it since it was hashed.
        let is_whole = staged.digest == remote.digest;
        if is_whole {
            staged.publish(self.lease)?;
        }
        Ok(is_whole)
    }
}

/// Whether the bytes that the file has now are those of the pack.
fn is_whole(remote: &RemotePack, cache: &CacheFile) -> Result<bool, StoreError> {
    let mut file = cache.get();
    let hashed = file.rewind().and_then(|()| hash(file));
    let hashed = hashed.map_err(|error| remote.cache_error("read", error))?;
    Ok(hashed == remote.digest)
}
