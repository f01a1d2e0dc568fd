//! Time as a component, so that tests and simulations decide what time it is.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A future that ends when a pause is over.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The wall clock, a clock that never goes back, and pauses.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;
    /// Time since some fixed point, never decreasing.
    fn monotonic(&self) -> Duration;
    /// A pause.
    fn sleep(&self, pause: Duration) -> Sleep<'_>;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the component that the rest takes its time from")]
impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// A clock that moves only when told to; its pauses advance it and end at once.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at this instant.
    pub fn at(ms: i64) -> Self {
        Self(AtomicI64::new(ms))
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or(0))
    }

    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        self.advance(pause);
        Box::pin(std::future::ready(()))
    }
}
