//! Boot packs: what a start reads, together in one pack, so that who starts elsewhere asks once for all of it.
//!
//! Invariant: frames are copied as they are, after they were verified, so the disk is the same byte for byte.

use crate::digest::SnapshotDigest;
use crate::index::{Change, Index, Root, update};
use crate::leases::Lease;
use crate::manifest::{NewProfile, NewSnapshot, Pack};
use crate::pack::{PACK_BYTES, PackSet};
use crate::profile::BootProfile;
use crate::progress::{Progress, Stage};
use crate::seal::new_encoder;
use crate::store::{Store, StoreError};

/// A snapshot with a boot pack.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BootPacked {
    /// The same disk; the snapshot itself if it has no boot profile.
    pub snapshot: SnapshotDigest,
    /// Chunks in the boot pack.
    pub chunks: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Keeps the snapshot, until it has a name for instance.
    pub lease: Lease,
}

impl Store {
    /// Makes a snapshot of the same disk whose last pack begins with the chunks of its boot profile, in their order.
    ///
    /// That costs the space of these chunks a second time, a few megabytes, and is worth it for a snapshot that will
    /// often be started where it is not: a start then takes a handful of requests.
    ///
    /// # Errors
    /// [`StoreError`]; no snapshot is visible.
    pub fn with_boot_pack(
        &self,
        digest: &SnapshotDigest,
        progress: &dyn Progress,
    ) -> Result<BootPacked, StoreError> {
        let lease = self.lease()?;
        let snapshot = self.keep_under(&lease, digest)?;
        let profile = self.boot_profile(digest)?.unwrap_or_default();
        let mut packed = BootPacked {
            snapshot: *digest,
            chunks: 0,
            stored_bytes: 0,
            lease,
        };
        let (index, source) = (snapshot.index(), &self.inner.source);
        let mut packs = PackSet::new(self.blobs(), PACK_BYTES);
        let changes = self.copy_start(&profile, &index, &mut packs, progress)?;
        if changes.is_empty() {
            return Ok(packed);
        }
        packed.chunks = changes.len() as u64;
        let root = update(&index, &changes, source, &mut packs, &mut new_encoder()?)?;
        let published = packs.finish(&packed.lease)?;
        packed.stored_bytes = published.iter().map(|pack| pack.grown()).sum();
        let new = published.iter().map(|pack| Pack {
            digest: pack.digest,
            bytes: pack.bytes,
        });
        let new = NewSnapshot {
            disk_bytes: snapshot.disk_bytes,
            chunk_bytes: snapshot.chunk_bytes,
            image: snapshot.image,
            parent: Some(*digest),
            machine: snapshot.machine,
            packs: snapshot.packs.into_iter().chain(new).collect(),
            profile: snapshot.profile.map(NewProfile::Same),
            root: root.and_then(|root| Root::published(&root, &published)),
        };
        let (snapshot, grown) = new.write(self.blobs(), &packed.lease)?;
        packed.snapshot = snapshot;
        packed.stored_bytes += grown;
        Ok(packed)
    }

    /// Copies the chunks of a profile; returns where they are now, ascending by chunk.
    fn copy_start(
        &self,
        profile: &BootProfile,
        index: &Index,
        packs: &mut PackSet<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Change>, StoreError> {
        let source = &self.inner.source;
        let mut found = Vec::new();
        for chunk in profile.chunks().filter(|chunk| *chunk < index.chunks) {
            found.extend(index.get(source, chunk)?.map(|at| (chunk, at)));
        }
        let total = found.iter().map(|(_, at)| u64::from(at.len)).sum();
        let (mut changes, mut done) = (Vec::new(), 0);
        for (chunk, at) in found {
            let frame = source.verified_frame(&at)?;
            done += u64::from(at.len);
            progress.advance(Stage::Compact, done, total);
            let to = Some(packs.add_chunk(at.digest, &frame)?);
            changes.push(Change { chunk, to });
        }
        changes.sort_unstable_by_key(|change| change.chunk);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;
