//! The folders that programs are looked for in: the administrator's, too, which a plain user's PATH lacks on Debian.
//!
//! The tests that run below this program look there as well, so the variable itself is changed, and the one safe way to
//! do that is to start again.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const VARIABLE: &str = "PATH";
/// Where Debian has mke2fs, e2fsck, debootstrap and others.
const FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// What programs take for PATH where there is none.
const DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Replaces this process by itself with a complete PATH, unless it has one.
///
/// # Errors
/// Whatever kept the process from being replaced.
pub(crate) fn complete() -> io::Result<()> {
    let path = std::env::var_os(VARIABLE).unwrap_or_else(|| DEFAULT.into());
    let Some(path) = completed(&path) else {
        return Ok(());
    };
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(VARIABLE, path);
    Err(again.exec())
}

/// `path` with what it lacks at its end; `None` if it lacks nothing.
fn completed(path: &OsStr) -> Option<OsString> {
    let known: Vec<PathBuf> = std::env::split_paths(path).collect();
    let mut completed = path.to_owned();
    for folder in FOLDERS {
        if !known.iter().any(|it| it.as_os_str() == folder) {
            completed.push(":");
            completed.push(folder);
        }
    }
    (completed != path).then_some(completed)
}

#[cfg(test)]
mod tests;
