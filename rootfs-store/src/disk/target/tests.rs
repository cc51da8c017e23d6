use std::io::Write;

use super::*;

#[test]
fn a_slice_is_filled_in_turn_and_never_past_its_end() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123").unwrap();
    let mut buffer = [0xaa; 8];
    let mut target = IntoSlice::new(&mut buffer);
    target.put(b"wrong").unwrap();
    target.restart();
    target.put(b"ab").unwrap();
    target.put_zeroes(2).unwrap();
    target.put_from_file(&file, 1, 3).unwrap();
    assert_eq!(target.remaining(), 1);
    for refused in [
        target.put(b"xy"),
        target.put_zeroes(2),
        target.put_from_file(&file, 0, 2),
    ] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    let short = target.put_from_file(&file, 4, 1).unwrap_err();
    assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(&buffer[..7], b"ab\0\0\x31\x32\x33");
}
