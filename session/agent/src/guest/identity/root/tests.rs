use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::unistd::{getegid, geteuid};

use super::*;

fn mine(mode: u32) -> Attributes {
    Attributes {
        mode,
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
    }
}

fn bed() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("root");
    fs::create_dir(&top).unwrap();
    let root = Root::open(&top).unwrap();
    (folder, root)
}

#[test]
fn a_file_is_made_with_its_parents_and_left_alone_when_it_is_right() {
    let (folder, root) = bed();
    let path = folder.path().join("root/a/b/file");
    assert!(
        root.write("/a/b/file", b"x", mine(0o640), mine(0o750))
            .unwrap()
    );
    assert_eq!(fs::read(&path).unwrap(), b"x");
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let parent = path.parent().unwrap().metadata().unwrap();
    assert_eq!(parent.permissions().mode() & 0o7777, 0o750);
    let before = path.metadata().unwrap();
    assert!(
        !root
            .write("a/b/file", b"x", mine(0o640), mine(0o750))
            .unwrap()
    );
    let after = path.metadata().unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
    assert!(
        root.write("/a/b/file", b"x", mine(0o4755), mine(0o750))
            .unwrap()
    );
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o4755
    );
    assert!(root.edit("/a/b/file", b"longer", mine(0o600)).unwrap());
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o4755
    );
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn links_stay_within_the_root() {
    let (folder, root) = bed();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let top = folder.path().join("root");
    symlink(&outside, top.join("absolute")).unwrap();
    symlink("../../../outside", top.join("relative")).unwrap();
    symlink("usr/lib", top.join("lib")).unwrap();
    fs::create_dir_all(top.join("usr/lib")).unwrap();
    root.write("/lib/file", b"x", mine(0o644), mine(0o755))
        .unwrap();
    assert!(top.join("usr/lib/file").exists());
    root.write("/relative/file", b"x", mine(0o644), mine(0o755))
        .unwrap();
    assert!(top.join("outside/file").exists());
    root.write("/absolute/file", b"x", mine(0o644), mine(0o755))
        .unwrap();
    assert!(
        top.join(outside.strip_prefix("/").unwrap())
            .join("file")
            .exists()
    );
    root.write("/../../outside/up", b"x", mine(0o644), mine(0o755))
        .unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_link_of_another_user_is_not_followed() {
    assert!(geteuid().is_root(), "this test gives files away");
    let (folder, root) = bed();
    let top = folder.path().join("root");
    fs::create_dir(top.join("etc")).unwrap();
    symlink("/etc", top.join("trap")).unwrap();
    root.change_owner("/trap", 1000, 1000).unwrap();
    let error = root
        .write("/trap/file", b"x", mine(0o644), mine(0o755))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    assert_eq!(fs::read_dir(top.join("etc")).unwrap().count(), 0);
    assert_eq!(root.find_itself("/trap").unwrap().unwrap().0, Kind::Link);
    assert!(root.write_over("/trap", b"x", mine(0o644)).unwrap());
    assert_eq!(root.find_itself("/trap").unwrap().unwrap().0, Kind::File);
}

#[test]
fn loops_directories_and_pipes_are_errors() {
    let (folder, root) = bed();
    let top = folder.path().join("root");
    symlink("b", top.join("a")).unwrap();
    symlink("a", top.join("b")).unwrap();
    assert_eq!(
        root.find("/a").unwrap_err().raw_os_error(),
        Some(libc::ELOOP)
    );
    for path in ["/", "", "/.."] {
        assert!(
            root.write(path, b"x", mine(0o644), mine(0o755)).is_err(),
            "{path:?}"
        );
    }
    fs::create_dir(top.join("dir")).unwrap();
    assert!(root.write("/dir", b"x", mine(0o644), mine(0o755)).is_err());
    nix::unistd::mkfifo(&top.join("pipe"), Mode::S_IRWXU).unwrap();
    assert!(root.read("/pipe", 10).is_err());
    assert_eq!(root.read("/none/of/it", 10).unwrap(), None);
    fs::write(top.join("large"), "0123456789+").unwrap();
    assert!(root.read("/large", 10).is_err());
    assert!(root.remove("/large").unwrap());
    assert!(!root.remove("/large").unwrap());
}
