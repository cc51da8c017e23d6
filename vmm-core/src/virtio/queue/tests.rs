mod addresses;

use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use vm_memory::Bytes;
use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;

const AVAILABLE: u64 = 0x1002;
const USED: u64 = 0x1004;

/// The index of the available ring is the flags of the used ring: the device's wish for no kicks is a buffer, and
/// its wish for kicks takes it back.
#[test]
fn rings_that_lie_over_one_another_end_a_turn() {
    let memory = crate::memory::map(1).unwrap();
    let descriptor = RawDescriptor::from(Descriptor::new(0x2000, 512, 0, 0));
    memory.write_obj(descriptor, GuestAddress(0)).unwrap();
    let mut queue = Queue::new(16).unwrap();
    queue
        .try_set_avail_ring_address(GuestAddress(AVAILABLE))
        .unwrap();
    queue.try_set_used_ring_address(GuestAddress(USED)).unwrap();
    queue.set_ready(true);
    let kick = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let interrupt = Interrupt::new().unwrap();
    let mut queue = ServedQueue::new(queue, memory, interrupt, Arc::clone(&kick));
    assert!(queue.is_sane());
    let mut served = 0;
    let ended = queue.drain(|_, _| {
        served += 1;
        Verdict::Used(0)
    });
    assert!(ended.is_ok());
    assert_eq!((served, kick.read().unwrap()), (1, 1));
}
