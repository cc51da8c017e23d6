//! The busybox image: little data, but everything that layers can say.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::layout::{Layout, LayoutError, TIME};
use crate::command;
use crate::file_error::file_error;

const BUSYBOX: &str = "/bin/busybox";
const FOLDERS: [(&str, u32); 14] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/old.d", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];
const FILES: [(&str, &str); 7] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\nuser:x:1000:\n"),
    ("etc/profile", "export PS1='\\h:\\w\\$ '\n"),
    ("etc/gone", "a whiteout in the next layer removes this\n"),
    (
        "etc/old.d/first",
        "a whiteout in the next layer removes the folder\n",
    ),
    ("srv/kind", "the next layer makes a folder of this\n"),
    ("srv/kept", "named twice by a hard link\n"),
];
/// `cap_net_raw=ep` in the form that the kernel stores.
const CAPABILITY: &str = "0x0100000200200000000000000000000000000000";

/// Makes the image in `target`.
pub(super) fn make(target: &Path) -> Result<(), LayoutError> {
    let layout = Layout::begin(target)?;
    let rootfs = layout.rootfs();
    base(&rootfs)?;
    set_times(&rootfs)?;
    layout.add_layer("busybox and its applets")?;
    changes(&rootfs)?;
    set_times(&rootfs)?;
    layout.add_layer("removed, replaced and linked files")?;
    metadata(&rootfs)?;
    set_times(&rootfs)?;
    layout.add_layer("attributes and special files")?;
    layout.finish(&[
        "--config.env",
        "PATH=/bin:/usr/local/bin",
        "--config.env",
        "GREETING=hello from the image",
        "--config.cmd",
        "/bin/sh",
        "--config.workingdir",
        "/root",
        "--config.label",
        "purpose=tests",
    ])
}

fn base(rootfs: &Path) -> Result<(), LayoutError> {
    for (name, mode) in FOLDERS {
        let path = rootfs.join(name);
        fs::create_dir(&path).map_err(file_error("create", &path))?;
        set_mode(&path, mode)?;
    }
    for (name, text) in FILES {
        write(&rootfs.join(name), text)?;
    }
    let busybox = rootfs.join("bin/busybox");
    fs::copy(BUSYBOX, &busybox).map_err(file_error("copy", Path::new(BUSYBOX)))?;
    set_mode(&busybox, 0o755)?;
    let applets = command::run(Command::new(BUSYBOX).arg("--list"))?;
    for applet in String::from_utf8_lossy(&applets).lines() {
        // The list names busybox itself, too.
        if applet != "busybox" {
            let link = rootfs.join("bin").join(applet);
            symlink("busybox", &link).map_err(file_error("create", &link))?;
        }
    }
    Ok(())
}

fn changes(rootfs: &Path) -> Result<(), LayoutError> {
    let gone = rootfs.join("etc/gone");
    fs::remove_file(&gone).map_err(file_error("remove", &gone))?;
    let folder = rootfs.join("etc/old.d");
    fs::remove_dir_all(&folder).map_err(file_error("remove", &folder))?;
    let kind = rootfs.join("srv/kind");
    fs::remove_file(&kind).map_err(file_error("remove", &kind))?;
    fs::create_dir(&kind).map_err(file_error("create", &kind))?;
    write(&rootfs.join("etc/profile"), "export PS1='# '\n")?;
    let link = rootfs.join("srv/link");
    fs::hard_link(rootfs.join("srv/kept"), &link).map_err(file_error("link", &link))?;
    let name = "a name of many letters, ".repeat(10);
    write(
        &rootfs.join("srv").join(name),
        "longer than a tar header holds\n",
    )
}

fn metadata(rootfs: &Path) -> Result<(), LayoutError> {
    let capable = rootfs.join("srv/capable");
    write(&capable, "#!/bin/sh\n")?;
    set_mode(&capable, 0o755)?;
    for (name, value) in [
        ("security.capability", CAPABILITY),
        ("user.purpose", "tests"),
    ] {
        command::run(
            Command::new("setfattr")
                .args(["-n", name, "-v", value])
                .arg(&capable),
        )?;
    }
    let setuid = rootfs.join("srv/setuid");
    write(&setuid, "#!/bin/sh\n")?;
    command::run(Command::new("chown").arg("1000:1000").arg(&setuid))?;
    set_mode(&setuid, 0o4755)?;
    command::run(Command::new("mkfifo").arg(rootfs.join("srv/fifo")))?;
    let device = rootfs.join("srv/zero");
    command::run(Command::new("mknod").arg(&device).args(["c", "1", "5"]))?;
    // 8 MiB of nothing: a disk that stores it has failed to look.
    let sparse = rootfs.join("srv/sparse");
    Ok(fs::File::create(&sparse)
        .and_then(|file| file.set_len(8 << 20))
        .map_err(file_error("create", &sparse))?)
}

/// Gives everything the same time, so that the same busybox gives the same layers.
fn set_times(rootfs: &Path) -> Result<(), LayoutError> {
    let mut touch = Command::new("find");
    touch.arg(rootfs).args([
        "-exec",
        "touch",
        "--no-dereference",
        "--date",
        TIME,
        "{}",
        "+",
    ]);
    command::run(&mut touch)?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), LayoutError> {
    Ok(fs::write(path, text).map_err(file_error("write", path))?)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), LayoutError> {
    let set =
        |mode| -> io::Result<()> { fs::set_permissions(path, fs::Permissions::from_mode(mode)) };
    Ok(set(mode).map_err(file_error("set the permissions of", path))?)
}
