use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn image(programs: &[(&str, &[u8], u32)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, contents, mode) in programs {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    root
}

#[test]
fn an_image_without_init_has_none() {
    assert_eq!(find(image(&[("init", b"#!/bin/sh", 0o755)]).path()), None);
}

#[test]
fn a_linked_systemd_is_the_init() {
    let root = image(&[("usr/lib/systemd/systemd", b"\x7fELF", 0o755)]);
    fs::create_dir(root.path().join("sbin")).unwrap();
    symlink("../usr/lib/systemd/systemd", root.path().join("sbin/init")).unwrap();
    assert_eq!(find(root.path()).as_deref(), Some("/sbin/init"));
}

#[test]
fn busybox_is_no_init_by_whatever_link() {
    let root = image(&[(
        "bin/busybox",
        b"\x7fELF ... BusyBox v1.35.0 (Debian) ...",
        0o755,
    )]);
    fs::create_dir(root.path().join("sbin")).unwrap();
    symlink("../bin/busybox", root.path().join("sbin/init")).unwrap();
    fs::hard_link(
        root.path().join("bin/busybox"),
        root.path().join("bin/init"),
    )
    .unwrap();
    assert_eq!(find(root.path()), None);
}

#[test]
fn a_dangling_link_or_a_plain_file_is_passed_over() {
    let root = image(&[
        ("lib/systemd/systemd", b"text", 0o644),
        ("etc/init", b"\x7fELF", 0o755),
    ]);
    fs::create_dir(root.path().join("sbin")).unwrap();
    symlink("../nowhere", root.path().join("sbin/init")).unwrap();
    assert_eq!(find(root.path()).as_deref(), Some("/etc/init"));
}
