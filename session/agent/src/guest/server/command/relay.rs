//! The loop between a connection and a running command.
//!
//! Invariant: no more than about two frames of data are held in either direction.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

use agent::protocol::{Frame, MAX_DATA};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::link::{HOST_GONE, Io, Link, timeout};
use super::super::process::{Pipes, Process};
use super::DRAIN;
use super::output::Output;

/// What a terminal takes for the end of its input, unless the program set it otherwise (VEOF of termios(3)).
const END_OF_FILE: u8 = 4;

/// How the relay came to its end.
pub(super) enum Outcome {
    /// The command ended, and its output is queued or sent.
    Ended,
    /// The host hung up.
    Abandoned,
    /// The host sent what makes no sense.
    Broken(String),
}

/// Something that poll(2) watches.
#[derive(Debug, Clone, Copy)]
enum Source {
    Connection,
    Exit,
    Stdin,
    Stdout,
    Stderr,
}

pub(super) struct Relay<'a> {
    link: &'a mut Link,
    process: &'a Process,
    stdin: Option<File>,
    /// Input that the command has not taken yet, and how much of it has been written.
    input: Vec<u8>,
    written: usize,
    /// What the command gets last of it so far.
    last_byte: Option<u8>,
    /// The host has sent all the input.
    input_ended: bool,
    stdout: Output<File>,
    stderr: Output<File>,
    /// When the pipes are given up; set when the command has ended.
    drain_until: Option<Instant>,
    buffer: Box<[u8]>,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        link: &'a mut Link,
        process: &'a Process,
        pipes: Pipes,
        has_input: bool,
    ) -> Self {
        let mut relay = Self {
            link,
            process,
            stdin: pipes.stdin,
            input: Vec::new(),
            written: 0,
            last_byte: None,
            input_ended: false,
            stdout: Output::new(pipes.stdout, Frame::Stdout),
            stderr: Output::new(pipes.stderr, Frame::Stderr),
            drain_until: None,
            buffer: vec![0; MAX_DATA].into_boxed_slice(),
        };
        if !has_input {
            relay.end_input();
        }
        relay
    }

    pub(super) fn run(mut self) -> Outcome {
        loop {
            if let Err(outcome) = self.advance_input() {
                return outcome;
            }
            if self.drain_until.is_some()
                && self.stdout.pipe.is_none()
                && self.stderr.pipe.is_none()
            {
                return Outcome::Ended;
            }
            for (source, events) in self.wait() {
                if let Err(outcome) = self.handle(source, events) {
                    return outcome;
                }
            }
            self.give_up_pipes();
            if self.link.send() == Io::Closed {
                return Outcome::Abandoned;
            }
        }
    }

    /// Waits for something to do. An empty answer means that time has passed.
    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut sources = vec![Source::Connection];
        let mut connection = HOST_GONE;
        connection.set(PollFlags::POLLIN, self.wants_frames());
        connection.set(PollFlags::POLLOUT, self.link.unsent() > 0);
        let mut fds = vec![PollFd::new(self.link.connection.as_fd(), connection)];
        let mut watch = |source, fd, events| {
            sources.push(source);
            fds.push(PollFd::new(fd, events));
        };
        if self.drain_until.is_none() {
            watch(Source::Exit, self.process.exited.as_fd(), PollFlags::POLLIN);
        }
        if let Some(pipe) = &self.stdin {
            let events = if self.input.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::POLLOUT
            };
            watch(Source::Stdin, pipe.as_fd(), events);
        }
        if self.link.has_room() {
            if let Some(pipe) = &self.stdout.pipe {
                watch(Source::Stdout, pipe.as_fd(), PollFlags::POLLIN);
            }
            if let Some(pipe) = &self.stderr.pipe {
                watch(Source::Stderr, pipe.as_fd(), PollFlags::POLLIN);
            }
        }
        match poll(&mut fds, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Out of memory for the moment; the next round tries again.
            Err(_) => return Vec::new(),
        }
        // No events at all are HOST_GONE: nothing else that nix doesn't know was asked for.
        let events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::POLLHUP));
        sources
            .into_iter()
            .zip(events)
            .filter(|(_, events)| !events.is_empty())
            .collect()
    }

    fn patience(&self) -> PollTimeout {
        match self.drain_until {
            // While the host is slow, its taking bytes is what ends the wait.
            Some(deadline) if self.link.has_room() => {
                timeout(deadline.saturating_duration_since(Instant::now()))
            }
            _ => PollTimeout::NONE,
        }
    }

    fn wants_frames(&self) -> bool {
        self.input.len() < MAX_DATA
    }

    fn handle(&mut self, source: Source, events: PollFlags) -> Result<(), Outcome> {
        match source {
            Source::Connection => {
                let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
                if events.intersects(gone)
                    || events.contains(PollFlags::POLLIN) && self.link.receive() == Io::Closed
                {
                    return Err(Outcome::Abandoned);
                }
            }
            Source::Exit => self.start_draining(),
            // Nobody is left to read the input; what is queued and what follows is dropped.
            Source::Stdin if events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) => {
                self.close_stdin();
            }
            Source::Stdin => {}
            Source::Stdout => self.stdout.forward(self.link, &mut self.buffer),
            Source::Stderr => self.stderr.forward(self.link, &mut self.buffer),
        }
        Ok(())
    }

    /// Moves what was received on, until it is all understood or the command's pipe is full: poll(2) then wakes
    /// for either side.
    fn advance_input(&mut self) -> Result<(), Outcome> {
        loop {
            let understood_all = self.take_frames()?;
            self.write_input();
            if understood_all || !self.wants_frames() {
                return Ok(());
            }
        }
    }

    /// Carries out what the host sent, as far as there is room for its input; `true` if that is all of it.
    fn take_frames(&mut self) -> Result<bool, Outcome> {
        while self.wants_frames() {
            match self.link.decoder.next_frame() {
                Ok(None) => return Ok(true),
                Ok(Some(Frame::Stdin(data))) => {
                    if self.stdin.is_some() && !self.input_ended {
                        self.input.extend_from_slice(&data);
                        self.last_byte = data.last().copied().or(self.last_byte);
                    }
                }
                Ok(Some(Frame::StdinEnd)) => self.end_input(),
                // A number that is no signal, or a command that has just ended: nothing that anybody waits for.
                Ok(Some(Frame::Signal(signal))) => drop(self.process.signal(signal)),
                Ok(Some(Frame::Resize(size))) => drop(self.process.resize(size)),
                Ok(Some(_)) => {
                    return Err(Outcome::Broken(
                        "a running command takes Stdin, StdinEnd, Signal and Resize".to_owned(),
                    ));
                }
                Err(error) => return Err(Outcome::Broken(error.to_string())),
            }
        }
        Ok(false)
    }

    fn end_input(&mut self) {
        if self.process.has_terminal() && self.stdin.is_some() && !self.input_ended {
            // Closing a terminal would hang up on the command. In the middle of a line the first only hands on what there
            // is of it.
            let ends_line = self.last_byte.is_none_or(|byte| byte == b'\n');
            let count = if ends_line { 1 } else { 2 };
            self.input.extend(std::iter::repeat_n(END_OF_FILE, count));
        }
        self.input_ended = true;
    }

    fn write_input(&mut self) {
        let Some(pipe) = &mut self.stdin else {
            return;
        };
        while self.written < self.input.len() {
            match pipe.write(&self.input[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) => match Io::from(&error) {
                    Io::WouldBlock => return,
                    Io::Progress => {}
                    Io::Closed => return self.close_stdin(),
                },
            }
        }
        self.input.clear();
        self.written = 0;
        if self.input_ended {
            self.close_stdin();
        }
    }

    fn close_stdin(&mut self) {
        self.stdin = None;
        self.input.clear();
        self.written = 0;
    }

    fn start_draining(&mut self) {
        self.drain_until = Some(Instant::now() + DRAIN);
        self.stdout.command_ended();
        self.stderr.command_ended();
    }

    fn give_up_pipes(&mut self) {
        let is_late = self
            .drain_until
            .is_some_and(|deadline| Instant::now() >= deadline);
        if is_late && self.link.has_room() {
            self.stdout.give_up(self.link, &mut self.buffer);
            self.stderr.give_up(self.link, &mut self.buffer);
        }
    }
}
