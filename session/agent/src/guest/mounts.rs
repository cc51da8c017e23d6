//! The file systems that a guest starts with.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agent::protocol::Root;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot};

use super::error::StartError;
use super::{console, grow};

struct Mount {
    target: &'static str,
    fstype: &'static str,
    flags: MsFlags,
    options: &'static str,
}

const NO_PROGRAMS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NODEV);
const NO_DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// What the agent itself needs; mounted in the initramfs, and anew in the root.
const DEVICES: [Mount; 3] = [
    Mount {
        target: "/dev",
        fstype: "devtmpfs",
        flags: MsFlags::MS_NOSUID,
        options: "mode=755",
    },
    Mount {
        target: "/proc",
        fstype: "proc",
        flags: NO_PROGRAMS,
        options: "",
    },
    Mount {
        target: "/sys",
        fstype: "sysfs",
        flags: NO_PROGRAMS,
        options: "",
    },
];

/// What programs expect besides; an init that finds them mounted leaves them alone.
const REST: [Mount; 3] = [
    Mount {
        target: "/dev/pts",
        fstype: "devpts",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        options: "gid=5,mode=620,ptmxmode=666",
    },
    Mount {
        target: "/dev/shm",
        fstype: "tmpfs",
        flags: NO_DEVICES,
        options: "mode=1777",
    },
    Mount {
        target: "/run",
        fstype: "tmpfs",
        flags: NO_DEVICES,
        options: "mode=755",
    },
];

/// The links that programs expect in `/dev` and that devtmpfs doesn't make.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Where the root is mounted before it becomes the root.
const NEW_ROOT: &str = "/newroot";

/// Mounts `/dev`, `/proc` and `/sys`.
pub(super) fn mount_devices() -> Result<(), StartError> {
    DEVICES.iter().try_for_each(mount_one)
}

/// Mounts everything that belongs in a running system's root.
pub(super) fn mount_all() -> Result<(), StartError> {
    mount_devices()?;
    REST.iter().try_for_each(mount_one)?;
    for (target, link) in LINKS {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StartError::step("make the link", link)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn mount_one(what: &Mount) -> Result<(), StartError> {
    make_directory(what.target)?;
    match mount(
        Some(what.fstype),
        what.target,
        Some(what.fstype),
        what.flags,
        Some(what.options),
    ) {
        // The kernel has mounted it already.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(StartError::step(
            "mount",
            format!("{} on {}", what.fstype, what.target),
        )(error)),
    }
}

/// Makes a mount point, unless there is one: a read-only root can only bring its own.
fn make_directory(path: &str) -> Result<(), StartError> {
    if Path::new(path).is_dir() {
        return Ok(());
    }
    fs::create_dir(path).map_err(StartError::step("make the directory", path))
}

/// Mounts the root disk, to become the root with [`switch_root`].
pub(super) fn mount_root(device: &Path, root: &Root) -> Result<(), StartError> {
    make_directory(NEW_ROOT)?;
    let flags = if root.read_only {
        MsFlags::MS_RDONLY
    } else {
        MsFlags::empty()
    };
    mount(
        Some(device),
        NEW_ROOT,
        Some(root.fstype.as_str()),
        flags,
        None::<&str>,
    )
    .map_err(StartError::step(
        "mount",
        format!("{} from {}", root.fstype, device.display()),
    ))?;
    if root.fstype == "ext4"
        && !root.read_only
        && let Err(error) = grow::to_device(Path::new(NEW_ROOT), device)
    {
        // It is as good as it was before.
        console::say(&format!("the root does not grow to its disk: {error}"));
    }
    Ok(())
}

/// Makes what [`mount_root`] mounted the root of this process and of all that it starts.
///
/// The kernel's file systems are let go here and mounted anew afterwards: inside the new root, where a symbolic
/// link of the image can't lead a mount anywhere else.
pub(super) fn switch_root() -> Result<(), StartError> {
    for what in DEVICES.iter().rev() {
        umount2(what.target, MntFlags::MNT_DETACH)
            .map_err(StartError::step("unmount", what.target))?;
    }
    let failed = || StartError::step("switch to the root in", NEW_ROOT);
    chdir(NEW_ROOT).map_err(failed())?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(failed())?;
    chroot(".").map_err(failed())?;
    chdir("/").map_err(failed())
}

/// Unmounts what can be: everything but the root and what the kernel provides. Stops at nothing.
pub(super) fn unmount_all() {
    let Ok(table) = fs::read("/proc/self/mounts") else {
        return;
    };
    let kept = |path: &Path| {
        path == Path::new("/") || DEVICES.iter().any(|what| path == Path::new(what.target))
    };
    for (_, path) in entries(&table).rev().filter(|(_, path)| !kept(path)) {
        let _ = umount2(&path, MntFlags::empty());
    }
}

/// A place where a file system is mounted that lies on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiskMount {
    /// What the kernel numbers it by.
    id: u64,
    pub(super) target: PathBuf,
    /// The kernel's number of the file system, which may be mounted elsewhere, too.
    pub(super) device: String,
    /// Whether the file system is written to, be it by way of another mount.
    pub(super) is_writable: bool,
}

impl DiskMount {
    /// Its top; `None` if something else is mounted over it, or on the way to it.
    pub(super) fn open(&self) -> Option<File> {
        let top = File::open(&self.target).ok()?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", top.as_raw_fd())).ok()?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
        (id.trim().parse() == Ok(self.id)).then_some(top)
    }
}

/// The mounts of file systems that lie on disks, in the order in which they were mounted.
pub(super) fn on_disks() -> io::Result<Vec<DiskMount>> {
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(disk_mount)
        .collect())
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)), if it is of a disk.
fn disk_mount(line: &[u8]) -> Option<DiskMount> {
    let text = |field: &[u8]| String::from_utf8(field.to_vec()).ok();
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?;
    let target = unescape(fields.nth(1)?);
    // What follows are options of the mount and any number of tags, before a dash and words of the file system's own.
    let mut own = fields.skip_while(|field| *field != b"-");
    let source = unescape(own.nth(2)?);
    let is_writable = own
        .next()?
        .split(|byte| *byte == b',')
        .any(|option| option == b"rw");
    source.starts_with("/dev").then_some(DiskMount {
        id,
        target,
        device,
        is_writable,
    })
}

/// What is mounted, and where, by a table in the format of `/proc/self/mounts`.
fn entries(table: &[u8]) -> impl DoubleEndedIterator<Item = (PathBuf, PathBuf)> + '_ {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').map(unescape);
        Some((fields.next()?, fields.next()?))
    })
}

/// Undoes the octal escapes that the kernel writes for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.first_chunk::<3>().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match code {
            Some(code) if *first == b'\\' => {
                bytes.push(code);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}
