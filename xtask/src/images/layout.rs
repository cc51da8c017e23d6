//! An OCI layout in the making: a folder of files that umoci turns into one layer after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::MirrorError;
use crate::command::{self, CommandError};
use crate::file_error::{FileError, file_error};
use crate::mounts::{self, MountError};

/// The tag of the one image in the layout.
pub(crate) const TAG: &str = "latest";
/// The time in everything that would otherwise hold the time of the build.
pub(super) const TIME: &str = "2024-01-01T00:00:00Z";

/// A layout that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LayoutError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// A layout whose image has the layers so far, and the files that the next layer will be made of.
#[derive(Debug)]
pub(crate) struct Layout {
    target: PathBuf,
    work: PathBuf,
}

impl Layout {
    /// Begins an image without files, to become the folder `target`, which is empty and exists.
    pub(crate) fn begin(target: &Path) -> Result<Self, LayoutError> {
        let layout = Self {
            target: target.to_owned(),
            work: target.join("work"),
        };
        fs::create_dir(&layout.work).map_err(file_error("create", &layout.work))?;
        command::run(umoci("init").arg("--layout").arg(layout.oci()))?;
        command::run(&mut layout.umoci("new"))?;
        command::run(layout.umoci("unpack").arg(layout.bundle()))?;
        Ok(layout)
    }

    /// The files as they are to be in the next layer and those below it.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// Makes a layer of what has changed in the files.
    pub(crate) fn add_layer(&self, made_by: &str) -> Result<(), LayoutError> {
        let mut repack = self.umoci("repack");
        repack.args(["--refresh-bundle", "--history.created", TIME]);
        repack.args(["--history.created_by", made_by]);
        command::run(repack.arg(self.bundle()))?;
        Ok(())
    }

    /// Sets the image's config by umoci's options, and puts the layout in its place.
    pub(crate) fn finish(self, options: &[&str]) -> Result<(), LayoutError> {
        let mut config = self.umoci("config");
        config.args([
            "--created",
            TIME,
            "--no-history",
            "--os",
            "linux",
            "--architecture",
            "amd64",
        ]);
        command::run(config.args(options))?;
        // Each step has left a config and a manifest that nothing names any more.
        command::run(umoci("gc").arg("--layout").arg(self.oci()))?;
        for name in ["oci-layout", "index.json", "blobs"] {
            let from = self.oci().join(name);
            fs::rename(&from, self.target.join(name)).map_err(file_error("move", &from))?;
        }
        mounts::remove_folder(&self.work)?;
        // umoci keeps blobs for their owner, who is root; those who import the image are not.
        let mut open = Command::new("chmod");
        command::run(open.args(["-R", "a+rX"]).arg(&self.target))?;
        Ok(())
    }

    fn oci(&self) -> PathBuf {
        self.work.join("oci")
    }

    fn bundle(&self) -> PathBuf {
        self.work.join("bundle")
    }

    fn umoci(&self, verb: &str) -> Command {
        let mut command = umoci(verb);
        let image = format!("{}:{TAG}", self.oci().display());
        command.args(["--image", &image]);
        command
    }
}

fn umoci(verb: &str) -> Command {
    let mut command = Command::new("umoci");
    command.arg(verb);
    command
}
