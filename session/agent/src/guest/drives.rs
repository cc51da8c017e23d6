//! Mounting the disks besides the root.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use agent::protocol::DriveMount;
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
    let fs_options = (!rest.is_empty()).then_some(rest.as_str());
    let fs = Some(fstype.as_str());
    mount_device(Some(&device), path.as_str(), fs, flags, fs_options).map_err(StartError::step(
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
