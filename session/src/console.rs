//! What the guest prints on its serial console.
//!
//! Invariant: memory and files are bounded, however much the guest prints.

mod files;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use files::ConsoleFiles;
pub use files::ConsoleLog;

/// The end of the output that is kept in memory for messages.
const TAIL_BYTES: usize = 16 * 1024;

/// How many lines an error message quotes.
const QUOTED_LINES: usize = 6;

/// What the kernel prints before it gives up.
const PANIC_MARK: &str = "Kernel panic - not syncing";

/// A console log; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    shared: Arc<Mutex<Log>>,
}

#[derive(Debug)]
struct Log {
    tail: VecDeque<u8>,
    files: ConsoleFiles,
}

impl Console {
    /// Logs to `files`, too.
    pub(crate) fn new(files: ConsoleFiles) -> Console {
        let log = Log {
            tail: VecDeque::new(),
            files,
        };
        Console {
            shared: Arc::new(Mutex::new(log)),
        }
    }

    /// The kernel's own words if it panicked.
    pub(crate) fn panic_line(&self) -> Option<String> {
        let text = self.text();
        let line = text.lines().rfind(|line| line.contains(PANIC_MARK))?;
        Some(line[line.find(PANIC_MARK)?..].trim_end().to_owned())
    }

    /// The last lines in one, for an error message.
    pub(crate) fn last_lines(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return "nothing".to_owned();
        }
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join(" | ")
    }

    /// The end of the output, as much of it as is kept in memory.
    pub(crate) fn text(&self) -> String {
        let log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = log.tail.iter().copied().collect();
        plain(&bytes)
    }
}

/// Drops control characters: the text goes to a person's terminal.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .filter(|character| *character == '\n' || !character.is_control())
        .collect()
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (log.tail.len() + kept.len()).saturating_sub(TAIL_BYTES);
        log.tail.drain(..excess);
        log.tail.extend(kept);
        log.files.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
