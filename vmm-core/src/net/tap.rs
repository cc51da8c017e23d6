//! A TAP interface of the host (Linux, `Documentation/networking/tuntap.rst`).

#![expect(
    unsafe_code,
    reason = "TAP interfaces are set up by ioctls, which have no safe interface"
)]

use std::ffi::{CString, c_int, c_short, c_uint};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libc::{IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, ifreq};
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val};

use super::header::HEADER_BYTES;
use super::{NetBackend, NetError, OffloadHeader, Offloads};

const TUN_DEVICE: &str = "/dev/net/tun";
/// An interface for Ethernet frames, with an offload header before each.
const FLAGS: c_int = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

/// A TAP interface, which belongs to the VM from here on.
///
/// It takes and gives checksum and TCP segmentation offloads.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Opens the interface `name`, which must be there already, and belong to this user, or to no user, unless the
    /// process has `CAP_NET_ADMIN`. Whether it is up, its addresses and its bridge are left alone.
    ///
    /// # Errors
    /// [`NetError`] says what is missing.
    pub fn open(name: &str) -> Result<Self, NetError> {
        Self::open_through(TUN_DEVICE.as_ref(), name)
    }

    fn open_through(device: &Path, name: &str) -> Result<Self, NetError> {
        let mut request = request(name)?;
        // Else the request would make an interface, for those who may.
        if !exists(name) {
            return Err(NetError::NoInterface { name: name.into() });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(device)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EACCES | libc::EPERM) => NetError::TapPermission {
                    name: name.into(),
                    source,
                },
                _ => NetError::NoTun { source },
            })?;
        // SAFETY: the request takes a `struct ifreq`, which `request` is, and keeps no reference to it.
        let answer = unsafe { ioctl_with_mut_ref(&file, libc::TUNSETIFF, &mut request) };
        check(answer).map_err(|source| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => NetError::TapPermission {
                name: name.into(),
                source,
            },
            Some(libc::EBUSY) => NetError::TapBusy { name: name.into() },
            _ => NetError::NotATap {
                what: format!("the interface {name}"),
                source,
            },
        })?;
        Self::with_headers(file)
    }

    /// Takes a descriptor of `/dev/net/tun` that is attached to an interface already, with `IFF_TAP`,
    /// `IFF_NO_PI` and `IFF_VNET_HDR`, so that the process itself needs no privileges. A lack of `IFF_NO_PI`
    /// alone can't always be seen, as `TUNGETIFF` sets the same bit for interfaces without a filter
    /// (`IFF_NOFILTER`): all frames are then garbled.
    ///
    /// # Errors
    /// [`NetError::NotATap`] or [`NetError::TapFlags`] if it is anything else.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self, NetError> {
        let file = File::from(descriptor);
        let mut request = empty_request();
        // SAFETY: the request fills a `struct ifreq`, which `request` is.
        let answer = unsafe { ioctl_with_mut_ref(&file, libc::TUNGETIFF, &mut request) };
        check(answer).map_err(|source| NetError::NotATap {
            what: "the descriptor".into(),
            source,
        })?;
        // SAFETY: the request has set the flags, and any bits are flags.
        let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        if flags & FLAGS != FLAGS {
            return Err(NetError::TapFlags);
        }
        set_nonblocking(&file)?;
        Self::with_headers(file)
    }

    fn with_headers(file: File) -> Result<Self, NetError> {
        let bytes = c_int::try_from(HEADER_BYTES).unwrap_or_default();
        // SAFETY: the request reads an int.
        let answer = unsafe { ioctl_with_ref(&file, libc::TUNSETVNETHDRSZ, &bytes) };
        check(answer).map_err(|source| NetError::Host {
            action: "set the length of a TAP interface's headers",
            source,
        })?;
        Ok(Self { file })
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl NetBackend for Tap {
    fn receive(&mut self, frame: &mut [u8], offload: &mut OffloadHeader) -> io::Result<usize> {
        let mut header = [0; HEADER_BYTES];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(frame)];
        let length = self.file.read_vectored(&mut parts)?;
        *offload = OffloadHeader::from_bytes(header);
        Ok(length.saturating_sub(HEADER_BYTES))
    }

    fn send(&mut self, frame: &[u8], offload: &OffloadHeader) -> io::Result<()> {
        let header = offload.to_bytes();
        let parts = [IoSlice::new(&header), IoSlice::new(frame)];
        match self.file.write_vectored(&parts) {
            Ok(_all) => Ok(()),
            // An interface that is down, or a frame that the kernel does not like; the interface is still
            // there.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EIO | libc::EINVAL | libc::ENOBUFS | libc::ENOMEM)
                ) =>
            {
                tracing::debug!(%error, "a TAP interface dropped a frame");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn offloads(&self) -> Offloads {
        Offloads {
            checksum: true,
            tso4: true,
            tso6: true,
            ecn: true,
        }
    }

    fn use_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        let bit = |wanted: bool, bit: c_uint| if wanted { bit } else { 0 };
        let flags = bit(offloads.checksum, libc::TUN_F_CSUM)
            | bit(offloads.tso4, libc::TUN_F_TSO4)
            | bit(offloads.tso6, libc::TUN_F_TSO6)
            | bit(
                offloads.ecn && (offloads.tso4 || offloads.tso6),
                libc::TUN_F_TSO_ECN,
            );
        // SAFETY: the request takes its flags by value.
        check(unsafe { ioctl_with_val(&self.file, libc::TUNSETOFFLOAD, flags.into()) })
    }
}

/// A request for the interface `name`.
fn request(name: &str) -> Result<ifreq, NetError> {
    let mut request = empty_request();
    // The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    let is_name = (1..=room).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'));
    if !is_name {
        return Err(NetError::TapName { name: name.into() });
    }
    for (target, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *target = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = c_short::try_from(FLAGS).unwrap_or_default();
    Ok(request)
}

fn empty_request() -> ifreq {
    // SAFETY: all fields of this C struct may be zero.
    unsafe { std::mem::zeroed() }
}

fn exists(name: &str) -> bool {
    CString::new(name).is_ok_and(|name| {
        // SAFETY: the name ends with a NUL and lives for the call.
        unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
    })
}

fn set_nonblocking(file: &File) -> Result<(), NetError> {
    let failed = |source| NetError::Host {
        action: "make a TAP descriptor non-blocking",
        source,
    };
    // SAFETY: the descriptor is open, and the call takes no pointers.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    check(flags).map_err(failed)?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })
        .map_err(failed)
}

fn check(answer: c_int) -> io::Result<()> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
