//! Files that are copied before and after a session's command.

use std::path::{Path, PathBuf};

use clap::Args;
use session::{Copied, Error, Session};

use crate::failure::say;
use crate::size;

/// What is copied. The folder that a copy is put into has to be there on the host, and is made in the guest.
#[derive(Debug, Default, Args)]
pub(crate) struct CopyArgs {
    /// Copy a file or folder into the guest before the command, for root or for a user
    #[arg(long = "copy-in", value_name = "HOST_PATH:GUEST_PATH[:USER]", value_parser = copy_in)]
    inward: Vec<CopyIn>,
    /// Copy a file or folder out of the guest after the command, whatever its status
    #[arg(long = "copy-out", value_name = "GUEST_PATH:HOST_PATH", value_parser = copy_out)]
    outward: Vec<CopyOut>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CopyIn {
    from: PathBuf,
    to: String,
    owner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CopyOut {
    from: String,
    to: PathBuf,
}

fn copy_in(text: &str) -> Result<CopyIn, &'static str> {
    let parts = text.rsplit_once(":/").filter(|(from, _)| !from.is_empty());
    let (from, to) = parts.ok_or("write it as HOST_PATH:/GUEST_PATH")?;
    let (to, owner) = match to.split_once(':') {
        Some((_, "")) => return Err("it ends with a colon and no user"),
        Some((to, owner)) => (to, Some(owner.to_owned())),
        None => (to, None),
    };
    Ok(CopyIn {
        from: from.into(),
        to: format!("/{to}"),
        owner,
    })
}

fn copy_out(text: &str) -> Result<CopyOut, &'static str> {
    let parts = text.split_once(':');
    let (from, to) = parts
        .filter(|(from, to)| from.starts_with('/') && !to.is_empty())
        .ok_or("write it as /GUEST_PATH:HOST_PATH")?;
    Ok(CopyOut {
        from: from.to_owned(),
        to: to.into(),
    })
}

impl CopyArgs {
    /// Copies into the guest, and tells what.
    pub(crate) fn copy_in(&self, session: &Session) -> Result<(), Error> {
        for CopyIn { from, to, owner } in &self.inward {
            let mut copy = session.copy_in(from, to);
            if let Some(owner) = owner {
                copy = copy.owner(owner);
            }
            tell(from, Path::new(to), &copy.start().wait()?);
        }
        Ok(())
    }

    /// Copies out of the guest, and tells what.
    pub(crate) fn copy_out(&self, session: &Session) -> Result<(), Error> {
        for CopyOut { from, to } in &self.outward {
            let copied = session.copy_out(from, to).start().wait()?;
            tell(Path::new(from), to, &copied);
        }
        Ok(())
    }
}

fn tell(from: &Path, to: &Path, copied: &Copied) {
    let (from, to) = (from.display(), to.display());
    let (files, bytes) = (copied.files, size::show(copied.bytes));
    say(&format!("copied {from} to {to}: {files} files of {bytes}"));
    if copied.skipped > 0 {
        say(&format!(
            "{} devices, pipes and sockets were left out",
            copied.skipped
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_name_a_path_on_either_side() {
        let inward = |from: &str, to: &str, owner: Option<&str>| CopyIn {
            from: from.into(),
            to: to.into(),
            owner: owner.map(str::to_owned),
        };
        for (text, expected) in [
            ("site:/srv/www", inward("site", "/srv/www", None)),
            ("/a:b:/c", inward("/a:b", "/c", None)),
            (
                "k:/home/ann/k:ann:lab",
                inward("k", "/home/ann/k", Some("ann:lab")),
            ),
        ] {
            assert_eq!(copy_in(text), Ok(expected), "{text}");
        }
        let outward = CopyOut {
            from: "/var/log".into(),
            to: "./log:1".into(),
        };
        assert_eq!(copy_out("/var/log:./log:1"), Ok(outward));
        for bad in ["", "site", "site:srv", ":/srv", "a:/b:"] {
            assert!(copy_in(bad).is_err(), "{bad}");
        }
        for bad in ["", "/log", "log:x", "/log:"] {
            assert!(copy_out(bad).is_err(), "{bad}");
        }
    }
}
