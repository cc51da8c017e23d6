//! Running a command in a session, with its streams on ours.

use std::io::{self, IsTerminal, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use session::{Error, ExitStatus, ProcessOutput, Session};

use crate::interrupt::Interrupt;
use crate::terminal::{self, Window};

/// The most that is kept of each stream for the JSON report.
const CAPTURE_LIMIT: u64 = 64 << 20;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    /// What it printed, if that was not passed on; bytes that are no UTF-8 text are replaced.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether it printed more than is kept.
    pub(crate) truncated: bool,
    pub(crate) elapsed: Duration,
}

impl Ran {
    fn silent(status: ExitStatus, elapsed: Duration) -> Self {
        Self {
            status,
            stdout: String::new(),
            stderr: String::new(),
            truncated: false,
            elapsed,
        }
    }
}

/// Runs `line` to its end. Its output is passed on while it runs, or kept if `capture` says so.
pub(crate) fn run(
    session: &Session,
    interrupt: &Interrupt,
    line: &[String],
    capture: bool,
    window: Option<Window>,
) -> Result<Ran, Error> {
    let begun = Instant::now();
    let (program, args) = line
        .split_first()
        .map_or(("", &[][..]), |(p, args)| (p.as_str(), args));
    let mut command = session.command(program).args(args);
    if window.is_some() || !io::stdin().is_terminal() {
        command = command.stdin_from(io::stdin());
    }
    if window.is_some() {
        command = command.terminal(terminal::size());
    }
    if let Some(kind) = window.as_ref().and_then(|_| std::env::var("TERM").ok()) {
        command = command.env("TERM", kind);
    }
    let mut process = command.spawn().wait()?;
    interrupt.command_started(process.control());
    let _raw = window.map(|window| {
        window.follow(process.control());
        interrupt.lend_terminal()
    });
    let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
    let (out, err) = if capture {
        (
            read(stdout, None::<io::Sink>),
            read(stderr, None::<io::Sink>),
        )
    } else {
        (
            read(stdout, Some(io::stdout())),
            read(stderr, Some(io::stderr())),
        )
    };
    let status = process.wait().wait();
    if interrupt.is_asked() && !capture {
        // Whoever should read our output may not do so any more, and the session waits for its end.
        return Ok(Ran::silent(status?, begun.elapsed()));
    }
    let bytes = |thread: JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    let (out, err) = (bytes(out), bytes(err));
    let is_cut = |bytes: &[u8]| bytes.len() as u64 == CAPTURE_LIMIT;
    Ok(Ran {
        status: status?,
        truncated: is_cut(&out) || is_cut(&err),
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
        elapsed: begun.elapsed(),
    })
}

/// Reads a stream to its end on a thread of its own: onto `to`, or to keep it.
fn read(
    stream: Option<ProcessOutput>,
    to: Option<impl Write + Send + 'static>,
) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let Some(mut stream) = stream else {
            return kept;
        };
        match to {
            Some(to) => pass_on(stream, to),
            // An end that came too early shows in the command's status.
            None => drop(stream.by_ref().take(CAPTURE_LIMIT).read_to_end(&mut kept)),
        }
        kept
    })
}

fn pass_on(mut stream: ProcessOutput, mut to: impl Write) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = stream.read(&mut buffer) {
        // Nobody reads our output any more: the command may go on, unheard.
        if count == 0
            || to
                .write_all(&buffer[..count])
                .and_then(|()| to.flush())
                .is_err()
        {
            return;
        }
    }
}
