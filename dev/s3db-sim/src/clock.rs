//! Virtual time. Tokio's paused clock moves to the next timer when nothing else can run.

use std::time::Duration;

use s3db::store::clock::{Clock, Sleep};
use tokio::time::Instant;

/// When every simulation begins, in milliseconds since 1970.
const BEGIN_MS: i64 = 1_795_000_000_000;

/// The clock of one machine: right in its pace, wrong by an offset.
#[derive(Debug)]
pub(crate) struct SimClock {
    begun: Instant,
    ahead_ms: i64,
}

impl SimClock {
    /// A clock that is ahead of the true time by so much.
    pub(crate) fn new(begun: Instant, ahead_ms: i64) -> Self {
        Self { begun, ahead_ms }
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        BEGIN_MS + self.ahead_ms + i64::try_from(self.begun.elapsed().as_millis()).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock of the simulation")]
    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}
