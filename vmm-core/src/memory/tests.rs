use super::*;

#[test]
fn ram_leaves_the_device_hole_free() {
    assert_eq!(ram_ranges(256 << 20), [(0, 256 << 20)]);
    assert_eq!(ram_ranges(3 << 30), [(0, 3 << 30)]);
    assert_eq!(ram_ranges(5 << 30), [(0, 3 << 30), (4 << 30, 2 << 30)]);
}
