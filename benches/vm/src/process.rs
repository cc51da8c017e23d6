//! A machine as a process: its serial port's lines with the time that they came.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// What takes longer than this hangs. Emulated machines are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A line of the serial port.
type Line = (Instant, String);

/// A running machine, which is killed when its owner lets go of it.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    lines: Receiver<Line>,
    started: Instant,
    /// What the guest has reported.
    results: BTreeMap<String, f64>,
    /// The last lines, for errors.
    seen: Vec<String>,
}

impl Machine {
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let started = Instant::now();
        // An input that never ends: QEMU stops looking at a port whose input is at its end.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("a process without an output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                if sender.send((Instant::now(), text)).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            started,
            results: BTreeMap::new(),
            seen: Vec::new(),
        })
    }

    /// Lets a process go on that waits for a line of its input.
    pub(crate) fn go_on(&mut self) -> Outcome {
        let input = self.child.stdin.as_mut();
        Ok(input
            .ok_or("a process without an input")?
            .write_all(b"\n")?)
    }

    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line, and says how long after the start it came.
    pub(crate) fn wait_for(&mut self, wanted: &str) -> Outcome<Duration> {
        loop {
            match self.next()? {
                Some((at, line)) if line == wanted => return Ok(at - self.started),
                Some(_) => {}
                None => return Err(self.complaint(&format!("there was no line {wanted:?}"))),
            }
        }
    }

    /// Waits for the end, and says how long after the start it came and what the guest has reported.
    pub(crate) fn end(mut self) -> Outcome<(Duration, BTreeMap<String, f64>)> {
        while self.next()?.is_some() {}
        let status = self.child.wait()?;
        let took = self.started.elapsed();
        match status.success() {
            true => Ok((took, std::mem::take(&mut self.results))),
            false => Err(self.failed(status)),
        }
    }

    /// The next line, or nothing at the end.
    fn next(&mut self) -> Outcome<Option<Line>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok((at, line)) => {
                if let Some(reason) = line.strip_prefix("failed: ") {
                    return Err(self.complaint(reason));
                }
                if let Some((name, value)) = result(&line) {
                    self.results.insert(name, value);
                }
                self.seen.push(line.clone());
                Ok(Some((at, line)))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(self.complaint("nothing comes any more")),
        }
    }

    fn failed(&self, status: ExitStatus) -> Box<dyn std::error::Error> {
        self.complaint(&format!("the process ended with {status}"))
    }

    fn complaint(&self, reason: &str) -> Box<dyn std::error::Error> {
        let last = self.seen.len().saturating_sub(20);
        format!(
            "{reason}; the serial port's last lines: {:#?}",
            &self.seen[last..]
        )
        .into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A line `result NAME VALUE`.
fn result(line: &str) -> Option<(String, f64)> {
    let mut words = line.strip_prefix("result ")?.split(' ');
    let name = words.next()?.to_owned();
    Some((name, words.next()?.parse().ok()?))
}
