//! Which bytes of its packs an index really needs.

use std::collections::{BTreeMap, HashSet};

use crate::chunk_source::ChunkSource;
use crate::digest::BlobDigest;
use crate::index::{Index, Locator, PackRef, levels};
use crate::manifest::Pack;
use crate::store::StoreError;

/// Bytes of the frames that an index leads to, its pages' too, for each of its packs.
pub(crate) fn live_bytes(
    source: &ChunkSource,
    index: &Index,
    packs: &[Pack],
) -> Result<BTreeMap<BlobDigest, u64>, StoreError> {
    let packs = packs.iter().map(|pack| (pack.digest, 0));
    let mut live = Live {
        source,
        seen: HashSet::new(),
        bytes: packs.collect(),
    };
    if let Some(root) = &index.root {
        live.page(root, levels(index.chunks) - 1)?;
    }
    Ok(live.bytes)
}

struct Live<'a> {
    source: &'a ChunkSource,
    /// Pack and offset of frames that were counted.
    seen: HashSet<(BlobDigest, u64)>,
    bytes: BTreeMap<BlobDigest, u64>,
}

impl Live<'_> {
    fn page(&mut self, at: &Locator, level: u8) -> Result<(), StoreError> {
        if !self.count(at) {
            return Ok(());
        }
        let page = self.source.page(at, level)?;
        for (_, entry) in &page.entries {
            match level {
                0 => drop(self.count(entry)),
                _ => self.page(entry, level - 1)?,
            }
        }
        Ok(())
    }

    /// Whether the frame had not been counted before.
    fn count(&mut self, at: &Locator) -> bool {
        let PackRef::Complete(pack) = at.pack else {
            return false;
        };
        let new = self.seen.insert((pack, at.offset));
        if new {
            *self.bytes.entry(pack).or_default() += u64::from(at.len);
        }
        new
    }
}
