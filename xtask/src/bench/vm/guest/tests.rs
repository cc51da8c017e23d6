use super::*;

/// A bzImage of one sector of setup code, whose payload of 12 bytes begins 32 bytes behind it.
fn bzimage() -> Vec<u8> {
    let mut bytes = vec![0; 2 * 512 + 32 + 12];
    bytes[0x1f1] = 1;
    bytes[0x248..0x24c].copy_from_slice(&32u32.to_le_bytes());
    bytes[0x24c..0x250].copy_from_slice(&12u32.to_le_bytes());
    bytes[2 * 512 + 32..][..4].copy_from_slice(&LZ4_LEGACY);
    bytes
}

#[test]
fn payload_ends_before_its_size() {
    assert_eq!(
        payload(&bzimage()),
        Some(&[2, 0x21, 0x4c, 0x18, 0, 0, 0, 0][..])
    );
}

#[test]
fn kernels_that_are_cut_or_packed_otherwise_have_no_payload() {
    let whole = bzimage();
    for length in [0, 0x1f1, 0x24f, whole.len() - 5] {
        assert_eq!(payload(&whole[..length]), None, "{length} bytes");
    }
    let mut gzip = whole;
    gzip[2 * 512 + 32] = 0x1f;
    assert_eq!(payload(&gzip), None);
}
