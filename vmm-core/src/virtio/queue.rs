//! A queue as a device's worker sees it.

use std::sync::Arc;

use virtio_queue::{Error as RingError, Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemory, Permissions};
use vmm_sys_util::eventfd::EventFd;

use super::{Chain, Interrupt};
use crate::memory::Memory;

/// Sizes of the parts of a queue (virtio 1.2, section 2.7).
const DESCRIPTOR_BYTES: usize = 16;
/// Flags, index, and the event index at the end.
const RING_HEAD_BYTES: usize = 6;
const AVAILABLE_BYTES: usize = 2;
const USED_BYTES: usize = 8;

/// A queue whose rings the driver has wrecked.
#[derive(Debug, thiserror::Error)]
#[error("the driver broke its virtqueue")]
pub(crate) struct QueueError(#[from] RingError);

/// What became of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done, and this many bytes were written to it.
    Used(u32),
    /// It can't be served now, and goes back to the front of the queue.
    Later,
}

/// A queue with what serving it takes.
#[derive(Debug)]
pub(crate) struct ServedQueue {
    queue: Queue,
    memory: Memory,
    interrupt: Interrupt,
    kick: Arc<EventFd>,
}

impl ServedQueue {
    /// `kick` is the eventfd by which the driver announces buffers.
    pub(crate) fn new(
        queue: Queue,
        memory: Memory,
        interrupt: Interrupt,
        kick: Arc<EventFd>,
    ) -> Self {
        Self {
            queue,
            memory,
            interrupt,
            kick,
        }
    }

    /// Whether the queue's rings lie in memory. A queue that the driver left out is fine.
    pub(crate) fn is_sane(&self) -> bool {
        // `is_valid` of the queue itself prints an error for each ring that does not: a guest can make that
        // happen as often as it likes.
        let entries = usize::from(self.queue.size());
        let is_in_memory = |ring, bytes, access| {
            GuestMemory::check_range(&self.memory, GuestAddress(ring), bytes, access)
        };
        !self.queue.ready()
            || is_in_memory(
                self.queue.desc_table(),
                DESCRIPTOR_BYTES * entries,
                Permissions::Read,
            ) && is_in_memory(
                self.queue.avail_ring(),
                RING_HEAD_BYTES + AVAILABLE_BYTES * entries,
                Permissions::Read,
            ) && is_in_memory(
                self.queue.used_ring(),
                RING_HEAD_BYTES + USED_BYTES * entries,
                Permissions::Write,
            )
    }

    /// Gives chains to `serve` until there are none, or it wants no more, or a whole queue's worth is
    /// done. In the last case the queue kicks itself, so that other events get their turn.
    pub(crate) fn drain(
        &mut self,
        mut serve: impl FnMut(&Memory, &Chain) -> Verdict,
    ) -> Result<(), QueueError> {
        if !self.queue.ready() {
            return Ok(());
        }
        let mut budget = self.queue.size();
        loop {
            self.queue.disable_notification(&self.memory)?;
            while let Some(chain) = self.queue.iter(&self.memory)?.next() {
                if budget == 0 {
                    self.queue.go_to_previous_position();
                    self.kick_itself();
                    return Ok(());
                }
                budget -= 1;
                let head = chain.head_index();
                if head >= self.queue.size() {
                    return Err(RingError::InvalidDescriptorIndex.into());
                }
                let verdict = match Chain::collect(chain) {
                    Ok(chain) => serve(&self.memory, &chain),
                    Err(error) => {
                        tracing::debug!(%error, "refused a descriptor chain");
                        Verdict::Used(0)
                    }
                };
                match verdict {
                    Verdict::Used(bytes) => self.finish(head, bytes)?,
                    Verdict::Later => {
                        self.queue.go_to_previous_position();
                        return Ok(());
                    }
                }
            }
            if !self.queue.enable_notification(&self.memory)? {
                return Ok(());
            }
            // Where the rings lie over one another, that may be true for ever, and never a chain be found.
            if budget == 0 {
                self.kick_itself();
                return Ok(());
            }
            budget -= 1;
        }
    }

    fn kick_itself(&self) {
        // A full counter is a kick, too.
        let _kicked_already = self.kick.write(1);
    }

    fn finish(&mut self, head: u16, bytes: u32) -> Result<(), QueueError> {
        self.queue.add_used(&self.memory, head, bytes)?;
        if self.queue.needs_notification(&self.memory)? {
            self.interrupt.buffers_used();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
