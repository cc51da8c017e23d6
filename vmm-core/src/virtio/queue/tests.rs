mod addresses;

use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use vm_memory::Bytes;
use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;

const AVAILABLE: u64 = 0x1002;
const USED: u64 = 0x1004;

/// A queue whose descriptors begin at 0, and its used ring at `used`.
fn served(memory: Memory, used: u64) -> (ServedQueue, Arc<EventFd>) {
    let mut queue = Queue::new(16).unwrap();
    queue
        .try_set_avail_ring_address(GuestAddress(AVAILABLE))
        .unwrap();
    queue.try_set_used_ring_address(GuestAddress(used)).unwrap();
    queue.set_ready(true);
    let kick = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let interrupt = Interrupt::new().unwrap();
    let queue = ServedQueue::new(queue, memory, interrupt, Arc::clone(&kick));
    (queue, kick)
}

/// The index of the available ring is the flags of the used ring: the device's wish for no kicks is a buffer, and
/// its wish for kicks takes it back.
#[test]
fn rings_that_lie_over_one_another_end_a_turn() {
    let memory = crate::memory::map(1).unwrap();
    let descriptor = RawDescriptor::from(Descriptor::new(0x2000, 512, 0, 0));
    memory.write_obj(descriptor, GuestAddress(0)).unwrap();
    let (mut queue, kick) = served(memory, USED);
    assert!(queue.is_sane());
    let mut served = 0;
    let ended = queue.drain(|_, _| {
        served += 1;
        Verdict::Used(0)
    });
    assert!(ended.is_ok());
    assert_eq!((served, kick.read().unwrap()), (1, 1));
}

#[test]
fn a_chain_that_leads_nowhere_is_refused_and_counted() {
    const TABLE_BYTES: u32 = 16;
    let next = u16::try_from(VRING_DESC_F_NEXT).unwrap();
    let indirect = u16::try_from(VRING_DESC_F_INDIRECT).unwrap();
    let heads = [
        // Out of its table behind one descriptor.
        Descriptor::new(0x2000, 512, next, 16),
        // A table of no whole number of descriptors, or none.
        Descriptor::new(0x3000, TABLE_BYTES + 1, indirect, 0),
        Descriptor::new(0x3000, 0, indirect, 0),
    ];
    for head in heads {
        let memory = crate::memory::map(1).unwrap();
        memory
            .write_obj(RawDescriptor::from(head), GuestAddress(0))
            .unwrap();
        // One chain, which begins at descriptor 0.
        memory.write_obj(1u16, GuestAddress(AVAILABLE + 2)).unwrap();
        let (mut queue, _kick) = served(memory, 0x4000);
        let ended = queue.drain(|_, _| panic!("there is nothing to serve"));
        assert!(ended.is_ok());
        assert_eq!(queue.counters.read().refused, 1, "{head:?}");
    }
}
