//! Bytes between two sockets, both ways, until both ways have ended.
//!
//! Invariant: of each direction one buffer is held, and a side that is slow is waited for; the end of one direction is
//! passed on as such.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::process::set_nonblocking;

/// What is moved at once: as much as one vsock packet of Linux carries.
const BUFFER_BYTES: usize = 64 << 10;

/// Moves bytes between `one` and `other` until both have ended, or one of them has broken.
pub(super) fn run(one: &File, other: &File) {
    if set_nonblocking(one).is_err() || set_nonblocking(other).is_err() {
        return;
    }
    let mut there = Way::new(one, other);
    let mut back = Way::new(other, one);
    loop {
        let (Ok(from_one), Ok(from_other)) = (there.go_on(), back.go_on()) else {
            return;
        };
        if there.is_over && back.is_over {
            return;
        }
        let one = End {
            file: one,
            events: from_one.source | from_other.target,
            is_done: there.is_ended && !back.is_over,
        };
        let other = End {
            file: other,
            events: from_one.target | from_other.source,
            is_done: back.is_ended && !there.is_over,
        };
        if has_broken(&[one, other]) {
            return;
        }
    }
}

/// What a way waits for at its two sides.
struct Needs {
    source: PollFlags,
    target: PollFlags,
}

/// One direction.
struct Way<'a> {
    source: &'a File,
    target: &'a File,
    buffer: Box<[u8]>,
    /// Which part of the buffer was read and not written.
    held: std::ops::Range<usize>,
    /// The source has said all that it will.
    is_ended: bool,
    /// The target knows that.
    is_over: bool,
}

impl<'a> Way<'a> {
    fn new(source: &'a File, target: &'a File) -> Self {
        Self {
            source,
            target,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            held: 0..0,
            is_ended: false,
            is_over: false,
        }
    }

    /// Reads and writes at most once.
    fn go_on(&mut self) -> io::Result<Needs> {
        let mut needs = Needs {
            source: PollFlags::empty(),
            target: PollFlags::empty(),
        };
        if self.is_over {
            return Ok(needs);
        }
        if self.held.is_empty() && !self.is_ended {
            let read = unless_early(self.source.read(&mut self.buffer))?;
            self.is_ended = read == Some(0);
            self.held = 0..read.unwrap_or(0);
        }
        if !self.held.is_empty() {
            let written = unless_early(self.target.write(&self.buffer[self.held.clone()]))?;
            self.held.start += written.unwrap_or(0);
        }
        if !self.held.is_empty() {
            needs.target = PollFlags::POLLOUT;
        } else if !self.is_ended {
            needs.source = PollFlags::POLLIN;
        } else {
            // A target that is gone knows as much.
            let _told_or_gone = shutdown(self.target.as_raw_fd(), Shutdown::Write);
            self.is_over = true;
        }
        Ok(needs)
    }
}

/// What a call did that may come too early.
fn unless_early(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A side, and what is waited for there.
struct End<'a> {
    file: &'a File,
    events: PollFlags,
    /// It has said all that it will, and may yet be told something: that it breaks is then all there is to hear of it.
    is_done: bool,
}

/// Waits for events; `true` if there is nobody any more at a side that is done.
fn has_broken(ends: &[End<'_>]) -> bool {
    // A side that nothing is expected of is left out, as its end would be told again and again.
    let heard: Vec<_> = ends
        .iter()
        .filter(|end| end.is_done || !end.events.is_empty())
        .collect();
    let mut fds: Vec<_> = heard
        .iter()
        .map(|end| PollFd::new(end.file.as_fd(), end.events))
        .collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => {}
        Err(error) => return error != Errno::EINTR,
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    let is_gone = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.intersects(gone));
    let mut ends = heard.iter().zip(&fds);
    ends.any(|(end, fd)| end.events.is_empty() && is_gone(fd))
}
