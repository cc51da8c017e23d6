//! Pseudo-terminals for commands (pty(7)).
#![expect(unsafe_code, reason = "ioctls that nix does not wrap")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use agent::protocol::TerminalSize;
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::unistd::{Uid, fchown};

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);
nix::ioctl_write_int_bad!(set_controlling, libc::TIOCSCTTY);

/// This side of a terminal.
#[derive(Debug)]
pub(super) struct Terminal(PtyMaster);

impl Terminal {
    /// Makes a terminal of `size` that belongs to user `uid`; also returns the command's side of it.
    pub(super) fn open(size: TerminalSize, uid: u32) -> io::Result<(Self, OwnedFd)> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let ours = posix_openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(ptsname_r(&ours)?)?;
        // A program of that user may want to open its own terminal by name.
        fchown(&line, Some(Uid::from_raw(uid)), None)?;
        let terminal = Self(ours);
        terminal.resize(size)?;
        Ok((terminal, OwnedFd::from(line)))
    }

    /// Sets its size; the programs in its foreground are told by SIGWINCH.
    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let size = libc::winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the request takes a winsize, and `size` outlives the call.
        unsafe { set_size(self.0.as_raw_fd(), &raw const size) }?;
        Ok(())
    }

    /// Another handle to read and write it by.
    pub(super) fn share(&self) -> io::Result<File> {
        Ok(File::from(self.0.as_fd().try_clone_to_owned()?))
    }
}

/// Makes the standard input the controlling terminal of this process, which leads a session. For between fork and
/// exec: it makes one system call.
pub(super) fn take_control() -> nix::Result<()> {
    // SAFETY: the request takes a number, and touches no memory of this process.
    unsafe { set_controlling(libc::STDIN_FILENO, 0) }?;
    Ok(())
}
