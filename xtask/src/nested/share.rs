//! Folders of the host inside the machine, served by virtiofsd.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::NestedError;
use super::machine::{Process, guarded, keep_across_exec};
use crate::file_error::file_error;
use crate::packages;

/// The programs named virtiofsd that Debian has had, with the spelling of their options.
const SERVERS: [(&str, Dialect); 2] = [
    ("/usr/libexec/virtiofsd", Dialect::Rust),
    ("/usr/lib/qemu/virtiofsd", Dialect::C),
];

#[derive(Debug, Clone, Copy)]
enum Dialect {
    /// QEMU's own, up to Debian 12.
    C,
    /// The one that replaced it.
    Rust,
}

/// A virtiofsd that is installed.
#[derive(Debug)]
pub(super) struct Server {
    program: PathBuf,
    dialect: Dialect,
}

/// How long the machine may trust what it has read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caching {
    /// Until it ends: for folders that nobody changes meanwhile.
    Always,
    /// For a moment: for folders that it writes.
    Auto,
}

impl Server {
    /// Finds the program, or installs the package that has it.
    pub(super) fn ensure() -> Result<Self, NestedError> {
        if let Some(server) = Self::find() {
            return Ok(server);
        }
        let package = if packages::is_offered("virtiofsd") {
            "virtiofsd"
        } else {
            "qemu-system-common"
        };
        packages::ensure(&[package])?;
        Self::find().ok_or_else(|| {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            file_error("find virtiofsd at", Path::new(SERVERS[0].0))(missing).into()
        })
    }

    fn find() -> Option<Self> {
        let (program, dialect) = SERVERS.iter().find(|(path, _)| Path::new(path).exists())?;
        Some(Self {
            program: PathBuf::from(program),
            dialect: *dialect,
        })
    }

    /// Starts serving `folder` to whoever connects to `socket`, which can be connected to when this returns.
    pub(super) fn start(
        &self,
        folder: &Path,
        caching: Caching,
        socket: &Path,
    ) -> Result<Process, NestedError> {
        let listener = UnixListener::bind(socket).map_err(file_error("listen on", socket))?;
        keep_across_exec(listener.as_fd()).map_err(file_error("pass on", socket))?;
        let mut command = guarded(&self.program);
        command.arg(format!("--fd={}", listener.as_raw_fd()));
        self.options(&mut command, folder, caching);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Process::spawn(&mut command)
    }

    fn options(&self, command: &mut Command, folder: &Path, caching: Caching) {
        let caching = match caching {
            Caching::Always => "always",
            Caching::Auto => "auto",
        };
        let folder = folder.display();
        match self.dialect {
            Dialect::C => command
                .args(["-o", &format!("source={folder}")])
                .args(["-o", &format!("cache={caching}")])
                .args(["-o", "sandbox=chroot", "-o", "xattr"]),
            Dialect::Rust => command
                .arg(format!("--shared-dir={folder}"))
                .arg(format!("--cache={caching}"))
                .args(["--sandbox=chroot", "--xattr"]),
        };
    }
}
