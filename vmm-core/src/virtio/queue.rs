//! A queue as a device's worker sees it.

use virtio_queue::{Error as RingError, Queue, QueueOwnedT, QueueT};
use vmm_sys_util::eventfd::EventFd;

use super::{Chain, Interrupt};
use crate::memory::Memory;

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
    kick: EventFd,
}

impl ServedQueue {
    /// `kick` is the eventfd by which the driver announces buffers.
    pub(crate) fn new(queue: Queue, memory: Memory, interrupt: Interrupt, kick: EventFd) -> Self {
        Self {
            queue,
            memory,
            interrupt,
            kick,
        }
    }

    /// Whether the queue's rings lie in memory. A queue that the driver left out is fine.
    pub(crate) fn is_sane(&self) -> bool {
        !self.queue.ready() || self.queue.is_valid(&self.memory)
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
                    // A full counter is a kick, too.
                    let _kicked_already = self.kick.write(1);
                    return Ok(());
                }
                budget -= 1;
                let head = chain.head_index();
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
