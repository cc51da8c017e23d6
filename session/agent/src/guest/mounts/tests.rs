use super::*;

#[test]
fn mount_points_are_unescaped() {
    let table =
        b"/dev/vda / ext4 rw 0 0\ntmpfs /a\\040b\\134c tmpfs rw 0 0\nx /d\\9 tmpfs rw 0 0\nshort\n";
    let expected = ["/", "/a b\\c", "/d\\9"].map(PathBuf::from);
    let targets: Vec<_> = entries(table).map(|(_, target)| target).collect();
    assert_eq!(targets, expected);
}
