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
        Made {
            temporary: self,
            is_there: true,
        }
    }
}

/// Something that has a temporary name.
#[derive(Debug)]
pub(super) struct Made {
    temporary: Temporary,
    /// Whether it may still have that name.
    is_there: bool,
}

impl Made {
    pub(super) fn parent(&self) -> &OwnedFd {
        &self.temporary.parent
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.temporary.name
    }

    /// Gives it `name`, which is not its own yet, in the place of the file or link that has it.
    pub(super) fn become_known(mut self, name: &OsStr) -> nix::Result<()> {
        self.rename(name)?;
        self.is_there = false;
        Ok(())
    }

    /// Likewise, if `name` may be one that it has already.
    pub(super) fn become_another(self, name: &OsStr) -> nix::Result<()> {
        // It does nothing then, so that the temporary name is still to be given up.
        self.rename(name)
    }

    fn rename(&self, name: &OsStr) -> nix::Result<()> {
        let parent = &*self.temporary.parent;
        renameat(parent, self.name(), parent, name)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_there {
            let parent = &*self.temporary.parent;
            let _gone_or_not = unlinkat(parent, self.name(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
