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
