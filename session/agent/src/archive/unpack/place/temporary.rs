//! Names that are only had until what has them is complete.
//!
//! Invariant: a name that was made is given up or gone when its [`Made`] is dropped.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Names that nobody else has or can guess.
#[derive(Debug)]
pub(super) struct Names {
    random: u64,
    count: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            random: RandomState::new().hash_one(0),
            count: 0,
        }
    }

    pub(super) fn next(&mut self, parent: Rc<OwnedFd>) -> Temporary {
        self.count += 1;
        Temporary {
            parent,
            name: format!(".copy-{:016x}-{}", self.random, self.count).into(),
        }
    }
}

/// A name in a folder that nothing has yet.
#[derive(Debug)]
pub(super) struct Temporary {
    parent: Rc<OwnedFd>,
    name: OsString,
}

impl Temporary {
    pub(super) fn parent(&self) -> &OwnedFd {
        &self.parent
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Now something has it.
    pub(super) fn made(self) -> Made {
        Made(self)
    }
}

/// Something that has a temporary name.
#[derive(Debug)]
pub(super) struct Made(Temporary);

impl Made {
    pub(super) fn parent(&self) -> &OwnedFd {
        &self.0.parent
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.0.name
    }

    /// Gives it `name`, in the place of the file or link that has it.
    pub(super) fn become_known(self, name: &OsStr) -> nix::Result<()> {
        renameat(&*self.0.parent, self.name(), &*self.0.parent, name)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // A rename leaves it if both names are the same file's; otherwise it is gone.
        let _gone_or_not = unlinkat(&*self.0.parent, self.name(), UnlinkatFlags::NoRemoveDir);
    }
}
