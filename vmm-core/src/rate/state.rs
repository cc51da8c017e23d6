//! What limits have left, as plain data.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::RateLimiter;
use crate::block::MAX_CHARGED_BYTES;
use crate::state::{FieldError, check};

/// The most that a bucket of bytes can owe: a request passes when there is a token.
const MAX_BYTES_DEBT: u64 = MAX_CHARGED_BYTES;
/// The same of operations, of which a request is one.
const MAX_OPERATIONS_DEBT: u64 = 1;

/// What is left of a limiter's bursts. The limits themselves are the configuration's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LimiterState {
    /// The limit on bytes, if there is one.
    pub bytes: Option<BucketState>,
    /// The limit on operations, if there is one.
    pub operations: Option<BucketState>,
}

/// What is left of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BucketState {
    /// Bytes, or operations, that may pass at once. Below zero, what the last request took beyond its burst.
    pub level: i64,
}

impl LimiterState {
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        for (bucket, most) in [
            (self.bytes, MAX_BYTES_DEBT),
            (self.operations, MAX_OPERATIONS_DEBT),
        ] {
            let level = bucket.map_or(0, |bucket| bucket.level);
            check(
                "a limit's debt",
                level.unsigned_abs(),
                level >= 0 || level.unsigned_abs() <= most,
                "a request's",
            )?;
        }
        Ok(())
    }
}

impl RateLimiter {
    /// What is left now.
    pub(crate) fn save(&self) -> LimiterState {
        self.state().buckets.save(Instant::now())
    }

    /// Has no more left than `saved` had; never more than there is, as others may share the limiter.
    pub(crate) fn take_over(&self, saved: &LimiterState) {
        self.state().buckets.lower(saved, Instant::now());
    }
}
