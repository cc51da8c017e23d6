//! Writing what is live of sparse packs anew, so that the packs can go.
//!
//! Invariant: frames of chunks are copied as they are, after they were verified, so the disk is the same byte for byte;
//! a name is moved only after its new snapshot is durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::blobs::Published;
use crate::chunk::Encoder;
use crate::chunk_source::ChunkSource;
use crate::digest::{BlobDigest, ChunkDigest, SnapshotDigest};
use crate::disk;
use crate::index::{self, Index, Locator, PackRef, Page, levels};
use crate::leases::Lease;
use crate::live::live_bytes;
use crate::manifest::{NewProfile, NewSnapshot, Pack, Snapshot};
use crate::pack::{PACK_BYTES, PackSet};
use crate::progress::{Progress, Stage};
use crate::reach::{Root, Roots};
use crate::seal::new_encoder;
use crate::store::{Store, StoreError};

/// A pack is written anew if less than one part in this many of it is live.
const SPARSE: u64 = 2;

/// What a compaction made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compacted {
    /// The snapshot that was compacted.
    pub from: SnapshotDigest,
    /// The same disk without its sparse packs; the snapshot itself if it has none.
    pub snapshot: SnapshotDigest,
    /// Names that were moved to it.
    pub names: Vec<String>,
    /// Bytes of the packs that it does not need any more.
    pub dropped_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Keeps the snapshot, until it has a name for instance.
    pub lease: Lease,
}

impl Store {
    /// Makes a snapshot of the same disk that needs no pack of which less than half is live.
    ///
    /// Space is given back only when no other snapshot needs the packs: move the names to the new one, then collect.
    ///
    /// # Errors
    /// [`StoreError`]; no snapshot is visible.
    pub fn compact(
        &self,
        digest: &SnapshotDigest,
        progress: &dyn Progress,
    ) -> Result<Compacted, StoreError> {
        self.compact_but(digest, &HashSet::new(), progress)
    }

    /// Compacts all snapshots that only names lead to which `may_move` allows, and moves these names, each when its
    /// snapshot is durable. Packs that others need as well are left as they are, as they would stay; so are snapshots
    /// with packs that are elsewhere, as these take no space.
    ///
    /// # Errors
    /// [`StoreError`]; names that were moved stay moved.
    pub fn compact_names(
        &self,
        may_move: &dyn Fn(&str) -> bool,
        progress: &dyn Progress,
    ) -> Result<Vec<Compacted>, StoreError> {
        let mut holders: BTreeMap<SnapshotDigest, Vec<Root>> = BTreeMap::new();
        for (root, digest) in self.holders()? {
            holders.entry(digest).or_default().push(root);
        }
        let mut users: HashMap<BlobDigest, u32> = HashMap::new();
        let whole = holders
            .keys()
            .filter_map(|digest| self.snapshot(digest).ok());
        for pack in whole.flat_map(|snapshot| snapshot.packs) {
            *users.entry(pack.digest).or_default() += 1;
        }
        let shared = users.into_iter().filter(|(_, count)| *count > 1);
        let shared: HashSet<_> = shared.map(|(pack, _)| pack).collect();
        let mut all = Vec::new();
        for (digest, roots) in holders {
            let names: Option<Vec<_>> = roots.into_iter().map(name_of).collect();
            let Some(names) = names.filter(|names| names.iter().all(|name| may_move(name))) else {
                continue;
            };
            if !self.elsewhere(&digest)?.is_empty() {
                continue;
            }
            let mut compacted = self.compact_but(&digest, &shared, progress)?;
            if compacted.snapshot == digest {
                continue;
            }
            let bytes = self.manifest_bytes(&compacted.snapshot)?;
            for name in names {
                let references = &self.inner.references;
                if references.move_name(&name, digest, compacted.snapshot, bytes)? {
                    compacted.names.push(name);
                }
            }
            all.push(compacted);
        }
        Ok(all)
    }

    /// What leads to which snapshot; leases count for nothing here, as they only last for a while.
    fn holders(&self) -> Result<Vec<(Root, SnapshotDigest)>, StoreError> {
        let mut roots = Roots::default();
        for (id, dir) in self.disk_dirs()? {
            roots.add_disk(&id, disk::bases(&dir).unwrap_or_default());
        }
        roots.add_entries(self, Duration::ZERO)?;
        let starts = roots.starts.into_iter();
        Ok(starts
            .map(|start| (start.root, start.link.digest.into()))
            .collect())
    }

    fn compact_but(
        &self,
        digest: &SnapshotDigest,
        spared: &HashSet<BlobDigest>,
        progress: &dyn Progress,
    ) -> Result<Compacted, StoreError> {
        let lease = self.lease()?;
        let snapshot = self.keep_under(&lease, digest)?;
        let live = live_bytes(&self.inner.source, &snapshot.index(), &snapshot.packs)?;
        let is_sparse = |pack: &Pack| {
            let live = live.get(&pack.digest).copied().unwrap_or_default();
            live.saturating_mul(SPARSE) < pack.bytes && !spared.contains(&pack.digest)
        };
        let (sparse, kept): (Vec<Pack>, Vec<Pack>) =
            snapshot.packs.iter().copied().partition(is_sparse);
        let mut compacted = Compacted {
            from: *digest,
            snapshot: *digest,
            names: Vec::new(),
            dropped_bytes: sparse.iter().map(|pack| pack.bytes).sum(),
            stored_bytes: 0,
            lease,
        };
        if sparse.is_empty() {
            return Ok(compacted);
        }
        let sparse: HashSet<_> = sparse.into_iter().map(|pack| pack.digest).collect();
        let total = sparse.iter().filter_map(|pack| live.get(pack)).sum();
        self.rewrite(snapshot, kept, &sparse, &mut compacted, (progress, total))?;
        Ok(compacted)
    }

