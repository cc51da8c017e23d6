//! What a command writes.
//!
//! Invariant: once the command has ended, a pipe is given up only after all that the command itself wrote was read.

use std::io::Read;
use std::os::fd::AsFd;

use agent::protocol::{Frame, MAX_DATA};
use nix::fcntl::{FcntlArg, fcntl};

use super::super::link::{Io, Link};

/// One of a command's output pipes.
pub(super) struct Output<P> {
    /// `None` once it is closed or given up.
    pub(super) pipe: Option<P>,
    frame: fn(Vec<u8>) -> Frame,
    /// How many bytes in the pipe the command itself may have written; known once it has ended.
    owed: usize,
}

impl<P: Read + AsFd> Output<P> {
    pub(super) fn new(pipe: Option<P>, frame: fn(Vec<u8>) -> Frame) -> Self {
        Self {
            pipe,
            frame,
            owed: 0,
        }
    }

    /// Moves what the pipe holds, up to one frame.
    pub(super) fn forward(&mut self, link: &mut Link, buffer: &mut [u8]) {
        let mut filled = 0;
        while let Some(pipe) = &mut self.pipe
            && filled < buffer.len()
        {
            match pipe.read(&mut buffer[filled..]) {
                Ok(0) => self.pipe = None,
                Ok(len) => filled += len,
                Err(error) => match Io::from(&error) {
                    Io::WouldBlock => {
                        self.owed = 0;
                        break;
                    }
                    Io::Progress => {}
                    Io::Closed => self.pipe = None,
                },
            }
        }
        self.owed = self.owed.saturating_sub(filled);
        if filled > 0 {
            link.queue(&(self.frame)(buffer[..filled].to_vec()));
        }
    }

    /// What the command wrote is within one capacity of the pipe from here.
    pub(super) fn command_ended(&mut self) {
        let capacity = self
            .pipe
            .as_ref()
            .and_then(|pipe| fcntl(pipe, FcntlArg::F_GETPIPE_SZ).ok());
        self.owed = capacity
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(MAX_DATA);
    }

    /// Lets the pipe go once it holds nothing of what the command wrote.
    pub(super) fn give_up(&mut self, link: &mut Link, buffer: &mut [u8]) {
        if self.owed > 0 {
            self.forward(link, buffer);
        }
        if self.owed == 0 {
            self.pipe = None;
        }
    }
}
