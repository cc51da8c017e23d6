use super::*;

/// What `debugfs -R "dx_hash -h half_md4 -s SEED NAME"` of e2fsprogs 1.47.0 prints.
#[test]
fn hashes_are_those_of_debugfs() {
    for (name, expected) in [
        ("a".to_owned(), (0xef9f_8320, 0x01d3_bfd4)),
        ("hello".to_owned(), (0x1512_0ec8, 0x91e4_e6b0)),
        ("\u{fc}ml\u{e4}ut".to_owned(), (0x9d7d_e730, 0x73da_73ff)),
        ("n".repeat(32), (0x4995_a4c2, 0x8d26_a068)),
        ("n".repeat(33), (0xc31d_e210, 0xd370_838f)),
        ("long".repeat(63), (0x5d58_cdee, 0x1d6b_d933)),
    ] {
        assert_eq!(hash(name.as_bytes()), expected, "{name}");
    }
}
