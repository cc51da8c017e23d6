//! What this process holds.

use std::fs;
use std::io;

use serde::Serialize;

/// Counts that grow where something leaks.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Held {
    files: usize,
    threads: usize,
    /// Resident memory besides what is mapped of files and shared, in KiB; the guest's own is shared.
    private_kib: u64,
}

impl Held {
    pub(crate) fn now() -> io::Result<Self> {
        let count = |folder: &str| fs::read_dir(folder).map(Iterator::count);
        let status = fs::read_to_string("/proc/self/status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(Self {
            files: count("/proc/self/fd")?,
            threads: count("/proc/self/task")?,
            private_kib: number.unwrap_or(0),
        })
    }
}
