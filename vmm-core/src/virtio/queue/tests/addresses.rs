//! Rings anywhere in 64 bits.

use proptest::prelude::*;
use vm_memory::GuestMemoryBackend;

use super::*;
use crate::layout::MMIO_GAP_END;
use crate::memory::{Pages, map_ranges};

/// Two pieces side by side, and one above the hole.
const PIECES: [(u64, u64); 3] = [(0, 0x4000), (0x4000, 0x2000), (MMIO_GAP_END, 0x3000)];

fn address() -> impl Strategy<Value = u64> {
    let edges: Vec<u64> = PIECES
        .iter()
        .map(|(start, length)| start + length)
        .collect();
    prop_oneof![
        any::<u64>(),
        0u64..0x7000,
        MMIO_GAP_END - 0x1000..MMIO_GAP_END + 0x4000,
        (prop::sample::select(edges), 0u64..0x1100).prop_map(|(edge, near)| edge - near),
        u64::MAX - 0x1100..=u64::MAX,
    ]
}

/// Whether `bytes` at `start` lie in memory.
fn is_in_memory(start: u64, bytes: u64) -> bool {
    // The first two pieces are one.
    [(0, 0x6000), PIECES[2]].iter().any(|(piece, length)| {
        start >= *piece && u128::from(start) + u128::from(bytes) <= u128::from(piece + length)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn rings_are_taken_if_and_only_if_all_of_each_is_in_memory(
        places in [address(), address(), address()],
        good in 0u8..4,
        size_bits in 0u32..9,
        ready in prop::bool::weighted(0.9),
    ) {
        let memory = map_ranges(&PIECES, Pages::Default).unwrap();
        prop_assert_eq!(memory.num_regions(), 3);
        let entries = 1u64 << size_bits;
        let align = |address: u64, to: u64| address / to * to;
        // Most rings are beside memory: all but one of them, or none, go to where they fit.
        let place = |at: u8| match good {
            3 => places[usize::from(at)],
            good if good == at => places[usize::from(at)],
            _ => u64::from(at) * 0x1000,
        };
        let [table, available, used] =
            [align(place(0), 16), align(place(1), 2), align(place(2), 4)];
        let mut queue = Queue::new(256).unwrap();
        queue.set_size(u16::try_from(entries).unwrap());
        queue.try_set_desc_table_address(GuestAddress(table)).unwrap();
        queue.try_set_avail_ring_address(GuestAddress(available)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(used)).unwrap();
        queue.set_ready(ready);
        let kick = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let interrupt = Interrupt::new().unwrap();
        let mut queue = ServedQueue::new(queue, memory, interrupt, kick);
        let fits = is_in_memory(table, 16 * entries)
            && is_in_memory(available, 6 + 2 * entries)
            && is_in_memory(used, 6 + 8 * entries);
        prop_assert_eq!(queue.is_sane(), !ready || fits);
        if queue.is_sane() {
            // An empty ring, or what other rings make of it: an error at worst.
            let _may_be_wrecked = queue.drain(|_, _| Verdict::Used(0));
        }
    }
}
