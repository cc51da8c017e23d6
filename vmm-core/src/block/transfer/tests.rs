use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const MEMORY_MIB: u32 = 16;
const BASE: u64 = 0x1000;

fn file_of(bytes: &[u8]) -> std::fs::File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// A buffer of guest memory in pieces of these lengths with gaps of seven bytes, and where it ends.
fn scattered(lengths: &[u32]) -> (Memory, Segments) {
    let memory = crate::memory::map(MEMORY_MIB).unwrap();
    let mut segments = Segments::default();
    let mut at = BASE;
    for length in lengths {
        segments.push(GuestAddress(at), *length);
        at += u64::from(*length) + 7;
    }
    (memory, segments)
}

/// Everything that the guest has at and between the pieces.
fn image(memory: &Memory, lengths: &[u32]) -> Vec<u8> {
    let bytes = lengths.iter().map(|length| *length as usize + 7).sum();
    let mut image = vec![0; bytes];
    memory.read_slice(&mut image, GuestAddress(BASE)).unwrap();
    image
}

#[test]
fn bytes_zeroes_and_files_fill_a_target_in_turn() {
    let mut buffer = [0xaa; 20];
    let mut target = ReadTarget::from_slice(&mut buffer);
    target.put(b"abc").unwrap();
    target.put_zeroes(4).unwrap();
    target.put_from_file(file_of(b"0123456789"), 2, 8).unwrap();
    assert_eq!(target.remaining(), 5);
    target.put(b"vwxyz").unwrap();
    assert_eq!(target.remaining(), 0);
    assert_eq!(&buffer, b"abc\0\0\0\0\x323456789vwxyz");
}

