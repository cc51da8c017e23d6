//! Everything that the machine's keeper waits for, in one channel: output, the end, and signals.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::NestedError;
use crate::command;

/// How much of the console is kept for an error.
const CONSOLE_BYTES: usize = 64 << 10;
/// How long output may be on its way after the machine has said how much there is.
const LATE_OUTPUT: Duration = Duration::from_secs(10);

/// The host's ends of the machine's ports.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) stdout: UnixStream,
    pub(super) stderr: UnixStream,
    pub(super) status: UnixStream,
    pub(super) console: UnixStream,
}

#[derive(Debug)]
enum Event {
    Output { stream: usize, bytes: u64 },
    Console(Vec<u8>),
    Ended(Ending),
    Closed,
    Signal(Signal),
}

/// What the machine says when the command is over.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// The exit status and the bytes written to each of the two outputs.
    Exited { status: u8, bytes: [u64; 2] },
    /// A step of the machine's start that failed.
    Failed(String),
}

/// Signals that end this process, held back until someone waits for them.
#[derive(Debug)]
pub(super) struct Signals(SigSet);

impl Signals {
    /// Must be called before any thread is started, because threads inherit what is held back.
    pub(super) fn hold() -> Result<Self, io::Error> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Waits for the next one.
    pub(super) fn wait(&self) -> Result<Signal, io::Error> {
        Ok(self.0.wait()?)
    }
}

/// Passes output on until the command has ended, and returns its status.
///
/// # Errors
/// [`NestedError::Timeout`], [`NestedError::Stopped`], or [`NestedError::Died`] and [`NestedError::Setup`] with what
/// the console showed.
pub(super) fn follow(ports: Ports, signals: Signals, limit: Duration) -> Result<u8, NestedError> {
    let events = listen(ports, signals);
    let mut state = State::default();
    let mut deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Output { stream, bytes }) => state.received[stream] += bytes,
            Ok(Event::Console(bytes)) => state.remember(&bytes),
            Ok(Event::Signal(signal)) => return Err(NestedError::Stopped { signal }),
            Ok(Event::Ended(Ending::Failed(step))) => {
                let console = state.last_words();
                return Err(NestedError::Setup { step, console });
            }
            Ok(Event::Ended(Ending::Exited { status, bytes })) => {
                state.expected = Some((status, bytes));
                deadline = Instant::now() + LATE_OUTPUT;
            }
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => {
                let console = state.last_words();
                return state.status().ok_or(NestedError::Died { console });
            }
            Err(RecvTimeoutError::Timeout) => {
                let console = state.last_words();
                return state
                    .status()
                    .ok_or(NestedError::Timeout { limit, console });
            }
        }
        if state.is_complete() {
            return Ok(state.status().unwrap_or_default());
        }
    }
}

#[derive(Debug, Default)]
struct State {
    received: [u64; 2],
    expected: Option<(u8, [u64; 2])>,
    console: Vec<u8>,
}

impl State {
    fn status(&self) -> Option<u8> {
        self.expected.map(|(status, _)| status)
    }

    fn is_complete(&self) -> bool {
        self.expected
            .is_some_and(|(_, bytes)| (0..2).all(|stream| self.received[stream] >= bytes[stream]))
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.console.extend(bytes);
        let surplus = self.console.len().saturating_sub(CONSOLE_BYTES);
        self.console.drain(..surplus);
    }

    fn last_words(&self) -> String {
        command::tail(&self.console).replace('\r', "")
    }
}

/// Starts a thread for each source of events. They end with the machine, or with this process.
fn listen(ports: Ports, signals: Signals) -> Receiver<Event> {
    let (sender, events) = channel();
    let output = |stream, source, sink| {
        let sender = sender.clone();
        thread::spawn(move || pass_on(source, sink, stream, &sender));
    };
    output(0, ports.stdout, Sink::Stdout);
    output(1, ports.stderr, Sink::Stderr);
    let console = sender.clone();
    thread::spawn(move || watch_console(ports.console, &console));
    let status = sender.clone();
    thread::spawn(move || watch_status(ports.status, &status));
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    events
}

#[derive(Debug, Clone, Copy)]
enum Sink {
    Stdout,
    Stderr,
}

impl Sink {
    /// A reader that has gone away must not end the command, so failures are dropped.
    fn write(self, bytes: &[u8]) {
        let _ = match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
        };
    }
}

fn pass_on(source: UnixStream, sink: Sink, stream: usize, events: &Sender<Event>) {
    each_read(source, |bytes| {
        sink.write(bytes);
        let bytes = bytes.len() as u64;
        events.send(Event::Output { stream, bytes }).is_ok()
    });
}

fn watch_console(source: UnixStream, events: &Sender<Event>) {
    each_read(source, |bytes| {
        events.send(Event::Console(bytes.to_vec())).is_ok()
    });
    // Sent after the console's last words, so that an error can show them.
    let _ = events.send(Event::Closed);
}

fn watch_status(source: UnixStream, events: &Sender<Event>) {
    let mut text = Vec::new();
    each_read(source, |bytes| {
        text.extend(bytes);
        let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
            return true;
        };
        let ending = ending(&String::from_utf8_lossy(&text[..end]));
        let _ = events.send(Event::Ended(ending));
        false
    });
}

fn each_read(mut source: UnixStream, mut handle: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if !handle(&buffer[..length]) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Reads init's last line.
fn ending(line: &str) -> Ending {
    let mut words = line.split(' ');
    let exited = (words.next() == Some("ended"))
        .then(|| {
            let status = words.next()?.parse().ok()?;
            let bytes = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
            Some(Ending::Exited { status, bytes })
        })
        .flatten();
    exited.unwrap_or_else(|| Ending::Failed(line.trim_start_matches("failed ").to_owned()))
}

#[cfg(test)]
mod tests;
