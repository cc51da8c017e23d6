//! Holding the guest's file systems still, while the host takes a snapshot of their disks.
//!
//! Invariant: whatever becomes of the host, file systems are thawed when the time that it asked for is over, or when this
//! is dropped.

#![expect(unsafe_code, reason = "nix knows no ioctl that freezes file systems")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::guest::console;
use crate::guest::mounts::{self, DiskMount};

// From linux/fs.h: FIFREEZE and FITHAW. The kernel does not read their argument.
nix::ioctl_readwrite!(freeze, b'X', 119, nix::libc::c_int);
nix::ioctl_readwrite!(thaw, b'X', 120, nix::libc::c_int);

/// The longest that anything stays frozen, whatever the host asks for.
const LONGEST: Duration = Duration::from_secs(60);

/// What is frozen at this moment.
#[derive(Debug, Default)]
pub(super) struct Freezer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the host wants it so; there may be nothing to freeze.
    is_on: bool,
    /// The mount points, in the order in which they were frozen.
    frozen: Vec<File>,
    /// Counts freezes, so that a late end of one does not end the next.
    number: u64,
}

impl Freezer {
    /// Writes all file systems on disks out and holds them still for `limit` at most. Returns how long that took.
    ///
    /// # Errors
    /// What the kernel said; nothing is frozen then.
    pub(super) fn freeze(&self, limit: Duration) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut state = self.0.lock();
        state.thaw();
        for target in open_mounts()? {
            let mut ignored = 0;
            // SAFETY: the descriptor is open, and the kernel does not touch the number.
            match unsafe { freeze(target.as_raw_fd(), &mut ignored) } {
                Ok(_) => state.frozen.push(target),
                // It is read-only in its very kind, and so holds still by itself.
                Err(Errno::EOPNOTSUPP) => {}
                Err(error) => {
                    state.thaw();
                    return Err(error.into());
                }
            }
        }
        state.is_on = true;
        state.number += 1;
        let number = state.number;
        drop(state);
        self.thaw_after(limit.min(LONGEST), number)?;
        Ok(begun.elapsed())
    }

    /// Lets file systems go on; whether they had been still until now.
    pub(super) fn thaw(&self) -> bool {
        let was_frozen = self.0.lock().thaw();
        self.0.changed.notify_all();
        was_frozen
    }

    fn thaw_after(&self, limit: Duration, number: u64) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().spawn(move || {
            let is_on = |state: &mut State| state.number == number && state.is_on;
            let state = shared.lock();
            let waited = shared.changed.wait_timeout_while(state, limit, is_on);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if is_on(&mut state) {
                state.thaw();
                drop(state);
                console::say("the host left the file systems frozen for too long");
            }
        });
        thread.map(drop).inspect_err(|_| {
            self.thaw();
        })
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn thaw(&mut self) -> bool {
        for target in self.frozen.drain(..).rev() {
            let mut ignored = 0;
            // SAFETY: the descriptor is open, and the kernel does not touch the number.
            let _ = unsafe { thaw(target.as_raw_fd(), &mut ignored) };
        }
        std::mem::take(&mut self.is_on)
    }
}

/// File systems on disks, each once: the last mounted first, as it may lie on another.
///
/// # Errors
/// If there is one that is written to and that no path leads to.
fn open_mounts() -> io::Result<Vec<File>> {
    let mounts = mounts::on_disks()?;
    let mut seen = BTreeSet::new();
    let mut open = Vec::new();
    for mount in mounts.iter().rev() {
        if let Some(top) = mount.open()
            && seen.insert(&mount.device)
        {
            open.push(top);
        }
    }
    let is_missed = |mount: &&DiskMount| mount.is_writable && !seen.contains(&mount.device);
    match mounts.iter().find(is_missed) {
        None => Ok(open),
        Some(mount) => {
            let target = mount.target.display();
            let message = format!("what is mounted on {target} is hidden by another mount");
            Err(io::Error::other(message))
        }
    }
}
