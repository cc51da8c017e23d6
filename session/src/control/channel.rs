//! Questions to an agent that takes commands, and its answers.
//!
//! Invariant: an answer is that to the last question, however many before it were given up as they took too long: what
//! was sent or came in part is gone on with, and answers that nobody waits for any more are passed over.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use agent::protocol::{Decoder, Failure, Frame, Freeze, Frozen, Notice, PowerOff, ProtocolError};

use super::timed::{Limits, Timed};
use super::{closed, confused, unless_fatal};
use crate::error::{Error, Repr};

/// As much as is read at once. Answers are short.
const PIECE: usize = 4096;

/// A connection to an agent, which answers each question, in their order.
#[derive(Debug)]
pub(crate) struct Channel<S> {
    stream: S,
    /// What is left of a question that was sent in part.
    unsent: Vec<u8>,
    decoder: Decoder,
    /// Answers to questions that were begun.
    owed: usize,
}

impl<S> Channel<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            unsent: Vec::new(),
            decoder: Decoder::default(),
            owed: 0,
        }
    }

    /// A talk that is over at `deadline`; `None` is never.
    pub(crate) fn until(&mut self, deadline: Option<Instant>) -> Talk<'_, S> {
        Talk {
            channel: self,
            deadline,
        }
    }
}

/// A question, and the wait for its answer.
#[derive(Debug)]
pub(crate) struct Talk<'a, S> {
    channel: &'a mut Channel<S>,
    deadline: Option<Instant>,
}

impl<S: Limits> Talk<'_, S>
where
    for<'s> &'s S: Read + Write,
{
    /// Asks the guest to shut down, without waiting for what it says.
    pub(crate) fn ask_to_power_off(&mut self, grace_ms: u32) -> Result<(), Error> {
        let request = Frame::PowerOff(PowerOff { grace_ms });
        self.send(&request, "asking the guest to power off")
    }

    /// Waits until the guest says that it has begun to shut down.
    pub(crate) fn hear_powering_off(&mut self) -> Result<(), Error> {
        match self.answer()? {
            Frame::PoweringOff => Ok(()),
            other => Err(wrong(other, "it answered PowerOff with something else")),
        }
    }

    /// Makes the guest's file systems hold still, for `limit_ms` at most. Returns how long that took the guest.
    pub(crate) fn freeze(&mut self, limit_ms: u32) -> Result<Duration, Error> {
        let request = Frame::Freeze(Freeze { limit_ms });
        self.send(&request, "freezing its file systems")?;
        match self.answer()? {
            Frame::Frozen(Frozen { took_us }) => Ok(Duration::from_micros(took_us)),
            other => Err(wrong(other, "it answered Freeze with something else")),
        }
    }

    /// Lets the guest's file systems go on. An error, too, if they had not been still until now.
    pub(crate) fn thaw(&mut self) -> Result<(), Error> {
        self.let_thaw()?;
        match self.answer()? {
            Frame::Thawed => Ok(()),
            other => Err(wrong(other, "it answered Thaw with something else")),
        }
    }

    /// Lets the guest's file systems go on, if they hold still or are about to, without waiting for what it says.
    pub(crate) fn let_thaw(&mut self) -> Result<(), Error> {
        self.send(&Frame::Thaw, "thawing its file systems")
    }

    /// Shows a line to whoever sits at the guest's terminals.
    pub(crate) fn notice(&mut self, text: String) -> Result<(), Error> {
        let request = Frame::Notice(Notice { text });
        self.send(&request, "telling its users something")?;
        match self.answer()? {
            Frame::Noticed => Ok(()),
            other => Err(wrong(other, "it answered Notice with something else")),
        }
    }

    /// Sends a question, behind the rest of the last one. One of which nothing could be sent is not asked.
    fn send(&mut self, question: &Frame, doing: &'static str) -> Result<(), Error> {
        let failed = |source| Error::from(Repr::Connection { doing, source });
        self.send_rest().map_err(failed)?;
        question.encode(&mut self.channel.unsent).map_err(failed)?;
        let whole = self.channel.unsent.len();
        let sent = self.send_rest();
        if self.channel.unsent.len() == whole {
            self.channel.unsent.clear();
        } else {
            self.channel.owed += 1;
        }
        sent.map_err(failed)
    }

    fn send_rest(&mut self) -> io::Result<()> {
        let Channel { stream, unsent, .. } = &mut *self.channel;
        let mut timed = Timed::new(stream, self.deadline);
        while !unsent.is_empty() {
            match timed.write(unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The answer to the last question.
    fn answer(&mut self) -> Result<Frame, Error> {
        while self.channel.owed > 1 {
            self.frame()?;
            self.channel.owed -= 1;
        }
        let answer = self.frame()?;
        self.channel.owed = 0;
        Ok(answer)
    }

    fn frame(&mut self) -> Result<Frame, Error> {
        let Channel {
            stream, decoder, ..
        } = &mut *self.channel;
        let mut timed = Timed::new(stream, self.deadline);
        let mut piece = [0; PIECE];
        loop {
            if let Some(frame) = decoder.next_frame()? {
                return unless_fatal(frame);
            }
            match timed.read(&mut piece) {
                Ok(0) => return Err(closed()),
                Ok(count) => decoder.push(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ProtocolError::Io { source }.into()),
            }
        }
    }
}

/// An answer that is none of those that were expected.
fn wrong(answer: Frame, what: &'static str) -> Error {
    match answer {
        Frame::Failed(Failure { message, .. }) => Repr::Agent { message }.into(),
        _ => confused(what),
    }
}

#[cfg(test)]
mod tests;
