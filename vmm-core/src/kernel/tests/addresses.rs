//! Segments and headers with any numbers.

use super::super::bzimage::BzImage;
use super::super::elf::ElfLayout;
use super::*;
use crate::layout::{HIGH_MEMORY_START, MMIO_GAP_START};

const FILE_BYTES: u64 = 0x2000;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..FILE_BYTES,
        (HIGH_MEMORY_START - 16..HIGH_MEMORY_START + 0x1_0000),
        (MMIO_GAP_START - 0x1_0000..MMIO_GAP_START + 16),
        u64::MAX - 0x1000..=u64::MAX,
    ]
}

/// A load segment: offset and bytes in the file, address and bytes in memory.
type Segment = (u64, u64, u64, u64);

/// Half of them make sense.
fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![
        (number(), number(), number(), number()),
        (0u64..0x1000, 0u64..0x1000, 0u64..1 << 24, 0u64..0x1000).prop_map(
            |(offset, bytes, address, more)| {
                (offset, bytes, HIGH_MEMORY_START + address, bytes + more)
            }
        ),
    ]
}

fn elf_of(segments: &[Segment], entry: u64) -> Vec<u8> {
    let mut file = elf(&[], 0);
    file.resize(usize::try_from(FILE_BYTES).unwrap(), 0x90);
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(24, &entry.to_le_bytes());
    put(56, &u16::try_from(segments.len()).unwrap().to_le_bytes());
    for (index, (offset, bytes, address, memory_bytes)) in segments.iter().enumerate() {
        let at = 64 + index * 56;
        put(at, &1u32.to_le_bytes());
        put(at + 8, &offset.to_le_bytes());
        put(at + 24, &address.to_le_bytes());
        put(at + 32, &bytes.to_le_bytes());
        put(at + 40, &memory_bytes.to_le_bytes());
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]
    #[test]
    fn segments_that_are_taken_lie_in_the_file_and_between_the_first_mib_and_the_hole(
        segments in prop::collection::vec(segment(), 1..4),
        entry_in in any::<prop::sample::Index>(),
        entry in prop_oneof![0u64..0x100, number()],
    ) {
        let entry = entry_in.get(&segments).2.wrapping_add(entry);
        let Ok(layout) = ElfLayout::parse(&elf_of(&segments, entry)) else {
            return Ok(());
        };
        prop_assert!(HIGH_MEMORY_START <= layout.start && layout.start < layout.file_end);
        prop_assert!(layout.file_end <= layout.end && layout.end <= MMIO_GAP_START);
        prop_assert!((layout.start..layout.end).contains(&layout.entry));
        for (offset, bytes, address, memory_bytes) in segments {
            let end = |start: u64, length: u64| start.checked_add(length).expect("it does not wrap");
            prop_assert!(end(offset, bytes) <= FILE_BYTES);
            prop_assert!(address >= layout.start && end(address, bytes) <= layout.file_end);
            prop_assert!(end(address, memory_bytes) <= layout.end);
        }
    }

    #[test]
    fn bzimages_that_are_taken_lie_above_the_first_mib_and_do_not_wrap(
        load_address in number(),
        memory_bytes in any::<u32>(),
        sectors in any::<u8>(),
        sixteenths in prop_oneof![any::<u32>(), 0u32..0x100],
        packed_at in prop_oneof![any::<u32>(), 0u32..0x1000],
        packed in prop_oneof![any::<u32>(), 0u32..0x1000],
    ) {
        let mut file = bzimage(&[0; 0x800]);
        let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
        put(0x1f1, &[sectors % 8]);
        put(0x1f4, &sixteenths.to_le_bytes());
        put(0x248, &packed_at.to_le_bytes());
        put(0x24c, &packed.to_le_bytes());
        put(0x258, &load_address.to_le_bytes());
        put(0x260, &memory_bytes.to_le_bytes());
        let Ok(image) = BzImage::parse(&file) else {
            return Ok(());
        };
        prop_assert!(image.load_address >= HIGH_MEMORY_START);
        prop_assert!((image.load_address..image.end()).contains(&image.entry()));
        prop_assert_eq!(image.payload(&file).len(), packed as usize);
        prop_assert!(image.end() - image.load_address >= u64::from(memory_bytes));
    }
}
