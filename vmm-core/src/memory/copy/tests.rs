use proptest::prelude::*;

use super::super::map;
use super::*;
use crate::layout::MMIO_GAP_END;

const MIB: u64 = 1 << 20;

#[test]
fn all_regions_are_copied_in_order_and_back() {
    // 1 MiB above the hole.
    let first = map(3073).unwrap();
    let marks = [
        0,
        5 * MIB + 77,
        3072 * MIB - 1,
        MMIO_GAP_END,
        MMIO_GAP_END + MIB - 1,
    ];
    for (mark, at) in (1u8..).zip(marks) {
        first.write_obj(mark, GuestAddress(at)).unwrap();
    }
    /// Keeps the bytes that are not zero, and their places.
    #[derive(Default)]
    struct Sparse(Vec<(u64, u8)>, u64);
    impl Write for Sparse {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let found = bytes.iter().zip(self.1..).filter(|(byte, _)| **byte != 0);
            self.0.extend(found.map(|(byte, at)| (at, *byte)));
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut copy = Sparse::default();
    assert!(copy_out(&first, &mut copy, || false).unwrap());
    let expected = [
        (0, 1),
        (5 * MIB + 77, 2),
        (3072 * MIB - 1, 3),
        (3072 * MIB, 4),
        (3073 * MIB - 1, 5),
    ];
    assert_eq!((copy.0.as_slice(), copy.1), (&expected[..], 3073 * MIB));
}

#[test]
fn a_copy_ends_when_it_is_told_to() {
    let memory = map(16).unwrap();
    let pieces = std::cell::Cell::new(0);
    let is_over = || pieces.replace(pieces.get() + 1) == 3;
    let mut copy = Vec::new();
    assert!(!copy_out(&memory, &mut copy, is_over).unwrap());
    assert_eq!(copy.len(), 3 * PIECE_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_copied_in_comes_out(writes in proptest::collection::vec(
        (0..16 * MIB - 600, proptest::collection::vec(any::<u8>(), 1..600)), 0..20,
    )) {
        let (first, second) = (map(16).unwrap(), map(16).unwrap());
        for (at, bytes) in writes {
            first.write_slice(&bytes, GuestAddress(at)).unwrap();
        }
        let (mut copy, mut again) = (Vec::new(), Vec::new());
        prop_assert!(copy_out(&first, &mut copy, || false).unwrap());
        copy_in(&second, &mut copy.as_slice()).unwrap();
        prop_assert!(copy_out(&second, &mut again, || false).unwrap());
        prop_assert!(copy == again && copy.len() as u64 == 16 * MIB);
        copy.pop();
        let error = copy_in(&second, &mut copy.as_slice()).unwrap_err();
        prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
