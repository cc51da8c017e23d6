use std::ffi::CString;
use std::fs::Permissions;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::unprivileged::as_nobody;

#[test]
fn a_host_without_kvm_is_told_what_to_load() {
    let error = open(c"/nonexistent/kvm").err().unwrap();
    assert!(matches!(error, StartError::NoKvm { .. }));
    assert!(
        error
            .to_string()
            .contains("load the kvm_intel or kvm_amd module")
    );
}

#[test]
fn a_device_that_cannot_be_opened_is_not_taken_for_a_missing_one() {
    // A folder can't be opened for writing.
    let error = open(c"/proc").err().unwrap();
    assert!(matches!(error, StartError::Kvm { .. }), "{error}");
}

#[test]
fn a_device_that_is_not_kvm_is_told_apart_from_one_that_fails() {
    let error = open(c"/dev/null").err().unwrap();
    assert!(matches!(error, StartError::KvmVersion { .. }), "{error}");
    assert!(error.to_string().contains("/dev/kvm"), "{error}");
}

#[test]
fn what_fails_later_is_told_with_what_was_asked() {
    let null = open_device(c"/dev/null").unwrap();
    let error = create_vm(&null, &crate::memory::map(16).unwrap());
    assert!(matches!(error, Err(StartError::Kvm { .. })));
}

#[test]
fn a_user_who_may_not_use_kvm_is_told_how_to_be_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kvm");
    std::fs::write(&path, []).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&path, 0)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let path = CString::new(path.into_os_string().into_vec()).unwrap();
    let error = as_nobody(|| open(&path).err().unwrap());
    let StartError::KvmPermission { source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(source.raw_os_error(), Some(libc::EACCES));
    assert!(error.to_string().contains("group kvm"), "{error}");
}
