//! Frames of the agent's protocol, from bytes that a hostile peer sends in pieces.
//!
//! Oracles: a decoder and a reader agree on the same bytes, and what was accepted round-trips.
#![no_main]

use agent::protocol::{Decoder, Frame, ProtocolError, read_frame, write_frame};
use libfuzzer_sys::fuzz_target;

fn decode_in_pieces(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<ProtocolError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for bytes in bytes.chunks(piece) {
        decoder.push(bytes);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    let end = decoder.is_mid_frame().then_some(ProtocolError::Truncated);
    (frames, end)
}

fn read_whole(mut bytes: &[u8]) -> (Vec<Frame>, Option<ProtocolError>) {
    let mut frames = Vec::new();
    loop {
        match read_frame(&mut bytes) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let (decoded, decode_error) = decode_in_pieces(bytes, usize::from(piece) + 1);
    let (read, read_error) = read_whole(bytes);
    assert_eq!(decoded, read);
    assert_eq!(
        decode_error.map(|e| e.to_string()),
        read_error.map(|e| e.to_string())
    );
    for frame in read {
        let mut wire = Vec::new();
        write_frame(&mut wire, &frame).expect("a frame that was accepted is short enough to send");
        assert_eq!(
            read_frame(&mut wire.as_slice()).expect("our own bytes decode"),
            Some(frame)
        );
    }
});
