use super::*;

#[test]
fn an_unpacked_package_gives_its_newest_kernel_and_modules() {
    let folder = tempfile::tempdir().unwrap();
    let versions = [
        "6.1.0-9-cloud-amd64",
        "6.1.0-40-cloud-amd64",
        "6.1.0-41-cloud-amd64",
        "5.10.0-50",
    ];
    for version in versions {
        fs::create_dir_all(folder.path().join("boot")).unwrap();
        fs::write(
            folder.path().join(format!("boot/vmlinuz-{version}")),
            "kernel",
        )
        .unwrap();
        fs::create_dir_all(folder.path().join("lib/modules").join(version)).unwrap();
    }
    let kernel = Kernel::from_path(folder.path()).unwrap();
    assert_eq!(
        kernel.image(),
        folder.path().join("boot/vmlinuz-6.1.0-41-cloud-amd64")
    );
    assert_eq!(
        kernel.modules().unwrap(),
        folder.path().join("lib/modules/6.1.0-41-cloud-amd64")
    );
    assert_eq!(Kernel::from_path(kernel.image()).unwrap(), kernel);
}

#[test]
fn a_plain_image_has_no_modules() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("vmlinux");
    fs::write(&image, "kernel").unwrap();
    assert_eq!(Kernel::from_path(&image).unwrap().modules(), None);
}

#[test]
fn missing_kernels_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Kernel::from_path(folder.path().join("nowhere")).unwrap_err();
    assert_eq!(missing.kind(), crate::ErrorKind::Kernel);
    assert!(missing.to_string().contains("nowhere"), "{missing}");
    fs::create_dir(folder.path().join("boot")).unwrap();
    let empty = Kernel::from_path(folder.path()).unwrap_err();
    assert!(empty.to_string().contains("boot"), "{empty}");
}

#[test]
fn paths_are_kept_whatever_the_working_directory_is() {
    let here = Kernel::from_path("Cargo.toml").unwrap().with_modules("src");
    assert!(here.image().is_absolute() && here.modules().unwrap().is_absolute());
}

#[test]
fn a_store_may_keep_the_kernel_that_sessions_boot() {
    let store = tempfile::tempdir().unwrap();
    let boot = store.path().join("kernel/boot");
    fs::create_dir_all(&boot).unwrap();
    let empty = Kernel::default_for(store.path()).unwrap_err();
    assert!(empty.to_string().contains("vmlinuz"), "{empty}");
    fs::write(boot.join("vmlinuz-6.1"), "kernel").unwrap();
    let kernel = Kernel::default_for(store.path()).unwrap();
    assert_eq!(kernel.image(), boot.join("vmlinuz-6.1"));
    kernel.check().unwrap();
    fs::remove_file(kernel.image()).unwrap();
    assert_eq!(kernel.check().unwrap_err().kind(), crate::ErrorKind::Kernel);
}

#[test]
fn a_name_that_no_record_can_hold_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let image = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"vmlinux\xff"));
    fs::write(&image, "kernel").unwrap();
    let error = Kernel::from_path(&image).unwrap().check().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Kernel);
}
