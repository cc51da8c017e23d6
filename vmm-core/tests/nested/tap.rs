//! TAP interfaces of the host's that can't be had.

#![expect(
    unsafe_code,
    reason = "an interface of another kind is made by an ioctl, which has no safe interface"
)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;

use rustix::thread::{Uid, set_thread_groups, set_thread_res_uid};
use vmm_core::{NetError, Tap};

const TUN_DEVICE: &str = "/dev/net/tun";
const NOBODY: u32 = 65534;

/// An interface that goes with this, made with more `arguments` of `ip tuntap add`.
struct Interface(&'static str);

impl Interface {
    fn new(name: &'static str, arguments: &[&str]) -> Self {
        let made = Command::new("ip")
            .args(["tuntap", "add", "dev", name, "mode", "tap"])
            .args(arguments)
            .status();
        assert!(made.unwrap().success());
        Self(name)
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        let removed = Command::new("ip")
            .args(["tuntap", "del", "dev", self.0, "mode", "tap"])
            .status();
        assert!(removed.unwrap().success());
    }
}

/// What the device's permissions are when this goes.
struct Mode(Permissions);

impl Drop for Mode {
    fn drop(&mut self) {
        fs::set_permissions(TUN_DEVICE, self.0.clone()).unwrap();
    }
}

fn open_as_nobody(name: &str) -> Result<Tap, NetError> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = Uid::from_raw(NOBODY);
            set_thread_groups(&[]).unwrap();
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
            Tap::open(name)
        });
        thread.join().unwrap()
    })
}

#[test]
fn an_interface_is_for_the_user_whom_it_belongs_to() {
    let _mode = Mode(fs::metadata(TUN_DEVICE).unwrap().permissions());
    let _of_root = Interface::new("vmroot0", &["user", "0"]);
    let _of_nobody = Interface::new("vmuser0", &["user", &NOBODY.to_string()]);
    for (mode, errno) in [(0o600, libc::EACCES), (0o666, libc::EPERM)] {
        fs::set_permissions(TUN_DEVICE, Permissions::from_mode(mode)).unwrap();
        let error = open_as_nobody("vmroot0").unwrap_err();
        let NetError::TapPermission { name, source } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(name, "vmroot0");
        assert_eq!(source.raw_os_error(), Some(errno));
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }
    drop(open_as_nobody("vmuser0").unwrap());
}

/// A descriptor of a new interface that was opened with these flags.
fn opened_with(flags: i32) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(TUN_DEVICE)
        .unwrap();
    // SAFETY: all fields of this C struct may be zero; the kernel then chooses a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap();
    // SAFETY: the request takes a `struct ifreq`, which `request` is, and keeps no reference to it.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    file
}

#[test]
fn a_descriptor_must_have_been_opened_for_frames_with_their_headers() {
    const ALL: i32 = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    for flags in [
        libc::IFF_TAP,
        libc::IFF_TAP | libc::IFF_NO_PI,
        libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR,
    ] {
        let error = Tap::from_descriptor(opened_with(flags).into()).unwrap_err();
        assert!(matches!(error, NetError::TapFlags), "{flags:#x}: {error}");
        assert!(error.to_string().contains("IFF_VNET_HDR"));
    }
    Tap::from_descriptor(opened_with(ALL).into()).unwrap();
}
