//! A bound on the bytes that a backup or restore moves in a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s3db_store::clock::Clock;

/// Lets bytes pass at a rate.
#[derive(Debug)]
pub(super) struct Limiter {
    clock: Arc<dyn Clock>,
    per_second: u64,
    /// When what was let through so far will have passed.
    free_at: Mutex<Duration>,
}

impl Limiter {
    pub(super) fn new(clock: Arc<dyn Clock>, per_second: u64) -> Self {
        Self { clock, per_second: per_second.max(1), free_at: Mutex::default() }
    }

    /// Waits until so many bytes may pass.
    pub(super) async fn pass(&self, bytes: u64) {
        let needed = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.per_second);
        let now = self.clock.monotonic();
        let wait = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*free_at).max(now);
            *free_at = begins + needed;
            begins.saturating_sub(now)
        };
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3db_store::clock::ManualClock;

    #[tokio::test]
    async fn ten_megabytes_at_one_a_second_take_nine_seconds_and_the_last_one_follows() {
        let clock = Arc::new(ManualClock::at(0));
        let limiter = Limiter::new(Arc::<ManualClock>::clone(&clock), 1 << 20);
        for _ in 0..10 {
            limiter.pass(1 << 20).await;
        }
        assert_eq!(clock.monotonic().as_secs(), 9);
    }
}
