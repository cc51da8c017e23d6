//! Letting a file system grow to the size of its disk.

#![expect(unsafe_code, reason = "nix knows no ioctl of ext4's")]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::statvfs::fstatvfs;

/// Sectors of `/sys/block/*/size`, whatever the device's own are (`Documentation/ABI/stable/sysfs-block`).
const SECTOR_BYTES: u64 = 512;

// From linux/ext4.h: the new size in blocks.
nix::ioctl_write_ptr!(resize_fs, b'f', 16, u64);

/// Grows the ext4 that is mounted on `root` to the size of `device`; does nothing if it has that size.
pub(super) fn to_device(root: &Path, device: &Path) -> io::Result<()> {
    let name = device.file_name().unwrap_or_default();
    let size = Path::new("/sys/class/block").join(name).join("size");
    let sectors: u64 = fs::read_to_string(size)?
        .trim()
        .parse()
        .map_err(io::Error::other)?;
    let root = File::open(root)?;
    let blocks = sectors * SECTOR_BYTES / fstatvfs(&root)?.block_size();
    // SAFETY: the kernel reads the number behind the pointer, and nothing else.
    unsafe { resize_fs(root.as_raw_fd(), &blocks) }?;
    Ok(())
}
