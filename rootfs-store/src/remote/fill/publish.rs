//! From the cache file of a pack, which is complete, to a blob.

use std::io::{self, Seek as _};

use super::super::cache::CacheFile;
use super::super::pack::RemotePack;
use super::Fill;
use crate::blobs::{hash, io_error, sync_dir};
use crate::store::StoreError;

/// Bytes that are copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

impl Fill<'_> {
    /// Makes a blob of a pack all of whose bytes were hashed since so many reads had `landed`; says no if one that landed
    /// later has damaged them.
    pub(super) fn publish(&self, remote: &RemotePack, landed: u64) -> Result<bool, StoreError> {
        let source = &self.store.inner.source;
        self.lease.add_blob(remote.digest)?;
        let cache = remote.seal()?;
        let placed = match Self::is_whole(remote, &cache, landed) {
            Ok(true) => self.place(remote, &cache).map(|()| true),
            damaged => damaged,
        };
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

    /// Whether the bytes of a sealed file are those that were hashed.
    fn is_whole(remote: &RemotePack, cache: &CacheFile, landed: u64) -> Result<bool, StoreError> {
        if remote.landed() == landed {
            return Ok(true);
        }
        let mut file = cache.get();
        let hashed = file.rewind().and_then(|()| hash(file));
        let hashed = hashed.map_err(|error| remote.cache_error("read", error))?;
        Ok(hashed == remote.digest)
    }

    /// Gives the file its name among the blobs, or copies it if another process has it open.
    fn place(&self, remote: &RemotePack, cache: &CacheFile) -> Result<(), StoreError> {
        let blobs = self.store.blobs();
        let is_blob = cache.become_blob();
        if !is_blob.map_err(|error| remote.cache_error("make a blob of", error))? {
            return self.copy(remote, cache);
        }
        let path = blobs.path(&remote.digest);
        let renamed = blobs.files().rename(remote.cache_path(), &path);
        renamed.map_err(io_error("rename a blob to", &path))?;
        // Who waits for it finds that it is elsewhere now.
        let released = cache.get().unlock();
        released.map_err(io_error("unlock", &path))
    }

    fn copy(&self, remote: &RemotePack, cache: &CacheFile) -> Result<(), StoreError> {
        let mut blob = self.store.blobs().create()?;
        let mut at = 0;
        while at < remote.bytes {
            let end = remote.bytes.min(at + PIECE_BYTES);
            let piece = cache.read_range(&(at..end));
            blob.write(&piece.map_err(|error| remote.cache_error("read", error))?)?;
            at = end;
        }
        let staged = blob.finish()?;
        match staged.digest == remote.digest {
            true => staged.publish(self.lease).map(drop),
            // Another process has written to it since it was hashed.
            false => Err(remote.cache_error("copy", io::ErrorKind::InvalidData.into())),
        }
    }
}
