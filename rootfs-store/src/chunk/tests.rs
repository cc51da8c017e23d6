#![expect(
    clippy::cast_possible_truncation,
    reason = "patterns of test data wrap"
)]

use super::*;

fn encoded(plain: &[u8]) -> Vec<u8> {
    Encoder::new().unwrap().encode(plain).unwrap()
}

#[test]
fn frames_decode_to_what_was_encoded() {
    let plain: Vec<u8> = (0..DEFAULT_CHUNK_BYTES).map(|n| (n / 7) as u8).collect();
    let frame = encoded(&plain);
    assert!(frame.len() < plain.len());
    let digest = ChunkDigest::of(&plain);
    assert_eq!(decode(&digest, &frame, plain.len()).unwrap(), plain);
}

#[test]
fn frames_that_unpack_to_too_much_are_refused() {
    let plain = vec![7; 1 << 20];
    let frame = encoded(&plain);
    let result = decode(&ChunkDigest::of(&plain), &frame, plain.len() - 1);
    assert!(matches!(result, Err(FrameError::Decompress { .. })));
}

#[test]
fn other_bytes_than_the_digest_says_are_refused() {
    let frame = encoded(b"one");
    let result = decode(&ChunkDigest::of(b"two"), &frame, 100);
    assert!(matches!(result, Err(FrameError::Digest { .. })));
}

#[test]
fn zeros_are_told_from_a_single_bit_anywhere() {
    for len in [0, 1, 63, 64, 65, 4096] {
        assert!(is_zero(&vec![0; len]));
    }
    for at in [0, 63, 64, 99] {
        let mut bytes = vec![0; 100];
        bytes[at] = 1;
        assert!(!is_zero(&bytes));
    }
}
