use super::*;

#[test]
fn entries_are_aligned_and_the_head_has_its_fixed_size() {
    let mut archive = Archive::default();
    archive.file("init", b"12345");
    let bytes = archive.finish();
    // 110 bytes of head, the name with its zero, padding; then the data and padding.
    assert_eq!(&bytes[..6], b"070701");
    assert_eq!(&bytes[110..115], b"init\0");
    assert_eq!(&bytes[54..62], b"00000005");
    assert_eq!(&bytes[116..121], b"12345");
    assert_eq!(&bytes[124..130], b"070701");
    assert_eq!(bytes.len() % 4, 0);
}
