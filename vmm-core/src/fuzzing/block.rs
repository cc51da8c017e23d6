//! A block device with memory and a queue that a driver has set up.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::block::{Block, info};
use crate::config::Drive;
use crate::memory::{self, Memory};
use crate::virtio::{Event, Handler, Interrupt, ServedQueue};

/// Turns in a row that a device gets: an honest driver's requests take two.
const MAX_TURNS: u32 = 64;

/// Where a driver says that its queue is.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// Entries of the queue.
    pub size: u16,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of the available ring.
    pub available: u64,
    /// Address of the used ring.
    pub used: u64,
    /// Whether the driver took the event index feature.
    pub event_index: bool,
}

/// The driver's side of a block device: its memory, and the kick.
pub struct BlockDriver {
    memory: Memory,
    device: Block,
    queues: [ServedQueue; 1],
    kick: Arc<EventFd>,
}

impl std::fmt::Debug for BlockDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockDriver").finish_non_exhaustive()
    }
}

impl BlockDriver {
    /// Sets up a device with `memory_mib` of memory; `None` if the device refuses the rings.
    ///
    /// # Panics
    /// If the host has no memory or descriptors.
    #[must_use]
    pub fn new(drive: &Drive, memory_mib: u32, rings: Rings) -> Option<Self> {
        let memory = memory::map(memory_mib).expect("the host has memory");
        let offered = info(drive);
        let mut queue = Queue::new(offered.queue_sizes[0]).expect("the device's queue is sound");
        queue.try_set_size(rings.size).ok()?;
        queue
            .try_set_desc_table_address(GuestAddress(rings.descriptors))
            .ok()?;
        queue
            .try_set_avail_ring_address(GuestAddress(rings.available))
            .ok()?;
        queue
            .try_set_used_ring_address(GuestAddress(rings.used))
            .ok()?;
        queue.set_event_idx(rings.event_index);
        queue.set_ready(true);
        let kick = Arc::new(EventFd::new(EFD_NONBLOCK).expect("the host has descriptors"));
        let interrupt = Interrupt::new().expect("the host has descriptors");
        let queue = ServedQueue::new(queue, memory.clone(), interrupt, Arc::clone(&kick));
        let mut device =
            Block::new(drive, Arc::new(AtomicBool::new(false))).expect("the host has descriptors");
        device.activate(
            offered.features & !(u64::from(!rings.event_index) << VIRTIO_RING_F_EVENT_IDX),
        );
        queue.is_sane().then_some(Self {
            memory,
            device,
            queues: [queue],
            kick,
        })
    }

    /// Writes to guest memory; `false` if not all of `source` fits there.
    pub fn write(&self, address: u64, source: &[u8]) -> bool {
        self.memory
            .write_slice(source, GuestAddress(address))
            .is_ok()
    }

    /// Reads from guest memory; `false` if not all of `target` is there.
    pub fn read(&self, address: u64, target: &mut [u8]) -> bool {
        self.memory
            .read_slice(target, GuestAddress(address))
            .is_ok()
    }

    /// Lets the device work until it has nothing to do, or kicked itself so often that it never would; `false` if it
    /// asks for a reset.
    pub fn kick(&mut self) -> bool {
        for _ in 0..MAX_TURNS {
            let served = self.device.serve(Event::Queue(0), &mut self.queues);
            if served.is_err() {
                return false;
            }
            if self.kick.read().is_err() {
                break;
            }
        }
        true
    }
}
