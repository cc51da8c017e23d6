//! Trying again.
//!
//! Invariant: whatever fails and however it gets on in between, it is tried a bounded number of times.

use std::hash::{BuildHasher, RandomState};

use super::client::Client;
use super::error::RegistryError;
use super::metrics::count;
use super::wanted;

/// Most attempts of one transfer, even if each of them gets on a bit.
const MAX_ATTEMPTS_IN_ALL: u32 = 1000;

/// How often something failed.
pub(crate) struct Tries<'a> {
    client: &'a Client,
    /// Failures since it last got on.
    failures: u32,
    /// Failures since the start.
    failures_in_all: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            failures: 0,
            failures_in_all: 0,
        }
    }

    /// Starts a new count, as the last attempt brought some of what was wanted.
    pub(crate) fn got_on(&mut self) {
        self.failures = 0;
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// `error` itself if another attempt has no chance, or if there was one only; [`RegistryError::GaveUp`] if there
    /// were enough.
    pub(crate) fn wait(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        match error.is_transient() {
            true => self.wait_anyway(error),
            false => Err(error),
        }
    }

    /// Waits for the next attempt, which will be another one than the last.
    ///
    /// # Errors
    /// As [`Self::wait`] if there were enough attempts.
    pub(crate) fn wait_anyway(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failures += 1;
        self.failures_in_all += 1;
        let jitter = RandomState::new().hash_one(self.failures_in_all);
        let delay = self
            .client
            .policy()
            .delay(self.failures, error.retry_after(), jitter)
            .filter(|_| self.failures_in_all < MAX_ATTEMPTS_IN_ALL && wanted::is_wanted());
        let Some(delay) = delay else {
            return Err(match self.failures_in_all {
                1 => error,
                attempts => RegistryError::GaveUp {
                    attempts,
                    source: Box::new(error),
                },
            });
        };
        count(&self.client.counters().retries, 1);
        tracing::info!(%error, attempt = self.failures_in_all, ?delay, "trying again");
        wanted::sleep(delay);
        Ok(())
    }
}
