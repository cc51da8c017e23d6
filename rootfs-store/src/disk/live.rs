//! Taking a snapshot's worth of a disk away from under those who go on writing to it.

use std::sync::{Arc, PoisonError};

use super::generations::remove_others;
use super::map::Header;
use super::overlay::{Number, Overlay};
use super::stack::{Base, Stack};
use super::{DiskError, WritableDisk};

impl WritableDisk {
    /// What the disk holds at this moment, as something that no write changes any more; durable when this returns.
    ///
    /// Writers wait for one that is under way, and for nothing else.
    pub(crate) fn freeze(&self) -> Result<Arc<Stack>, DiskError> {
        let current = self.stack.load_full();
        let frozen = match current.overlays.split_last() {
            // What was committed in vain before, and nothing since.
            Some((highest, lower)) if highest.blocks.is_empty() => Arc::new(Stack {
                base: current.base,
                overlays: lower.to_vec(),
            }),
            _ => self.put_overlay_over(&current)?,
        };
        frozen.flush()?;
        Ok(frozen)
    }

    /// Lets writes go to a new overlay; returns what lies below it.
    fn put_overlay_over(&self, current: &Stack) -> Result<Arc<Stack>, DiskError> {
        let files = self.store.source.blobs.files();
        let number = current
            .overlays
            .last()
            .map_or(0, |highest| highest.number.0.saturating_add(1));
        let header = Header {
            disk_bytes: self.size,
            base: current.base.digest,
            over_previous: true,
        };
        // What an attempt that failed has left.
        remove_others(files, &self.dir, &numbers(&current.overlays))?;
        Overlay::create(files, &self.dir, Number(number), header)?;
        let (fresh, _) = Overlay::open(files, &self.dir, Number(number))?;
        let mut overlays = current.overlays.clone();
        overlays.push(Arc::new(fresh));
        let next = Arc::new(Stack {
            base: current.base,
            overlays,
        });
        let _no_write_is_under_way = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        Ok(self.stack.swap(next))
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
