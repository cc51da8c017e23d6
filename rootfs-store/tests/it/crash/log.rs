//! Records what a store does to its folder, and refuses what a test wants refused.

use std::error::Error;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rootfs_store::{Change, FileId, Watch};

use super::facts::Fact;

/// A change to the store's folder with paths below it, or what a caller knows at that moment.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create {
        file: FileId,
        path: PathBuf,
    },
    Open {
        file: FileId,
        path: PathBuf,
    },
    Write {
        file: FileId,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        file: FileId,
        len: u64,
    },
    PunchHole {
        file: FileId,
        range: Range<u64>,
    },
    Sync {
        file: FileId,
    },
    CreateDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
    },
    /// The disk gives another byte than was written.
    Damage {
        path: PathBuf,
        offset: u64,
        byte: u8,
    },
    /// The caller asked for something; it may be so from now on.
    Begun(Fact),
    /// The caller was told that it is so.
    Done(Fact),
}

/// When changes fail, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Number of the first change that fails, from 0.
    pub(crate) at: usize,
    /// Whether all that follow fail too, but for removals.
    pub(crate) stays: bool,
    /// The error's number.
    pub(crate) errno: i32,
    /// Whether what failed is tried again, with nothing in its way: see [`Log::attempt`].
    pub(crate) again: bool,
}

/// Everything that happened, in order.
#[derive(Debug)]
pub(crate) struct Log {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: Vec<Step>,
    changes: usize,
    fault: Option<Fault>,
}

impl Log {
    /// A log of the folder `root`, which these steps led to.
    pub(crate) fn new(root: &Path, steps: Vec<Step>, fault: Option<Fault>) -> Self {
        let state = State {
            steps,
            fault,
            ..State::default()
        };
        Self {
            root: root.to_owned(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn begun(&self, fact: Fact) {
        self.state().steps.push(Step::Begun(fact));
    }

    pub(crate) fn done(&self, fact: Fact) {
        self.state().steps.push(Step::Done(fact));
    }

    /// Damages a file, as a failing disk does.
    pub(crate) fn damage(&self, path: &Path, offset: u64) {
        let mut bytes = fs::read(path).unwrap();
        let at = usize::try_from(offset).unwrap();
        bytes[at] ^= 0x10;
        // It may be read-only.
        fs::remove_file(path).unwrap();
        fs::write(path, &bytes).unwrap();
        let (path, byte) = (self.below(path).unwrap(), bytes[at]);
        self.state().steps.push(Step::Damage { path, offset, byte });
    }

    /// Takes a file away for good.
    pub(crate) fn lose(&self, path: &Path) {
        fs::remove_file(path).unwrap();
        let path = self.below(path).unwrap();
        let dir = path.parent().unwrap().to_owned();
        let steps = [Step::Remove { path }, Step::SyncDir { path: dir }];
        self.state().steps.extend(steps);
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    /// Changes that were asked for since it began.
    pub(crate) fn changes(&self) -> usize {
        self.state().changes
    }

    /// Does something that the store must be able to do again if it failed, on the same objects.
    pub(crate) fn attempt<T, E: Error + 'static>(
        &self,
        action: impl Fn() -> Result<T, E>,
    ) -> Result<T, Box<dyn Error>> {
        let first = match action() {
            Err(first) if self.mend() => first,
            result => return Ok(result?),
        };
        match action() {
            // A flush that failed may have lost something, so the disk says so from then on.
            Err(again) if format!("{again:?}").contains("FlushFailed") => Err(again.into()),
            Err(again) => panic!("{first} ({first:?}), and again: {again} ({again:?})"),
            result => Ok(result?),
        }
    }

    /// Lets nothing fail any more, if what failed is tried again.
    fn mend(&self) -> bool {
        let mut state = self.state();
        let again = state.fault.is_some_and(|fault| fault.again);
        if again {
            state.fault = None;
        }
        again
    }

    /// The path below the store's folder.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    fn step(&self, change: &Change<'_>) -> Option<Step> {
        Some(match *change {
            Change::Create { file, path } => Step::Create {
                file,
                path: self.below(path)?,
            },
            Change::Open { file, path } => Step::Open {
                file,
                path: self.below(path)?,
            },
            Change::Write {
                file,
                offset,
                bytes,
            } => Step::Write {
                file,
                offset,
                bytes: bytes.to_owned(),
            },
            Change::SetLen { file, len } => Step::SetLen { file, len },
            Change::PunchHole { file, ref range } => Step::PunchHole {
                file,
                range: range.clone(),
            },
            Change::Sync { file } => Step::Sync { file },
            Change::CreateDir { path } => Step::CreateDir {
                path: self.below(path)?,
            },
            Change::Rename { from, to } => Step::Rename {
                from: self.below(from)?,
                to: self.below(to)?,
            },
            Change::RemoveFile { path } | Change::RemoveDir { path } => Step::Remove {
                path: self.below(path)?,
            },
            Change::SyncDir { path } => Step::SyncDir {
                path: self.below(path)?,
            },
            ref other => panic!("the simulator does not know {other:?}"),
        })
    }
}

impl Watch for Log {
    fn change(&self, change: &Change<'_>) -> io::Result<()> {
        let step = self.step(change);
        let mut state = self.state();
        let number = state.changes;
        state.changes += 1;
        // What takes something out of the way needs no room.
        let removal = match &step {
            Some(Step::Remove { .. }) => true,
            Some(Step::Rename { to, .. }) => to.starts_with("staging"),
            _ => false,
        };
        if let Some(fault) = state.fault
            && (number == fault.at || number > fault.at && fault.stays && !removal)
        {
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        state.steps.extend(step);
        Ok(())
    }
}
