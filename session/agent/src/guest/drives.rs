//! Mounting the disks besides the root.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use agent::protocol::DriveMount;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount as mount_device};

use super::error::StartError;
use super::{console, disk, grow};

/// Options that are flags of mount(2).
const FLAGS: [(&str, MsFlags); 9] = [
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
    ("lazytime", MsFlags::MS_LAZYTIME),
    ("sync", MsFlags::MS_SYNCHRONOUS),
    ("dirsync", MsFlags::MS_DIRSYNC),
];

/// Mounts the disks in their order, in the root that is one by now.
pub(super) fn mount(drives: &[DriveMount]) -> Result<(), StartError> {
    drives.iter().try_for_each(mount_one)
}

fn mount_one(drive: &DriveMount) -> Result<(), StartError> {
    let DriveMount {
        serial,
        path,
        fstype,
        read_only,
        options,
    } = drive;
    let device = disk::wait_for(serial)?;
    fs::create_dir_all(path).map_err(StartError::step("make the directory", path))?;
    let (flags, rest) = flags(*read_only, options);
    let mount = |fs_options: &str| {
        let (fs, fs_options) = (Some(fstype.as_str()), Some(fs_options));
        mount_device(Some(&device), path.as_str(), fs, flags, fs_options)
    };
    let mut mounted = mount(&rest);
    if let Err(error) = mounted
        && let Some(options) = without_journal(drive, error, &rest)
    {
        console::say(&format!(
            "the drive {serial} can't be written to, so its journal is not replayed"
        ));
        mounted = mount(&options);
    }
    mounted.map_err(StartError::step(
        "mount",
        format!("drive {serial} on {path}"),
    ))?;
    if fstype == "ext4"
        && !read_only
        && let Err(error) = grow::to_device(Path::new(path), &device)
    {
        // It is as good as it was before.
        console::say(&format!(
            "the drive {serial} does not grow to its disk: {error}"
        ));
    }
    Ok(())
}

/// The options for a drive whose journal would have to be replayed first, as after a power cut, which the drive does not
/// take: it is then mounted as it was at that moment.
fn without_journal(drive: &DriveMount, error: Errno, options: &str) -> Option<String> {
    let is_it = drive.read_only && drive.fstype == "ext4" && error == Errno::EROFS;
    is_it.then(|| match options {
        "" => "noload".to_owned(),
        options => format!("{options},noload"),
    })
}

/// Flags of mount(2), and what is left for the file system.
fn flags(read_only: bool, options: &[String]) -> (MsFlags, String) {
    let mut flags = match read_only {
        true => MsFlags::MS_RDONLY,
        false => MsFlags::empty(),
    };
    let mut rest = Vec::new();
    for option in options {
        match FLAGS.iter().find(|(name, _)| name == option) {
            Some((_, flag)) => flags |= *flag,
            None => rest.push(option.as_str()),
        }
    }
    (flags, rest.join(","))
}