#[test]
fn more_than_remains_is_refused_and_changes_nothing() {
    let mut buffer = *b"unchanged";
    let mut target = ReadTarget::from_slice(&mut buffer);
    let file = file_of(&[0; 100]);
    for result in [
        target.put(&[0; 10]),
        target.put_zeroes(10),
        target.put_from_file(&file, 0, 10),
        target.put_from_file(&file, 0, usize::MAX),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(target.remaining(), 9);
    assert_eq!(&buffer, b"unchanged");
    let mut source = WriteSource::from_slice(&buffer);
    assert_eq!(
        source.take(&mut [0; 10]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let refused = source.write_to_file(&file, 0, 10);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(source.remaining(), 9);
}

#[test]
fn a_file_that_ends_too_early_is_an_error() {
    let mut buffer = [0xaa; 8];
    let mut target = ReadTarget::from_slice(&mut buffer);
    let short = target.put_from_file(file_of(b"four"), 0, 8);
    assert_eq!(short.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(target.remaining(), 4, "what came counts");
    let beyond = target.put_from_file(file_of(b"four"), u64::MAX, 1);
    assert_eq!(beyond.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_file_that_takes_nothing_is_an_error() {
    let read_only = std::fs::File::open("/proc/self/exe").unwrap();
    let mut source = WriteSource::from_slice(b"data");
    assert!(source.write_to_file(read_only, 0, 4).is_err());
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = source.write_to_file(full, 0, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(source.remaining(), 4);
}

#[test]
fn a_restart_puts_everything_anew() {
    let (memory, segments) = scattered(&[3, 5]);
    let mut target = ReadTarget::of_guest(&memory, &segments, 0, 8).unwrap();
    target.allow(2);
    target.put(b"ab").unwrap();
    target.allow(6);
    target.put(b"wrong").unwrap();
    target.restart();
    assert_eq!(target.remaining(), 6);
    target.put(b"cdefgh").unwrap();
    let image = image(&memory, &[3, 5]);
    assert_eq!(&image[..3], b"abc");
    assert_eq!(&image[10..15], b"defgh");
}

#[test]
fn a_call_gets_no_more_than_it_is_for() {
    let (memory, segments) = scattered(&[100]);
    let mut target = ReadTarget::of_guest(&memory, &segments, 10, 80).unwrap();
    assert!(target.put(&[1]).is_err(), "nothing is allowed at first");
    target.allow(30);
    assert!(target.put(&[1; 31]).is_err());
    target.put(&[1; 30]).unwrap();
    target.allow(50);
    target.put(&[2; 50]).unwrap();
    let expected = [vec![0; 10], vec![1; 30], vec![2; 50], vec![0; 17]].concat();
    assert_eq!(image(&memory, &[100]), expected);
}

#[test]
fn a_range_past_the_buffer_is_refused() {
    let (memory, segments) = scattered(&[100, 100]);
    for (offset, length) in [(0, 201), (200, 1), (u64::MAX, 1), (1, u64::MAX)] {
        assert!(ReadTarget::of_guest(&memory, &segments, offset, length).is_err());
        assert!(WriteSource::of_guest(&memory, &segments, offset, length).is_err());
    }
    assert!(ReadTarget::of_guest(&memory, &segments, 199, 1).is_ok());
}

#[test]
fn more_pieces_than_one_call_of_the_host_takes_move_whole() {
    let lengths = vec![3; 1000];
    let (memory, segments) = scattered(&lengths);
    let bytes: Vec<u8> = (0..3000u32).map(|n| n.to_le_bytes()[0] | 1).collect();
    let mut target = ReadTarget::of_guest(&memory, &segments, 0, 3000).unwrap();
    target.allow(3000);
    target.put_from_file(file_of(&bytes), 0, 3000).unwrap();
    let copy = file_of(&[]);
    let mut source = WriteSource::of_guest(&memory, &segments, 0, 3000).unwrap();
    source.allow(3000);
    source.write_to_file(&copy, 5, 3000).unwrap();
    let mut written = vec![0; 3005];
    copy.read_exact_at(&mut written, 0).unwrap();
    assert!(written[5..] == bytes);
    let gaps = image(&memory, &lengths);
    assert!(gaps.chunks(10).all(|chunk| chunk[3..] == [0; 7]));
}

proptest! {
    #[test]
    fn any_cut_moves_the_same_bytes(
        lengths in prop::collection::vec(0u32..3000, 1..80),
        steps in prop::collection::vec((0u8..3, 0usize..5000), 1..20),
        seed in any::<u8>())
    {
        let total: usize = lengths.iter().map(|length| *length as usize).sum();
        let bytes: Vec<u8> = (0..total).map(|n| n.to_le_bytes()[0].wrapping_mul(31) ^ seed).collect();
        let file = file_of(&bytes);
        let (memory, segments) = scattered(&lengths);
        let mut target = ReadTarget::of_guest(&memory, &segments, 0, total as u64).unwrap();
        target.allow(total);
        let mut model = bytes.clone();
        for (kind, count) in steps.iter().chain(&[(1, total)]) {
            let at = total - target.remaining();
            let count = (*count).min(target.remaining());
            match kind {
                0 => target.put(&bytes[at..at + count]).unwrap(),
                1 => target.put_from_file(&file, at as u64, count).unwrap(),
                _ => {
                    model[at..at + count].fill(0);
                    target.put_zeroes(count).unwrap();
                }
            }
        }
        prop_assert_eq!(target.remaining(), 0);
        let mut source = WriteSource::of_guest(&memory, &segments, 0, total as u64).unwrap();
        source.allow(total);
        let copy = file_of(&[]);
        for (kind, count) in steps.iter().chain(&[(1, total)]) {
            let at = total - source.remaining();
            let count = (*count).min(source.remaining());
            if *kind == 0 {
                let mut taken = vec![0; count];
                source.take(&mut taken).unwrap();
                copy.write_all_at(&taken, at as u64).unwrap();
            } else {
                source.write_to_file(&copy, at as u64, count).unwrap();
            }
        }
        let mut copied = vec![0; total];
        copy.read_exact_at(&mut copied, 0).unwrap();
        prop_assert!(copied == model);
    }
}
