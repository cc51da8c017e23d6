//! Token buckets, without a clock.

use std::time::{Duration, Instant};

use super::{BucketState, LimiterState, RateLimit, RateLimits};

/// Levels are counted in billionths of a token, so that a rate a second is a whole number a nanosecond.
const TOKEN: i128 = 1_000_000_000;

/// The buckets of one limiter.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    limit: RateLimit,
    /// Below zero after a request that was larger than what was left.
    level: i128,
    filled_at: Instant,
}

impl Buckets {
    /// Sets the limits from `now` on.
    pub(super) fn change(&mut self, limits: &RateLimits, now: Instant) {
        change(&mut self.bytes, limits.bytes, now);
        change(&mut self.operations, limits.operations, now);
    }

    /// Takes from both buckets, or from none and says when to come again.
    pub(super) fn take(
        &mut self,
        now: Instant,
        operations: u64,
        bytes: u64,
    ) -> Result<(), Duration> {
        let asked = [(&mut self.operations, operations), (&mut self.bytes, bytes)];
        let mut asked = asked.map(|(bucket, tokens)| (bucket.as_mut(), tokens));
        let mut wait = Duration::ZERO;
        for (bucket, tokens) in &mut asked {
            if let (Some(bucket), 1..) = (bucket, *tokens) {
                bucket.fill(now);
                wait = wait.max(bucket.wait());
            }
        }
        if wait > Duration::ZERO {
            return Err(wait);
        }
        for (bucket, tokens) in asked {
            if let Some(bucket) = bucket {
                bucket.level -= i128::from(tokens) * TOKEN;
            }
        }
        Ok(())
    }
}

impl Buckets {
    pub(super) fn save(&mut self, now: Instant) -> LimiterState {
        let save = |bucket: &mut Option<Bucket>| {
            let bucket = bucket.as_mut()?;
            bucket.fill(now);
            let level = i64::try_from(bucket.level.div_euclid(TOKEN)).unwrap_or(i64::MAX);
            Some(BucketState { level })
        };
        LimiterState {
            bytes: save(&mut self.bytes),
            operations: save(&mut self.operations),
        }
    }

    /// Takes out what a bucket has more than the one in `saved`.
    pub(super) fn lower(&mut self, saved: &LimiterState, now: Instant) {
        for (bucket, saved) in [
            (&mut self.bytes, saved.bytes),
            (&mut self.operations, saved.operations),
        ] {
            if let (Some(bucket), Some(saved)) = (bucket, saved) {
                bucket.fill(now);
                bucket.level = bucket.level.min(i128::from(saved.level) * TOKEN);
            }
        }
    }
}

fn change(bucket: &mut Option<Bucket>, limit: Option<RateLimit>, now: Instant) {
    *bucket = match (bucket.take(), limit) {
        (Some(mut bucket), Some(limit)) => {
            bucket.fill(now);
            bucket.limit = limit;
            bucket.level = bucket.level.min(bucket.full());
            Some(bucket)
        }
        (None, Some(limit)) => {
            let mut bucket = Bucket {
                limit,
                level: 0,
                filled_at: now,
            };
            bucket.level = bucket.full();
            Some(bucket)
        }
        (_, None) => None,
    };
}

impl Bucket {
    fn full(&self) -> i128 {
        i128::from(self.limit.burst) * TOKEN
    }

    /// Adds what came since the last time. Threads that share a bucket may come with a `now` that is a little
    /// older.
    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled_at).as_nanos();
        let came = i128::try_from(since)
            .unwrap_or(i128::MAX)
            .saturating_mul(i128::from(self.limit.per_second));
        self.level = self.level.saturating_add(came).min(self.full());
        self.filled_at = self.filled_at.max(now);
    }

    /// How long until there is a whole token, which is all that a request waits for: one that is larger than the
    /// burst passes, too. Who shares a bucket takes what is there in no order.
    fn wait(&self) -> Duration {
        let missing = u128::try_from(TOKEN - self.level).unwrap_or(0);
        let nanos = missing.div_ceil(u128::from(self.limit.per_second));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
