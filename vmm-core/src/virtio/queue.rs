//! A queue as a device's worker sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virtio_queue::{DescriptorChain, Error as RingError, Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemory, Permissions};
use vmm_sys_util::eventfd::EventFd;

use super::{Chain, Interrupt, QueueCounters};
use crate::memory::Memory;

/// Sizes of the parts of a queue (virtio 1.2, section 2.7).
const DESCRIPTOR_BYTES: usize = 16;
/// Flags, index, and the event index at the end.
const RING_HEAD_BYTES: usize = 6;
const AVAILABLE_BYTES: usize = 2;
const USED_BYTES: usize = 8;
/// Flags and index.
const USED_HEAD_BYTES: usize = 4;
/// How often a queue that says that it isn't empty is asked for a chain.
const TAKE_ATTEMPTS: u32 = 2;

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
    counters: Arc<QueueCounters>,
    /// How many commands wait for the thread that serves the queue.
    commands: Arc<AtomicUsize>,
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
            counters: Arc::default(),
            commands: Arc::default(),
        }
    }

    /// The same queue, which counts in `counters`.
    pub(super) fn counting_in(self, counters: Arc<QueueCounters>) -> Self {
        Self { counters, ..self }
    }

    /// The same queue, whose turns end while this many `commands` are not zero.
    pub(super) fn yielding_to(self, commands: Arc<AtomicUsize>) -> Self {
        Self { commands, ..self }
    }

    /// Where the queue is.
    pub(super) fn state(&self) -> QueueState {
        self.queue.state()
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
    /// done, or a command waits. In the last two cases the queue kicks itself, so that other events get their turn.
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
                if budget == 0 || self.commands.load(Ordering::Relaxed) > 0 {
                    self.queue.go_to_previous_position();
                    self.kick_itself();
                    return Ok(());
                }
                budget -= 1;
                let head = chain.head_index();
                if head >= self.queue.size() {
                    return Err(RingError::InvalidDescriptorIndex.into());
                }
                let chain = self.checked(chain);
                let verdict = match &chain {
                    Some(chain) => serve(&self.memory, chain),
                    None => Verdict::Used(0),
                };
                match verdict {
                    Verdict::Used(bytes) => {
                        self.counters
                            .done(chain.map_or(0, |chain| chain.readable.len()), bytes);
                        self.finish(head, bytes)?;
                    }
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

    /// Takes the next chain and says which one it is; `None` if there is none, and the driver then kicks once
    /// there is. A chain that is refused is an empty one.
    pub(crate) fn take(&mut self) -> Result<Option<(u16, Chain)>, QueueError> {
        if !self.queue.ready() {
            return Ok(None);
        }
        for _ in 0..TAKE_ATTEMPTS {
            self.queue.disable_notification(&self.memory)?;
            if let Some(chain) = self.queue.iter(&self.memory)?.next() {
                let head = chain.head_index();
                if head >= self.queue.size() {
                    return Err(RingError::InvalidDescriptorIndex.into());
                }
                return Ok(Some((
                    head,
                    self.checked(chain).unwrap_or_else(Chain::refused),
                )));
            }
            if !self.queue.enable_notification(&self.memory)? {
                return Ok(None);
            }
        }
        self.kick_itself();
        Ok(None)
    }

    /// Puts the chains that were taken last back to the front of the queue.
    pub(crate) fn put_back(&mut self, count: usize) {
        for _ in 0..count {
            self.queue.go_to_previous_position();
        }
    }

    /// Hands chains that were taken back to the driver, with the bytes written to each. It sees all of them
    /// at once.
    pub(crate) fn finish_together(&mut self, used: &[(u16, u32)]) -> Result<(), QueueError> {
        let Some(((last, bytes), others)) = used.split_last() else {
            return Ok(());
        };
        for (_, bytes) in used {
            self.counters.done(0, *bytes);
        }
        let mut next = self.queue.next_used();
        for (head, bytes) in others {
            let slot = usize::from(next % self.queue.size());
            let at = (USED_HEAD_BYTES + slot * USED_BYTES) as u64;
            let address = GuestAddress(self.queue.used_ring())
                .checked_add(at)
                .ok_or(RingError::AddressOverflow)?;
            // `struct virtq_used_elem`: the head u32, the bytes u32.
            let element = u64::from(*bytes) << 32 | u64::from(*head);
            self.memory
                .write_obj(element.to_le(), address)
                .map_err(RingError::GuestMemory)?;
            next = next.wrapping_add(1);
        }
        // The driver sees nothing of them before this moves the ring's index past them all.
        self.queue.set_next_used(next);
        self.queue.add_used(&self.memory, *last, *bytes)?;
        // The queue knows of one new chain only, so for more its answer may be wrong.
        if self.queue.needs_notification(&self.memory)? || !others.is_empty() {
            self.interrupt.buffers_used();
        }
        Ok(())
    }

    /// How many entries the queue has.
    pub(crate) fn size(&self) -> usize {
        usize::from(self.queue.size())
    }

    /// The guest's memory.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes the queue's next turn come after that of other events.
    pub(crate) fn kick_itself(&self) {
        self.counters.notified_itself();
        // A full counter is a kick, too.
        let _kicked_already = self.kick.write(1);
    }

    /// The chain, or `None` if it is refused.
    fn checked(&self, chain: DescriptorChain<&Memory>) -> Option<Chain> {
        match Chain::collect(chain) {
            Ok(chain) => Some(chain),
            Err(error) => {
                tracing::debug!(%error, "refused a descriptor chain");
                self.counters.refused();
                None
            }
        }
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
