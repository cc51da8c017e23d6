use std::sync::Arc;

use proptest::prelude::*;
use virtio_bindings::bindings::virtio_config::VIRTIO_CONFIG_S_DRIVER_OK;
use virtio_bindings::bindings::virtio_mmio::VIRTIO_MMIO_INT_CONFIG;
use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::QueueT;
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::memory::Memory;
use crate::virtio::{Event, Handler, ServedQueue};

const PAGE: u64 = 4096;
const NUMBERS: u64 = 0x10_0000;
const MEMORY_MIB: u32 = 16;
const PAGES: u64 = 16 << 8;
const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const REPORT: usize = 2;

/// Memory that is full of ones, but for where rings and page numbers are.
fn full() -> Memory {
    let memory = crate::memory::map(MEMORY_MIB).unwrap();
    for page in 0x200..PAGES {
        memory
            .write_obj(u64::MAX, GuestAddress(page * PAGE))
            .unwrap();
        memory
            .write_obj(u64::MAX, GuestAddress(page * PAGE + PAGE - 8))
            .unwrap();
    }
    memory
}

/// Sends one chain of `(address, length)` to one of the device's queues.
fn send(memory: &Memory, queue: usize, parts: &[(u64, u32)]) {
    memory.write_slice(&[0; 0x1000], GuestAddress(0)).unwrap();
    let ring = MockSplitQueue::new(memory, 16);
    let write = if queue == REPORT {
        VRING_DESC_F_WRITE
    } else {
        0
    };
    let descriptors: Vec<_> = (1u16..)
        .zip(parts)
        .map(|(next, (address, length))| {
            let more = usize::from(next) < parts.len();
            let flags = write | (u32::from(more) * VRING_DESC_F_NEXT);
            let flags = u16::try_from(flags).unwrap();
            RawDescriptor::from(Descriptor::new(*address, *length, flags, next))
        })
        .collect();
    ring.add_desc_chains(&descriptors, 0).unwrap();
    let interrupt = Interrupt::new().unwrap();
    let served = |queue| {
        let kick = Arc::new(EventFd::new(0).unwrap());
        ServedQueue::new(queue, memory.clone(), interrupt.clone(), kick)
    };
    let mut queues: Vec<_> = (0..3)
        .map(|index| {
            let mut ring: virtio_queue::Queue = ring.create_queue().unwrap();
            ring.set_ready(index == queue);
            served(ring)
        })
        .collect();
    let mut device = BalloonDevice::new(SharedBalloon::default());
    device.serve(Event::Queue(queue), &mut queues).unwrap();
    assert_eq!(ring.used().idx().load(), 1, "the request came back");
}

