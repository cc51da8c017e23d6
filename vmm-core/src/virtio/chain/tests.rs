use proptest::prelude::*;

use super::*;

const BYTES: usize = 0x1000;

proptest! {
    #[test]
    fn a_buffer_of_pieces_is_read_and_written_like_one_of_a_piece(
        pieces in prop::collection::vec((0u64..16, 0u64..0x100), 0..8),
        offset in prop_oneof![any::<u64>(), 0u64..0x900],
        length in 0usize..0x900,
    ) {
        let memory = crate::memory::map(1).unwrap();
        let contents: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
        memory.write_slice(&contents, GuestAddress(0)).unwrap();
        let mut segments = Segments::default();
        let mut whole = Vec::new();
        // They don't overlap, so that writes can be told apart.
        for (slot, length) in pieces.iter().zip(0u64..).map(|((_, length), slot)| (slot, *length)) {
            let start = slot * 0x100 + pieces[0].0;
            let length = length.min(0x100 - pieces[0].0);
            segments.push(GuestAddress(start), u32::try_from(length).unwrap());
            whole.extend(start..start + length);
        }
        prop_assert_eq!(segments.len(), whole.len() as u64);
        let part = usize::try_from(offset).ok().and_then(|at| whole.get(at..at.checked_add(length)?));
        let mut read = vec![0; length];
        let result = segments.read(&memory, offset, &mut read);
        let is_fine = length == 0 || part.is_some();
        prop_assert_eq!(result.is_ok(), is_fine);
        prop_assert_eq!(segments.slices(&memory, offset, length as u64).is_ok(), is_fine);
        let mut expected = contents;
        if let Some(part) = part {
            let there: Vec<u8> = part.iter().map(|at| expected[usize::try_from(*at).unwrap()]).collect();
            prop_assert_eq!(read, there);
            for at in part {
                expected[usize::try_from(*at).unwrap()] = 0xff;
            }
        }
        let written = segments.write(&memory, offset, &vec![0xff; length]);
        prop_assert_eq!(written.is_ok(), is_fine);
        if is_fine {
            let mut now = vec![0; BYTES];
            memory.read_slice(&mut now, GuestAddress(0)).unwrap();
            prop_assert_eq!(now, expected);
        }
    }
}
