use super::*;

#[test]
fn mount_points_are_unescaped() {
    let table =
        b"/dev/vda / ext4 rw 0 0\ntmpfs /a\\040b\\134c tmpfs rw 0 0\nx /d\\9 tmpfs rw 0 0\nshort\n";
    let expected = ["/", "/a b\\c", "/d\\9"].map(PathBuf::from);
    let targets: Vec<_> = entries(table).map(|(_, target)| target).collect();
    assert_eq!(targets, expected);
}

#[test]
fn mounts_of_disks_are_told_with_their_file_systems() {
    let table = [
        &b"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,errors=continue"[..],
        b"30 21 254:16 / /a\\040b rw shared:1 master:2 - ext4 /dev/vdb ro",
        b"31 21 254:16 /sub /ro ro,noatime - ext4 /dev/vdb rw",
        b"32 21 0:5 / /dev rw - devtmpfs devtmpfs rw",
        b"33 21 0:7 / /short rw - tmpfs",
        b"x 21 254:16 / /d rw - ext4 /dev/vdb rw",
        b"",
    ];
    let found: Vec<_> = table.into_iter().filter_map(disk_mount).collect();
    let mount = |id, target: &str, device: &str, is_writable| DiskMount {
        id,
        target: target.into(),
        device: device.to_owned(),
        is_writable,
    };
    let expected = [
        mount(21, "/", "254:0", true),
        mount(30, "/a b", "254:16", false),
        mount(31, "/ro", "254:16", true),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_mount_that_another_one_hides_does_not_open() {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let id = |line: &[u8]| {
        String::from_utf8_lossy(line)
            .split(' ')
            .next()?
            .parse()
            .ok()
    };
    let is_proc = |line: &&[u8]| String::from_utf8_lossy(line).contains(" /proc ");
    let line = mounts.split(|byte| *byte == b'\n').rfind(is_proc).unwrap();
    let mut proc = DiskMount {
        id: id(line).unwrap(),
        target: "/proc".into(),
        device: String::new(),
        is_writable: true,
    };
    assert!(proc.open().is_some());
    proc.id += 1_000_000;
    assert!(proc.open().is_none());
    proc.target = "/none".into();
    assert!(proc.open().is_none());
}
