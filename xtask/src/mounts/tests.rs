use super::*;

#[test]
fn deepest_and_latest_mounts_come_first() {
    let list = b"21 1 0:19 / /c/x.partial/work/sys rw - sysfs sysfs rw\n\
        22 1 0:20 / / rw - ext4 /dev/vda rw\n\
        23 21 0:21 / /c/x.partial/work/sys/fs/a\\040b rw shared:1 - tmpfs t rw\n\
        24 1 0:22 / /c/x.partial.old/proc rw - proc proc rw\n\
        25 21 0:23 / /c/x.partial/work/sys rw - tmpfs again rw\n\
        26 1 0:24 / /c/x.partial rw - tmpfs top rw\n";
    let points = below(list, Path::new("/c/x.partial"));
    let expected = [
        "/c/x.partial/work/sys/fs/a b",
        "/c/x.partial/work/sys",
        "/c/x.partial/work/sys",
        "/c/x.partial",
    ];
    assert_eq!(points, expected.map(PathBuf::from));
}

#[test]
fn folders_go_and_missing_ones_are_no_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("f");
    remove_folder(&folder).unwrap();
    fs::create_dir_all(folder.join("g/h")).unwrap();
    remove_folder(&folder).unwrap();
    assert!(!folder.exists());
}

#[test]
fn what_is_mounted_in_a_removed_folder_stays() {
    let root = tempfile::tempdir().unwrap();
    let (precious, folder) = (root.path().join("precious"), root.path().join("f"));
    fs::create_dir_all(folder.join("g")).unwrap();
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(&precious).arg(folder.join("g"));
    if command::run(&mut mount).is_err() {
        eprintln!("skipped: this test needs to be allowed to mount");
        return;
    }
    remove_folder(&folder).unwrap();
    assert!(!folder.exists());
    assert!(precious.join("file").exists());
}
