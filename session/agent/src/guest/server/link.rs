//! A connection to the host, on which frames are taken and sent without waiting longer than is wanted.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use agent::protocol::{Decoder, Failure, FailureKind, Frame, FrameSource, MAX_DATA, ProtocolError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::job::failed;
use super::process::set_nonblocking;

/// How long a connection may take to say what it is for.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long the host may take to close after the last frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The host has closed its sending half, or all of the connection. nix has no name for it, and gives no events at all
/// where it is among them.
pub(super) const HOST_GONE: PollFlags = PollFlags::from_bits_retain(libc::POLLRDHUP);

/// The connection with what was received and not yet understood, and what is yet to be sent.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: File,
    pub(super) decoder: Decoder,
    outgoing: Vec<u8>,
    /// How many bytes of `outgoing` are sent.
    sent: usize,
    buffer: Box<[u8]>,
}

/// What a read or write that doesn't wait came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Io {
    Progress,
    WouldBlock,
    Closed,
}

impl Link {
    pub(super) fn new(connection: File) -> io::Result<Self> {
        set_nonblocking(&connection)?;
        Ok(Self {
            connection,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            buffer: vec![0; MAX_DATA].into_boxed_slice(),
        })
    }

    /// Waits for the first frame, which says what the connection is for; `None` if there is no host to answer to.
    pub(super) fn receive_first(&mut self) -> Option<Result<Frame, Failure>> {
        let deadline = Instant::now() + FIRST_PATIENCE;
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) => {
                    if !wait_ready(&self.connection, PollFlags::POLLIN, deadline)
                        || self.receive() == Io::Closed
                    {
                        return None;
                    }
                }
                Err(error) => {
                    return Some(Err(Failure {
                        kind: FailureKind::Invalid,
                        message: error.to_string(),
                    }));
                }
            }
        }
    }

    /// Reads once.
    pub(super) fn receive(&mut self) -> Io {
        match self.connection.read(&mut self.buffer) {
            Ok(0) => Io::Closed,
            Ok(len) => {
                self.decoder.push(&self.buffer[..len]);
                Io::Progress
            }
            Err(error) => Io::from(&error),
        }
    }

    pub(super) fn unsent(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Whether there is room for one more frame of data.
    pub(super) fn has_room(&self) -> bool {
        self.unsent() < MAX_DATA
    }

    pub(super) fn queue(&mut self, frame: &Frame) {
        if self.unsent() == 0 {
            self.outgoing.clear();
            self.sent = 0;
        }
        // Data is at most MAX_DATA, and a Failure is at most as long as the Exec that it is about, six times
        // over when it is all control characters: a frame that doesn't fit is replaced by one that does.
        if frame.encode(&mut self.outgoing).is_err() {
            let message = "the request's names are too long to repeat".to_owned();
            drop(failed(FailureKind::Invalid, message).encode(&mut self.outgoing));
        }
    }

    /// Writes as much as the connection takes.
    pub(super) fn send(&mut self) -> Io {
        while self.unsent() > 0 {
            match self.connection.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Io::Closed,
                Ok(len) => self.sent += len,
                Err(error) => match Io::from(&error) {
                    Io::Progress => {}
                    other => return other,
                },
            }
        }
        Io::Progress
    }

    /// Sends a frame, however long that takes; `false` if the host is gone.
    pub(super) fn say(&mut self, frame: &Frame) -> bool {
        self.queue(frame);
        loop {
            match self.send() {
                Io::Progress => return true,
                Io::WouldBlock if self.wait_writable() => {}
                _ => return false,
            }
        }
    }

    /// Sends the last frame and waits for the host to close, so that closing here can't overtake the frame.
    pub(super) fn finish(&mut self, frame: &Frame) {
        if !self.say(frame) {
            return;
        }
        let deadline = Instant::now() + CLOSE_PATIENCE;
        let mut ignored = [0; 4096];
        while wait_ready(&self.connection, PollFlags::POLLIN, deadline) {
            match self.connection.read(&mut ignored) {
                Ok(0) => return,
                Err(error) if Io::from(&error) == Io::Closed => return,
                _ => {}
            }
        }
    }

    /// Waits until the host takes bytes again, for as long as it stays connected.
    fn wait_writable(&self) -> bool {
        // While input of the host's is left unread, its hanging up makes the connection neither writable nor broken.
        let events = PollFlags::POLLOUT | HOST_GONE;
        let mut fds = [PollFd::new(self.connection.as_fd(), events)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => fds[0].revents() == Some(PollFlags::POLLOUT),
            Err(error) => error == Errno::EINTR,
        }
    }
}

/// Waits for frames.
impl FrameSource for &mut Link {
    fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.receive() {
                Io::Progress => {}
                Io::WouldBlock => wait_forever(&self.connection, PollFlags::POLLIN),
                Io::Closed if self.decoder.is_mid_frame() => return Err(ProtocolError::Truncated),
                Io::Closed => return Ok(None),
            }
        }
    }
}

/// Writes straight to the connection, and waits for the host to take it.
impl Write for Link {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            match self.connection.write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait_writable() {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<&io::Error> for Io {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            io::ErrorKind::Interrupted => Self::Progress,
            _ => Self::Closed,
        }
    }
}

/// Waits until the descriptor has one of these events, or for no reason.
fn wait_forever(fd: impl AsFd, events: PollFlags) {
    let mut fds = [PollFd::new(fd.as_fd(), events)];
    // A wait that fails is tried again by whoever waits.
    let _ready_or_failed = poll(&mut fds, PollTimeout::NONE);
}

/// Waits until the descriptor has one of these events; `false` at the deadline.
pub(super) fn wait_ready(fd: impl AsFd, events: PollFlags, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd.as_fd(), events)];
        match poll(&mut fds, timeout(left)) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// A duration as poll(2) takes it, rounded up so that it never returns just before the time.
pub(super) fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}