fn inflate(memory: &Memory, numbers: &[u32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    memory.write_slice(&bytes, GuestAddress(NUMBERS)).unwrap();
    let length = u32::try_from(bytes.len()).unwrap();
    send(memory, INFLATE, &[(NUMBERS, length)]);
}

/// The numbers of pages that are not as `full` left them.
fn emptied(memory: &Memory) -> Vec<u64> {
    let word = |at| memory.read_obj::<u64>(GuestAddress(at)).unwrap();
    (0x200..PAGES)
        .filter(
            |page| match (word(page * PAGE), word(page * PAGE + PAGE - 8)) {
                (0, 0) => true,
                (u64::MAX, u64::MAX) => false,
                other => panic!("half of page {page} is gone: {other:x?}"),
            },
        )
        .collect()
}

#[test]
fn an_inflated_balloon_gives_its_pages_to_the_host_and_deflating_takes_none() {
    let memory = full();
    inflate(&memory, &[0x301, 0x300, 0x305, 0x305, 0x302]);
    assert_eq!(emptied(&memory), [0x300, 0x301, 0x302, 0x305]);
    let memory = full();
    memory.write_obj(0x300u32, GuestAddress(NUMBERS)).unwrap();
    send(&memory, DEFLATE, &[(NUMBERS, 4)]);
    assert!(emptied(&memory).is_empty());
}

#[test]
fn more_pages_than_a_batch_come_out_right() {
    let memory = full();
    let numbers: Vec<u32> = (0..700).map(|n| 0x300 + n * 2).collect();
    inflate(&memory, &numbers);
    let expected: Vec<u64> = numbers.iter().map(|n| u64::from(*n)).collect();
    assert_eq!(emptied(&memory), expected);
}

#[test]
fn pages_that_are_no_ram_are_left_out() {
    let memory = full();
    let pages = u32::try_from(PAGES).unwrap();
    inflate(&memory, &[u32::MAX, 0xc_0000, pages, pages - 1, 0xfec00]);
    assert_eq!(emptied(&memory), [PAGES - 1]);
    // A part of a number at the end is no number.
    memory.write_obj(0x300u32, GuestAddress(NUMBERS)).unwrap();
    send(&memory, INFLATE, &[(NUMBERS, 3)]);
    assert_eq!(emptied(&memory), [PAGES - 1]);
}

#[test]
fn too_many_page_numbers_at_once_are_refused() {
    let memory = full();
    inflate(&memory, &[0x900; 4097]);
    assert!(emptied(&memory).is_empty());
    inflate(&memory, &[0x900; 4096]);
    assert_eq!(emptied(&memory), [0x900]);
}

#[test]
fn of_reported_ranges_the_whole_pages_go() {
    let memory = full();
    let page = |n: u64| n * PAGE;
    send(
        &memory,
        REPORT,
        &[
            (page(0x300), 0x2000),
            (page(0x400) + 1, 0x2fff),
            (page(0x500), 0xfff),
            (page(PAGES - 1), 0x1000),
        ],
    );
    assert_eq!(emptied(&memory), [0x300, 0x301, 0x401, 0x402, PAGES - 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_number_empties_anything_but_its_page(numbers in prop::collection::vec(any::<u32>(), 1..40)) {
        let memory = full();
        // Of each other one, a page of RAM.
        let scaled: Vec<u32> = (0..)
            .zip(&numbers)
            .map(|(at, number)| if at % 2 == 0 { *number } else { 0x200 + number % 0xe00 })
            .collect();
        inflate(&memory, &scaled);
        let mut expected: Vec<u64> = scaled.iter().map(|n| u64::from(*n)).collect();
        expected.retain(|page| (0x200..PAGES).contains(page));
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(emptied(&memory), expected);
    }
}

#[test]
fn what_the_host_asks_for_shows_in_the_configuration_and_is_announced() {
    let balloon = Balloon::default();
    let interrupt = Interrupt::new().unwrap();
    balloon.connect(interrupt.clone());
    let pages = || {
        let mut pages = [0xff; 4];
        balloon.read(0, &mut pages);
        u32::from_le_bytes(pages)
    };
    balloon.ask_for(3);
    assert_eq!((pages(), balloon.generation()), (768, 1));
    assert_eq!(interrupt.pending(), 0, "there is no driver to tell");
    interrupt.add_status(VIRTIO_CONFIG_S_DRIVER_OK);
    balloon.ask_for(u32::MAX);
    assert_eq!((pages(), balloon.generation()), (u32::MAX, 2));
    assert_eq!(interrupt.pending(), VIRTIO_MMIO_INT_CONFIG);
}

#[test]
fn the_driver_writes_what_it_gave_and_nothing_else() {
    let balloon = SharedBalloon::default();
    balloon.ask_for(1);
    balloon.write(0, 4, &1024u32.to_le_bytes());
    assert_eq!(balloon.given_mib(), 4);
    for (offset, length) in [(0, 4), (4, 3), (5, 4), (6, 2), (8, 4), (usize::MAX, 4)] {
        balloon.write(u64::MAX, offset, &[0xee; 4][..length]);
    }
    let mut config = [0x55; 12];
    balloon.read(0, &mut config);
    assert_eq!(config, [0, 1, 0, 0, 0, 4, 0, 0, 0x55, 0x55, 0x55, 0x55]);
    balloon.read(usize::MAX, &mut config);
    balloon.reset();
    assert_eq!(balloon.given_mib(), 0, "a reset leaves no balloon");
}
