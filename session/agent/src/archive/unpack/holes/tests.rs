use std::os::unix::fs::MetadataExt;

use super::*;

fn written(pieces: &[&[u8]]) -> (Vec<u8>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let file = File::create(&path).unwrap();
    let mut content = Content::new(&file);
    for piece in pieces {
        content.put(piece).unwrap();
    }
    content.finish().unwrap();
    let blocks = file.metadata().unwrap().blocks();
    (std::fs::read(&path).unwrap(), blocks * 512)
}

#[test]
fn zeros_take_no_room_and_are_read_as_such() {
    let zeros = vec![0; 1 << 20];
    let (bytes, room) = written(&[&zeros, b"middle", &zeros]);
    let expected = [zeros.as_slice(), b"middle", &zeros].concat();
    assert!(bytes == expected);
    assert!(room <= 64 << 10, "{room}");
}

proptest::proptest! {
    #[test]
    fn a_file_has_the_bytes_that_were_given_however_they_came(
        runs in proptest::collection::vec((0..3_u8, 0..9000_usize), 0..8),
        cuts in proptest::collection::vec(1..6000_usize, 1..5),
    ) {
        let bytes: Vec<u8> = runs.iter().flat_map(|(byte, len)| vec![*byte; *len]).collect();
        let mut pieces = Vec::new();
        let (mut left, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        while !left.is_empty() {
            let (piece, rest) = left.split_at((*cuts.next().unwrap()).min(left.len()));
            pieces.push(piece);
            left = rest;
        }
        let (found, _) = written(&pieces);
        proptest::prop_assert!(found == bytes);
    }
}
