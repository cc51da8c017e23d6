//! The guest's SSH server, listening or not.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent::protocol::{FailureKind, Frame};

use super::connect;
use super::dial::Dial;
use super::environment;
use super::job::failed;
use super::link::Link;
use super::process::unblock_signals;
use crate::guest::DEFAULT_PATH;

/// Where SSH servers listen.
const PORT: u16 = 22;
/// Where OpenSSH drops its privileges to; a package's service makes it.
const PRIVILEGE_FOLDER: &str = "/run/sshd";
/// Where OpenSSH's server has its keys, which are called `ssh_host_*_key`.
const KEY_FOLDER: &str = "/etc/ssh";

/// Connects to the guest's SSH server, or starts one for this connection; returns the last frame, if there is one.
pub(super) fn run(link: &mut Link) -> Option<Frame> {
    let server = Dial::new(link).loopback(PORT);
    if let Ok(server) = server {
        return connect::serve(link, &server);
    }
    match start(link) {
        Ok(()) => None,
        Err(message) => Some(failed(FailureKind::Refused, message)),
    }
}

/// Runs the image's server on the connection itself, to its end. An error is before the connection is its own.
fn start(link: &mut Link) -> Result<(), String> {
    let nothing = format!("nothing listens on port {PORT} of the guest, and its image");
    let server = find("sshd").ok_or_else(|| format!("{nothing} has no sshd"))?;
    ensure_keys().map_err(|error| format!("{nothing}'s sshd can't be started: {error}"))?;
    // It may be there, and if it can't be made the server says so.
    drop(
        fs::DirBuilder::new()
            .mode(0o755)
            .recursive(true)
            .create(PRIVILEGE_FOLDER),
    );
    let ends = || -> io::Result<[Stdio; 2]> {
        let end = || {
            link.connection
                .try_clone()
                .map(OwnedFd::from)
                .map(Stdio::from)
        };
        Ok([end()?, end()?])
    };
    let [input, output] =
        ends().map_err(|error| format!("could not share the connection: {error}"))?;
    let mut command = Command::new(&server);
    command
        .arg("-i")
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .current_dir("/")
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::null())
        .process_group(0);
    unblock_signals(&mut command);
    if !link.say(&Frame::Connected) {
        return Ok(());
    }
    // From here on the connection is the server's, and its end is all that can be told.
    if let Ok(mut child) = command.spawn() {
        drop(command);
        drop(child.wait());
    }
    Ok(())
}

/// Makes host keys where there are none.
fn ensure_keys() -> Result<(), String> {
    let is_key = |name: &str| name.starts_with("ssh_host_") && name.ends_with("_key");
    let has_keys = fs::read_dir(KEY_FOLDER).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_key)))
    });
    if has_keys {
        return Ok(());
    }
    let Some(maker) = find("ssh-keygen") else {
        return Err(format!(
            "there is no host key in {KEY_FOLDER}, and no ssh-keygen"
        ));
    };
    let mut command = Command::new(maker);
    command
        .arg("-A")
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    unblock_signals(&mut command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ssh-keygen made no host keys: {status}")),
        Err(error) => Err(format!("ssh-keygen could not be run: {error}")),
    }
}

/// The full path of one of the image's programs, as OpenSSH's server wants itself called.
fn find(program: &str) -> Option<PathBuf> {
    environment::find_program(program, Path::new("/"), DEFAULT_PATH).ok()
}