    /// Writes what is live of the sparse packs, and a snapshot that needs these no more.
    fn rewrite(
        &self,
        snapshot: Snapshot,
        mut packs: Vec<Pack>,
        sparse: &HashSet<BlobDigest>,
        compacted: &mut Compacted,
        (progress, total): (&dyn Progress, u64),
    ) -> Result<(), StoreError> {
        let index = snapshot.index();
        let source = &self.inner.source;
        let (root, published) =
            rewrite_packs(source, &index, sparse, &compacted.lease, (progress, total))?;
        for pack in &published {
            packs.push(Pack {
                digest: pack.digest,
                bytes: pack.bytes,
            });
            compacted.stored_bytes += if pack.new { pack.bytes } else { 0 };
        }
        let new = NewSnapshot {
            disk_bytes: snapshot.disk_bytes,
            chunk_bytes: snapshot.chunk_bytes,
            image: snapshot.image,
            parent: Some(snapshot.digest),
            machine: snapshot.machine,
            packs,
            profile: snapshot.profile.map(NewProfile::Same),
            root,
        };
        let (digest, grown) = new.write(self.blobs(), &compacted.lease)?;
        compacted.snapshot = digest;
        compacted.stored_bytes += grown;
        Ok(())
    }
}

/// Writes what an index needs of some packs into new ones; returns the new root, and these packs. Of the bytes to be
/// copied, there are `total`.
pub(crate) fn rewrite_packs(
    source: &ChunkSource,
    index: &Index,
    from: &HashSet<BlobDigest>,
    lease: &Lease,
    (progress, total): (&dyn Progress, u64),
) -> Result<(Option<index::Root>, Vec<Published>), StoreError> {
    let mut copy = Copy {
        source,
        sparse: from,
        packs: PackSet::new(&source.blobs, PACK_BYTES),
        encoder: new_encoder()?,
        copied: HashMap::new(),
        pages: HashMap::new(),
        progress,
        done: 0,
        total,
    };
    let top = levels(index.chunks) - 1;
    let root = index.root.map(|root| copy.page(&root, top)).transpose()?;
    let published = copy.packs.finish(lease)?;
    let root = root.and_then(|at| index::Root::published(&at, &published));
    Ok((root, published))
}

/// The name, if it is one.
fn name_of(root: Root) -> Option<String> {
    match root {
        Root::Name(name) => Some(name),
        _ => None,
    }
}

struct Copy<'a> {
    source: &'a ChunkSource,
    sparse: &'a HashSet<BlobDigest>,
    packs: PackSet<'a>,
    encoder: Encoder,
    /// Where chunks are that were copied.
    copied: HashMap<ChunkDigest, Locator>,
    /// What became of pages, by their packs and offsets.
    pages: HashMap<(PackKey, u64), Locator>,
    progress: &'a dyn Progress,
    done: u64,
    total: u64,
}

/// A pack that a page was read from.
type PackKey = Option<BlobDigest>;

impl Copy<'_> {
    /// Copies what hangs on a page as far as it lies in sparse packs; returns where the page is then.
    fn page(&mut self, at: &Locator, level: u8) -> Result<Locator, StoreError> {
        let key = (complete(at), at.offset);
        if let Some(known) = self.pages.get(&key) {
            return Ok(*known);
        }
        let page = self.source.page(at, level)?;
        let mut entries = page.entries.clone();
        for (_, entry) in &mut entries {
            *entry = match level {
                0 => self.chunk(entry)?,
                _ => self.page(entry, level - 1)?,
            };
        }
        let now = match entries == page.entries && !self.is_sparse(at) {
            true => *at,
            false => self.write(&Page { level, entries })?,
        };
        self.pages.insert(key, now);
        Ok(now)
    }

    fn chunk(&mut self, at: &Locator) -> Result<Locator, StoreError> {
        if !self.is_sparse(at) {
            return Ok(*at);
        }
        if let Some(known) = self.copied.get(&at.digest) {
            return Ok(*known);
        }
        let frame = self.source.verified_frame(at)?;
        self.done += frame.len() as u64;
        self.progress.advance(Stage::Compact, self.done, self.total);
        let now = self.packs.add_chunk(at.digest, &frame)?;
        self.copied.insert(at.digest, now);
        Ok(now)
    }

    fn write(&mut self, page: &Page) -> Result<Locator, StoreError> {
        let bytes = page.to_bytes(self.packs.current(), |number| self.packs.digest(number));
        let frame = self.encoder.encode(&bytes);
        let frame = frame.map_err(|source| StoreError::Compress { source })?;
        self.packs.add_page(ChunkDigest::of(&bytes), &frame)
    }

    fn is_sparse(&self, at: &Locator) -> bool {
        complete(at).is_some_and(|pack| self.sparse.contains(&pack))
    }
}

fn complete(at: &Locator) -> PackKey {
    match at.pack {
        PackRef::Complete(digest) => Some(digest),
        PackRef::New(_) => None,
    }
}

#[cfg(test)]
mod tests;
