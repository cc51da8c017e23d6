//! Taking a snapshot's worth of a disk away from under those who go on writing to it.

use std::sync::{Arc, PoisonError};

use super::generations::remove_others;
use super::map::Header;
use super::overlay::{Number, Overlay};
use super::stack::{Base, Stack};
use super::{DiskError, WritableDisk};

impl WritableDisk {
    /// An overlay to be put over those that there are, durable and empty.
    ///
    /// As long as it is not, a process that dies leaves it on top, where it changes nothing.
    pub(crate) fn fresh_overlay(&self) -> Result<Overlay, DiskError> {
        let current = self.stack.load_full();
        let files = self.store.source.blobs.files();
        let highest = current.overlays.last();
        let number = Number(highest.map_or(0, |highest| highest.number.0.saturating_add(1)));
        let header = Header {
            disk_bytes: self.size,
            base: current.base.digest,
            over_previous: true,
        };
        // What an attempt that failed has left.
        remove_others(files, &self.dir, &numbers(&current.overlays))?;
        Overlay::create(files, &self.dir, number, header)?;
        let (fresh, _) = Overlay::open(files, &self.dir, number)?;
        Ok(fresh)
    }

    /// Lets writes go to `fresh`; returns what lies below it, which no write changes any more.
    ///
    /// Writers wait for one that is under way, and for nothing else. If nothing was written since the last commit,
    /// they go on where they are.
    pub(crate) fn switch_to(&self, fresh: Overlay) -> Arc<Stack> {
        let _no_write_is_under_way = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        let current = self.stack.load_full();
        match current.overlays.split_last() {
            Some((highest, lower)) if highest.blocks.is_empty() => Arc::new(Stack {
                base: current.base,
                overlays: lower.to_vec(),
            }),
            _ => {
                let mut overlays = current.overlays.clone();
                overlays.push(Arc::new(fresh));
                let base = current.base;
                self.stack.swap(Arc::new(Stack { base, overlays }))
            }
        }
    }

    /// Gives back what was made ready and then not needed.
    pub(crate) fn remove_unused_overlays(&self) -> Result<(), DiskError> {
        let kept = numbers(&self.stack.load().overlays);
        remove_others(self.store.source.blobs.files(), &self.dir, &kept)
    }

    /// Puts what lies over `frozen` onto `base`, a snapshot of the same bytes, durably, and gives the space of the
    /// overlays between them back.
    pub(crate) fn rebase(&self, frozen: &Stack, base: Base) -> Result<(), DiskError> {
        let current = self.stack.load_full();
        let overlays = current.overlays[frozen.overlays.len()..].to_vec();
        if let Some(lowest) = overlays.first() {
            lowest.set_header(Header {
                disk_bytes: self.size,
                base: base.digest,
                over_previous: false,
            })?;
        }
        let kept = numbers(&overlays);
        self.stack.store(Arc::new(Stack { base, overlays }));
        remove_others(self.store.source.blobs.files(), &self.dir, &kept)
    }
}

fn numbers(overlays: &[Arc<Overlay>]) -> Vec<Number> {
    overlays.iter().map(|overlay| overlay.number).collect()
}
