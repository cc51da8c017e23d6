//! The Debian image: a userland with systemd, as people run it, made by debootstrap.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::layout::{Layout, LayoutError};
use crate::apt;
use crate::command;
use crate::file_error::file_error;

/// What the image has beyond the smallest Debian.
const PACKAGES: &str = "systemd-sysv,dbus,openssh-server,sudo,python3,iproute2,procps";
/// The key that signs the release.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Folders whose content is of no use in a test, or differs from build to build.
const EMPTIED: [&str; 10] = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "var/cache/debconf",
    "var/cache/ldconfig",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "tmp",
];

/// Makes the image in `target`.
pub(super) fn make(target: &Path) -> Result<(), LayoutError> {
    let layout = Layout::begin(target)?;
    let rootfs = layout.rootfs();
    bootstrap(&rootfs, PACKAGES)?;
    for folder in EMPTIED {
        empty(&rootfs.join(folder))?;
    }
    layout.add_layer("debootstrap")?;
    // Every machine that starts from the image shall make its own.
    for (name, text) in [("etc/machine-id", ""), ("etc/hostname", "debian\n")] {
        let path = rootfs.join(name);
        // debootstrap has copied the machine's own, with whatever permissions they had.
        remove(&path)?;
        fs::write(&path, text).map_err(file_error("write", &path))?;
    }
    for name in ["etc/resolv.conf", "var/lib/dbus/machine-id"] {
        remove(&rootfs.join(name))?;
    }
    layout.add_layer("no identity of the machine that made it")?;
    layout.finish(&[
        "--config.env",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "--config.cmd",
        "/bin/bash",
    ])
}

/// Fills `rootfs` with the smallest Debian and `packages`, which are separated by commas.
pub(crate) fn bootstrap(rootfs: &Path, packages: &str) -> Result<(), LayoutError> {
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "--arch=amd64", "--merged-usr"]);
    debootstrap
        .arg(format!("--include={packages}"))
        .arg(format!("--keyring={KEYRING}"));
    debootstrap
        .arg(apt::RELEASE)
        .arg(rootfs)
        .arg(apt::mirror()?);
    apt::pass_proxy(&mut debootstrap);
    command::run(&mut debootstrap)?;
    Ok(())
}

/// Removes what is in `folder`, but not the folder.
fn empty(folder: &Path) -> Result<(), LayoutError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(file_error("list", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(file_error("list", folder))?;
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            fs::remove_dir_all(&path).map_err(file_error("remove", &path))?;
        } else {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), LayoutError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_error("remove", path)(error).into())
        }
        _ => Ok(()),
    }
}
