//! The tools that the store is compared with, by their command lines.
//!
//! Choices that the tools leave are made in their favour: none of them is made to sync, disks are as small as their
//! content allows, and borg is told that the disk is sparse.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::BenchError;
use crate::command;
use crate::images;

/// Debian packages of all of them.
pub(super) const PACKAGES: [&str; 7] = [
    "umoci",
    "e2fsprogs",
    "casync",
    "restic",
    "borgbackup",
    "skopeo",
    "docker-registry",
];

/// Unpacks the image in the layout `image` to `bundle/rootfs`.
pub(super) fn umoci_unpack(image: &Path, bundle: &Path) -> Command {
    let name = images::reference(image);
    let mut command = Command::new("umoci");
    command.args(["unpack", "--image"]);
    command.arg(name.trim_start_matches("oci:")).arg(bundle);
    command
}

/// Makes an ext4 of the files in `rootfs`.
pub(super) fn mke2fs(rootfs: &Path, disk: &Path, bytes: u64) -> Command {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]);
    command.arg(rootfs).arg(disk);
    command.arg(format!("{}k", bytes / 1024));
    command
}

/// Cuts `disk` into chunks in `store`.
pub(super) fn casync_make(store: &Path, index: &Path, disk: &Path) -> Command {
    let mut command = Command::new("casync");
    command
        .arg("make")
        .arg(format!("--store={}", store.display()));
    command.arg(index).arg(disk);
    command
}

/// Puts the disk of an index together again.
pub(super) fn casync_extract(store: &Path, index: &Path, disk: &Path) -> Command {
    let mut command = Command::new("casync");
    command
        .arg("extract")
        .arg(format!("--store={}", store.display()));
    command.arg(index).arg(disk);
    command
}

/// Copies an image or an artifact; `from` and `to` are named as skopeo names them, registries have no TLS.
pub(super) fn skopeo_copy(from: &str, to: &str) -> Command {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--quiet", "--all"]);
    command.args([
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        from,
        to,
    ]);
    command
}

/// A backup tool with a repository of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Backup {
    Restic,
    Borg,
}

impl Backup {
    pub(super) const ALL: [Self; 2] = [Self::Restic, Self::Borg];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }

    /// Makes an empty repository in `folder`.
    ///
    /// # Errors
    /// [`BenchError::Command`].
    pub(super) fn init(self, folder: &Path) -> Result<Repository, BenchError> {
        let repository = Repository {
            tool: self,
            data: folder.join("data"),
            state: folder.join("state"),
        };
        let mut init = repository.command();
        match self {
            Self::Restic => init.arg("init"),
            Self::Borg => init.args(["init", "--encryption", "none"]),
        };
        command::run(&mut init)?;
        Ok(repository)
    }
}

/// A repository of backups.
#[derive(Debug)]
pub(super) struct Repository {
    tool: Backup,
    data: PathBuf,
    /// The tool's own cache.
    state: PathBuf,
}

impl Repository {
    /// Backs `disk` up under the name `archive`.
    pub(super) fn backup(&self, archive: &str, disk: &Path) -> Command {
        let mut command = self.command();
        match self.tool {
            Backup::Restic => command.args(["backup", "--tag", archive]),
            Backup::Borg => command
                .args(["create", "--sparse", "--compression", "zstd,1"])
                .arg(format!("::{archive}")),
        };
        command.arg(disk);
        command
    }

    /// The folder of what is backed up.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn command(&self) -> Command {
        let (data, state) = (&self.data, &self.state);
        let mut command = Command::new(self.tool.name());
        match self.tool {
            Backup::Restic => command
                .env("RESTIC_REPOSITORY", data)
                .env("RESTIC_CACHE_DIR", state)
                // restic has no repositories without one.
                .env("RESTIC_PASSWORD", "none"),
            Backup::Borg => command.env("BORG_REPO", data).env("BORG_BASE_DIR", state),
        };
        command
    }
}
