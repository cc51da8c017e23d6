//! A guest whose agent says the same whatever it is asked.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use agent::protocol::{Address, Config, Root};

use crate::command::{Close, Command, Connection, Guest, Incoming, Output};
use crate::control::{self, Channel, Limits};
use crate::copy::{Copied, CopyOut, GuestTar};
use crate::error::{Error, Repr};
use crate::forward;

/// What an agent says on each connection.
#[derive(Debug, Clone)]
pub struct Words {
    bytes: Arc<[u8]>,
    piece: usize,
}

impl Words {
    /// These bytes, of which a read gets so many at most, and then the end.
    #[must_use]
    pub fn new(bytes: &[u8], piece: usize) -> Self {
        Self {
            bytes: bytes.into(),
            piece: piece.max(1),
        }
    }

    /// Runs a command that may print so many bytes.
    ///
    /// # Errors
    /// Those of a command.
    pub fn command(&self, limit: usize) -> Result<Output, Error> {
        let command = Command::new(self.guest(), "program".to_owned());
        command.output_limit(limit).output().wait()
    }

    /// Copies so many bytes at most to `to`.
    ///
    /// # Errors
    /// Those of a copy.
    pub fn copy_out(&self, to: &Path, max_bytes: u64) -> Result<Copied, Error> {
        let copy = CopyOut::new(self.guest(), "/from".to_owned(), to.to_owned(), 0);
        copy.max_bytes(max_bytes).start().wait()
    }

    /// Reads a tar stream.
    ///
    /// # Errors
    /// Those of a copy, or of its reads.
    pub fn tar(&self) -> io::Result<Vec<u8>> {
        let tar = GuestTar::start(self.guest(), "/from".to_owned());
        let mut bytes = Vec::new();
        tar.map_err(io::Error::other)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Connects to a port of the guest's, and reads what comes from there.
    ///
    /// # Errors
    /// Those of a connection.
    pub fn connect(&self) -> Result<Vec<u8>, Error> {
        let mut stream = forward::connect(&self.guest(), &Address::Ssh)?;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        let doing = "reading from a port";
        read.map_err(|source| Repr::Connection { doing, source })?;
        Ok(bytes)
    }

    /// Leads the agent from its first words to its last.
    ///
    /// # Errors
    /// Those of a session.
    pub fn control(&self) -> Result<(), Error> {
        let mut line = Line::new(self);
        control::hear_hello(&mut line)?;
        control::configure(&mut line, config())?;
        let mut channel = Channel::new(line);
        let mut talk = channel.until(None);
        talk.freeze(1)?;
        talk.thaw()?;
        talk.notice("soon".to_owned())?;
        talk.ask_to_power_off(1)?;
        talk.hear_powering_off()
    }

    fn guest(&self) -> Arc<dyn Guest> {
        Arc::new(self.clone())
    }
}

fn config() -> Config {
    Config {
        hostname: None,
        root: Root {
            serial: "root".to_owned(),
            fstype: "ext4".to_owned(),
            read_only: false,
        },
        env: Vec::new(),
        working_dir: None,
        user: None,
        identity: Box::default(),
        mounts: Vec::new(),
    }
}

impl Guest for Words {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        Ok(Box::new(Line::new(self)))
    }

    fn listen(&self) -> Result<Arc<dyn Incoming>, Error> {
        let what = "a guest that connects to nobody";
        Err(Repr::AgentConfused { what }.into())
    }

    fn close_at_end(&self, _: Weak<dyn Close>) -> Result<(), Error> {
        Ok(())
    }

    fn explain(&self, error: Error) -> Error {
        error
    }
}

/// A connection; clones are the same one.
#[derive(Debug, Clone)]
struct Line {
    words: Words,
    /// How much was said.
    said: Arc<Mutex<usize>>,
}

impl Line {
    fn new(words: &Words) -> Self {
        Self {
            words: words.clone(),
            said: Arc::default(),
        }
    }
}

impl Read for &Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.words.bytes.get(*said..).unwrap_or_default();
        let count = left.len().min(buf.len()).min(self.words.piece);
        buf[..count].copy_from_slice(&left[..count]);
        *said += count;
        Ok(count)
    }
}

impl Write for &Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Limits for Line {
    fn limit(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

impl Connection for Line {
    fn try_clone(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(self.clone()))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn limit_reads(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn limit_writes(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn hang_up(&self) {}
}
