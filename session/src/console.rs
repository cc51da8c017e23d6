//! What the guest prints on its serial console.
//!
//! Invariant: memory and file are bounded, however much the guest prints.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The end of the output that is kept in memory for messages.
const TAIL_BYTES: usize = 16 * 1024;

/// The start of the output that is kept in the session's folder: boot is what people look for there.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

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
    file: File,
    file_left: u64,
}

impl Console {
    /// Logs to `file` from its present position on.
    pub(crate) fn new(file: File) -> Console {
        let log = Log {
            tail: VecDeque::new(),
            file,
            file_left: FILE_BYTES,
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

    /// Control characters are dropped: the text goes to a person's terminal.
    fn text(&self) -> String {
        let log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = log.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.chars()
            .filter(|character| *character == '\n' || !character.is_control())
            .collect()
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (log.tail.len() + kept.len()).saturating_sub(TAIL_BYTES);
        log.tail.drain(..excess);
        log.tail.extend(kept);
        let to_file = bytes
            .len()
            .min(usize::try_from(log.file_left).unwrap_or(usize::MAX));
        // A full disk must not stop the guest: the log is a convenience.
        if to_file > 0 && log.file.write_all(&bytes[..to_file]).is_ok() {
            log.file_left -= to_file as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
