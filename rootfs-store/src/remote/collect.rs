//! Removing what is known and kept of packs that nobody needs, or that are here by now.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use super::{Remotes, SUFFIX, names};
use crate::blobs::{Blobs, age, io_error, sync_dir};
use crate::digest::BlobDigest;
use crate::store::StoreError;

/// What a collection removed.
#[derive(Debug, Default)]
pub(crate) struct CollectedRemotes {
    /// Records of packs that nothing needs.
    pub(crate) removed: u64,
    /// Bytes that cache files took.
    pub(crate) freed_bytes: u64,
}

impl Remotes {
    /// Removes the records of packs that are not `needed` and older than `grace`, or that are blobs now, and all cache
    /// files that have no record then. The caller holds the store's lock.
    pub(crate) fn collect(
        &self,
        needed: &HashSet<BlobDigest>,
        grace: Duration,
        blobs: &Blobs,
    ) -> Result<CollectedRemotes, StoreError> {
        let (mut collected, mut removed) = (CollectedRemotes::default(), 0);
        let mut are_synced = false;
        let mut kept = HashSet::new();
        for name in names(&self.dir)? {
            let digits = name.strip_suffix(SUFFIX).unwrap_or_default();
            let Some(pack) = BlobDigest::of_file_name(digits.as_ref()) else {
                continue;
            };
            let is_young = |metadata: Metadata| age(&metadata) < grace;
            let path = self.dir.join(&name);
            let is_needed = needed.contains(&pack) || path.metadata().is_ok_and(is_young);
            if is_needed && !self.is_blob(&pack, blobs) {
                kept.insert(pack);
                continue;
            }
            if is_needed && !are_synced {
                // Who made blobs of them may have been killed before that was durable.
                blobs.sync()?;
                are_synced = true;
            }
            self.remove(&path)?;
            removed += 1;
            collected.removed += u64::from(!is_needed);
        }
        if removed > 0 {
            sync_dir(&self.access.files, &self.dir)?;
        }
        for name in names(&self.access.cache_dir)? {
            let Some(pack) = BlobDigest::of_file_name(name.as_ref()) else {
                continue;
            };
            if !kept.contains(&pack) {
                collected.freed_bytes += self.cached_bytes(&pack);
                self.remove(&self.access.cache_dir.join(name))?;
                self.let_go(&pack);
            }
        }
        Ok(collected)
    }

    /// Whether a pack that has a record is a blob by now. What can't be read may still be needed.
    fn is_blob(&self, pack: &BlobDigest, blobs: &Blobs) -> bool {
        let record = self.record(pack).ok().flatten();
        record.is_some_and(|record| blobs.has(pack, record.bytes))
    }

    /// Forgets a pack that is a blob now, durable before this: its record goes first, then what may be left of its
    /// cache file.
    pub(super) fn remove_pack(&self, pack: &BlobDigest) -> Result<(), StoreError> {
        self.remove(&self.record_path(pack))?;
        sync_dir(&self.access.files, &self.dir)?;
        self.remove(&self.access.cache_path(pack))?;
        self.let_go(pack);
        Ok(())
    }

    /// All packs that have a cache file, and the bytes that these take.
    pub(crate) fn cache_files(&self) -> Result<Vec<(BlobDigest, u64)>, StoreError> {
        let names = names(&self.access.cache_dir)?;
        let packs = names
            .iter()
            .filter_map(|name| BlobDigest::of_file_name(name.as_ref()));
        Ok(packs.map(|pack| (pack, self.cached_bytes(&pack))).collect())
    }

    /// Removes a file; it may be gone already.
    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        if matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
        {
            return Ok(());
        }
        match self.access.files.remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io_error("remove", path)),
        }
    }

    fn let_go(&self, pack: &BlobDigest) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(pack);
    }
}
