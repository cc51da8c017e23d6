//! Doing as root what needs root: this very program again, through sudo.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use nix::unistd::geteuid;

use crate::packages;

/// Whether this process is root already.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// This program as root, without arguments yet; `None` if sudo would ask for a password.
pub(crate) fn this_program() -> Option<Command> {
    let program = std::env::current_exe().ok()?;
    let Some((sudo, flags)) = packages::root_prefix()?.split_first() else {
        return Some(Command::new(program));
    };
    let mut command = Command::new(sudo);
    // sudo resets PATH and HOME even where it keeps the rest.
    let kept = ["PATH", "HOME"].into_iter().filter_map(assignment);
    command.args(flags).arg("--preserve-env").arg("env");
    command.args(kept).arg(program);
    Some(command)
}

fn assignment(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    Some(
        [OsStr::new(name), OsStr::new("="), &value]
            .into_iter()
            .collect(),
    )
}
