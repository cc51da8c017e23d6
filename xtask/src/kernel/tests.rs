use super::*;

#[test]
fn dependency_is_the_versioned_package_of_the_series() {
    let answer = "linux-image-cloud-amd64\n  Depends: linux-base\n  Depends: linux-image-6.1.0-9-cloud-amd64\n";
    assert_eq!(dependency(answer), Some("linux-image-6.1.0-9-cloud-amd64"));
    assert_eq!(
        dependency("  Depends: linux-image-6.12.1-cloud-amd64\n"),
        None
    );
}

#[test]
fn folder_without_modules_is_incomplete() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("boot")).unwrap();
    fs::write(root.path().join("boot/vmlinuz-6.1.0"), "").unwrap();
    assert!(matches!(
        find(root.path()),
        Err(KernelError::Incomplete { .. })
    ));
    fs::create_dir_all(root.path().join("lib/modules/6.1.0")).unwrap();
    assert!(find(root.path()).is_ok());
}

#[test]
fn modules_are_found_below_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("kernel/drivers");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("tun.ko"), "").unwrap();
    assert_eq!(module(root.path(), "tun"), Some(deep.join("tun.ko")));
    assert_eq!(module(root.path(), "tap"), None);
}
