//! How long a guest may keep its host waiting.
//!
//! Invariant: time in which the guest stands still because its session is paused does not count.

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Connection, Guest};
use crate::error::{Error, Repr};

/// How long an agent may take for the answer to a job's first frame.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// So many times as long may a copy stand still.
const STALLS: u32 = 5;
/// So many times is looked meanwhile whether the guest stands still, and never less often than this.
const LOOKS: u32 = 20;
const LONGEST_LOOK: Duration = Duration::from_secs(15);

/// A connection whose reads and writes fail with [`TimedOut`](io::ErrorKind::TimedOut) when the guest does nothing.
#[derive(Debug)]
pub(crate) struct Patient {
    guest: Arc<dyn Guest>,
    connection: Box<dyn Connection>,
    limit: Duration,
    /// Whether each byte begins a new wait.
    is_renewed: bool,
    /// What has to be set for waits to count.
    counts: Option<Arc<AtomicBool>>,
    waited: Duration,
}

impl Patient {
    /// For one answer, however many bytes it has.
    pub(crate) fn for_answer(guest: &Arc<dyn Guest>, connection: Box<dyn Connection>) -> Self {
        Self::new(guest, connection, guest.patience(), false)
    }

    /// For all that comes, until it has been waited for so long.
    pub(super) fn for_all(
        guest: &Arc<dyn Guest>,
        connection: Box<dyn Connection>,
        limit: Duration,
    ) -> Self {
        Self::new(guest, connection, limit, false)
    }

    /// How long it may be waited.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// For as long as bytes come or go.
    pub(crate) fn while_it_goes_on(
        guest: &Arc<dyn Guest>,
        connection: Box<dyn Connection>,
    ) -> Self {
        Self::new(guest, connection, stall_of(&**guest), true)
    }

    /// For one answer, which is due once `counts` is set.
    pub(crate) fn after(
        guest: &Arc<dyn Guest>,
        connection: Box<dyn Connection>,
        counts: &Arc<AtomicBool>,
    ) -> Self {
        let mut patient = Self::new(guest, connection, stall_of(&**guest), false);
        patient.counts = Some(Arc::clone(counts));
        patient
    }

    fn new(
        guest: &Arc<dyn Guest>,
        connection: Box<dyn Connection>,
        limit: Duration,
        is_renewed: bool,
    ) -> Self {
        Self {
            guest: Arc::clone(guest),
            connection,
            limit,
            is_renewed,
            counts: None,
            waited: Duration::ZERO,
        }
    }

    fn wait(
        &mut self,
        mut step: impl FnMut(&mut dyn Connection) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            // Here, as bytes that drip in time would else never pass the limit.
            if self.waited >= self.limit {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let begun = Instant::now();
            let result = step(&mut *self.connection);
            if self.is_renewed && result.is_ok() {
                self.waited = Duration::ZERO;
                return result;
            }
            if self.counts() && !self.guest.stands_still() {
                self.waited += begun.elapsed();
            }
            match result {
                Err(error) if is_timeout(&error) => {}
                result => return result,
            }
        }
    }

    /// Lets what follows on the connection wait as long as it takes.
    pub(crate) fn end(self) -> io::Result<()> {
        self.connection.limit_reads(None)?;
        self.connection.limit_writes(None)
    }

    fn counts(&self) -> bool {
        let counts = self.counts.as_ref();
        counts.is_none_or(|counts| counts.load(Ordering::SeqCst))
    }

    fn slice(&self) -> Option<Duration> {
        Some((self.limit / LOOKS).clamp(Duration::from_millis(1), LONGEST_LOOK))
    }
}

/// How long a copy of the guest's may stand still.
pub(crate) fn stall_of(guest: &dyn Guest) -> Duration {
    guest.patience() * STALLS
}

/// The better error for one that came of a [`Patient`] connection: that the guest did nothing for `limit`, if so.
pub(crate) fn unless_silent(error: Error, doing: &'static str, limit: Duration) -> Error {
    match error.io_kind() {
        Some(io::ErrorKind::TimedOut) => {
            let seconds = limit.as_secs();
            Repr::AgentSilent { doing, seconds }.into()
        }
        _ => error,
    }
}

/// A wait for a socket of the host's that passes its limit fails with another kind of error.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let slice = self.slice();
        self.wait(|connection| {
            connection.limit_reads(slice)?;
            connection.read(buf)
        })
    }
}

impl Write for Patient {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let slice = self.slice();
        self.wait(|connection| {
            connection.limit_writes(slice)?;
            connection.write(buf)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}
