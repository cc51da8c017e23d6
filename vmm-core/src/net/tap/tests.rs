use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::unprivileged::as_nobody;

/// An interface that every host has.
const LOOPBACK: &str = "lo";

#[test]
fn what_can_be_no_name_of_an_interface_is_refused() {
    for name in [
        "",
        ".",
        "..",
        "sixteen-letters-",
        "a/b",
        "a b",
        "a:1",
        "tap%d",
        "täp",
        "a\0",
    ] {
        let error = Tap::open(name).unwrap_err();
        assert!(
            matches!(error, NetError::TapName { .. }),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn an_interface_that_is_not_there_is_not_made() {
    let name = "no-such-if-0";
    let error = Tap::open(name).unwrap_err();
    assert!(matches!(error, NetError::NoInterface { .. }), "{error}");
    assert!(error.to_string().contains("ip tuntap add dev no-such-if-0"));
    assert!(!exists(name));
}

#[test]
fn a_host_without_tap_interfaces_is_told_what_to_load() {
    let device = Path::new("/nonexistent/tun");
    let error = Tap::open_through(device, LOOPBACK).unwrap_err();
    assert!(matches!(error, NetError::NoTun { .. }), "{error}");
    assert!(error.to_string().contains("load the tun module"));
}

#[test]
fn a_user_who_may_not_use_tap_interfaces_is_told_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("tun");
    std::fs::write(&device, []).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&device, 0)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let error = as_nobody(|| Tap::open_through(&device, LOOPBACK).unwrap_err());
    let NetError::TapPermission { name, source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(name, LOOPBACK);
    assert_eq!(source.raw_os_error(), Some(libc::EACCES));
    assert!(error.to_string().contains("ip tuntap add dev lo"));
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let file = File::open("/dev/null").unwrap();
    let error = Tap::from_descriptor(file.into()).unwrap_err();
    assert!(matches!(error, NetError::NotATap { .. }), "{error}");
}
