use super::super::{Frame, MAX_DATA, write_frame};
use super::*;

#[test]
fn memory_of_used_frames_is_given_back() {
    let mut wire = Vec::new();
    write_frame(&mut wire, &Frame::Stdout(vec![7; MAX_DATA])).unwrap();
    write_frame(&mut wire, &Frame::Thaw).unwrap();
    let mut decoder = Decoder::default();
    for _ in 0..100 {
        for piece in wire.chunks(1000) {
            decoder.push(piece);
            while decoder.next_frame().unwrap().is_some() {}
        }
    }
    assert!(decoder.bytes.capacity() < 8 * MAX_DATA);
}
