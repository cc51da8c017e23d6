//! Debian packages that a chore needs: checked by name, installed where that is allowed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{self, CommandError};

/// Where apt keeps the lists that say what can be installed.
const APT_LISTS: &str = "/var/lib/apt/lists";

/// Packages that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PackageError {
    #[error(
        "Debian packages are missing: {names}. Not root, and no sudo without a password, so run:\n  \
         sudo apt-get update && sudo apt-get install -y --no-install-recommends {names}"
    )]
    NotAllowed { names: String },
    #[error("could not install {names}")]
    Install { names: String, source: CommandError },
    #[error("could not ask dpkg which packages are installed")]
    Query(#[from] CommandError),
}

/// Makes sure that all of `names` are installed, by installing what is missing if root or sudo allows it.
///
/// # Errors
/// [`PackageError::NotAllowed`] with the command to type, or [`PackageError::Install`] with apt's output.
pub(crate) fn ensure(names: &[&str]) -> Result<(), PackageError> {
    let missing = missing(names)?;
    if missing.is_empty() {
        return Ok(());
    }
    let joined = missing.join(" ");
    let Some(prefix) = root_prefix() else {
        return Err(PackageError::NotAllowed { names: joined });
    };
    eprintln!("xtask: installing {joined}");
    let failed = |source| PackageError::Install {
        names: joined.clone(),
        source,
    };
    if lists_are_empty() {
        apt_get(prefix, &["update"]).map_err(failed)?;
        return install(prefix, &missing).map_err(failed);
    }
    // A list that is older than the mirror names files that are gone: refresh it once, then try again.
    if install(prefix, &missing).is_ok() {
        return Ok(());
    }
    apt_get(prefix, &["update"]).map_err(failed)?;
    install(prefix, &missing).map_err(failed)
}

/// The words to put before a command that needs root, or `None` if there is no way to be root.
pub(crate) fn root_prefix() -> Option<&'static [&'static str]> {
    if nix::unistd::geteuid().is_root() {
        return Some(&[]);
    }
    let sudo = command::run(Command::new("sudo").args(["-n", "true"]));
    sudo.is_ok().then_some(&["sudo", "-n"])
}

fn missing<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, PackageError> {
    // dpkg-query fails as soon as one name is unknown to it, and still prints the others.
    let output = command::output(
        Command::new("dpkg-query")
            .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
            .args(names),
    )?;
    let installed = installed(&String::from_utf8_lossy(&output.stdout));
    Ok(names
        .iter()
        .copied()
        .filter(|name| !installed.contains(*name))
        .collect())
}

fn installed(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

/// Whether `name` is a package that apt's lists offer.
pub(crate) fn is_offered(name: &str) -> bool {
    command::run(Command::new("apt-cache").args(["show", "--no-all-versions", name])).is_ok()
}

fn lists_are_empty() -> bool {
    !fs::read_dir(Path::new(APT_LISTS)).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        })
    })
}

fn install(prefix: &[&str], names: &[&str]) -> Result<(), CommandError> {
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(names);
    apt_get(prefix, &args)
}

fn apt_get(prefix: &[&str], args: &[&str]) -> Result<(), CommandError> {
    // `env` because sudo drops the caller's variables. The timeout is for the lock that other processes hold.
    let mut words = prefix.iter().copied().chain([
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    let mut command = Command::new(words.next().unwrap_or("env"));
    command::run(command.args(words).args(args)).map(drop)
}

#[cfg(test)]
mod tests;
