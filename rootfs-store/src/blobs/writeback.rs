//! Has the system write a file's bytes out while more of them are being written, so that the last sync is short.

use std::fs::File;
use std::io;
use std::thread::{self, JoinHandle};

/// Bytes that are gathered before they are written out.
const PART_BYTES: u64 = 32 << 20;

/// A file's way to the disk.
pub(crate) struct Writeback {
    /// Length of the file from which on it is worth it again.
    next: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Writeback {
    pub(crate) fn new() -> Self {
        Self {
            next: PART_BYTES,
            running: None,
        }
    }

    /// The file has `len` bytes now. Fails with what went wrong with those before.
    pub(crate) fn advance(&mut self, file: &File, len: u64) -> io::Result<()> {
        let running = self.running.as_ref();
        if len < self.next || running.is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        self.finish()?;
        self.next = len + PART_BYTES;
        // Without a descriptor or a thread for it, the last sync has more to do.
        if let Ok(file) = file.try_clone() {
            let writeback = thread::Builder::new().name("writeback".to_owned());
            self.running = writeback.spawn(move || file.sync_data()).ok();
        }
        Ok(())
    }

    /// Waits for what was begun. The system reports an error of a file once, so it must not be lost here.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let joined = self.running.take().map(JoinHandle::join);
        joined.map_or(Ok(()), |result| {
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Whoever writes no more waits for the file to be let go, so that its space is free again.
impl Drop for Writeback {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::debug!(%error, "a file that is given up could not be written out");
        }
    }
}
