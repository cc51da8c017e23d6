//! Frames of the agent's protocol, from bytes that a hostile peer sends in pieces.
//!
//! Oracles: a decoder and a reader agree on the same bytes, what was accepted round-trips, and a reader of tar streams gets
//! what the frames have up to the stream's end, and leaves what follows.
#![no_main]

use std::io::Read;

use agent::protocol::{DataReader, Decoder, Frame, ProtocolError, read_frame, write_frame};
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

/// The stream that frames begin with, and how many of them belong to it; `None` if it has no end.
fn stream_of(frames: &[Frame]) -> Option<(Vec<u8>, usize)> {
    let mut stream = Vec::new();
    for (count, frame) in frames.iter().enumerate() {
        match frame {
            Frame::Data(piece) if !piece.is_empty() => stream.extend(piece),
            Frame::DataEnd => return Some((stream, count + 1)),
            _ => return None,
        }
    }
    None
}

fn check_stream(bytes: &[u8], piece: usize, frames: &[Frame]) {
    let mut reader = DataReader::new(bytes);
    let (mut stream, mut buffer) = (Vec::<u8>::new(), vec![0; piece]);
    let is_whole = loop {
        match reader.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => stream.extend(&buffer[..count]),
            Err(_) => break false,
        }
    };
    let expected = stream_of(frames);
    assert_eq!(is_whole, expected.is_some());
    if let Some((expected, count)) = expected {
        assert_eq!(stream, expected);
        assert_eq!(read_whole(reader.into_inner()).0, frames[count..]);
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let piece = usize::from(piece) + 1;
    let (decoded, decode_error) = decode_in_pieces(bytes, piece);
    let (read, read_error) = read_whole(bytes);
    assert_eq!(decoded, read);
    assert_eq!(
        decode_error.map(|e| e.to_string()),
        read_error.map(|e| e.to_string())
    );
    check_stream(bytes, piece, &read);
    for frame in read {
        let mut wire = Vec::new();
        write_frame(&mut wire, &frame).expect("a frame that was accepted is short enough to send");
        assert_eq!(
            read_frame(&mut wire.as_slice()).expect("our own bytes decode"),
            Some(frame)
        );
    }
});
