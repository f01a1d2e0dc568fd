//! What every attempt of a request passes through, below any retry: it counts the attempts and
//! learns the store's time from the answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{Intercept, RuntimeComponents};
use aws_smithy_async::time::TimeSource;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::date_time::Format;

use crate::clock::Clock;

/// A difference between the two clocks that is worth a warning.
const REPORTED_MS: i64 = 5_000;
/// The grain of a `Date` header.
const GRAIN_MS: i64 = 1_000;

/// Counts attempts and keeps the store's time.
#[derive(Debug, Clone)]
pub(super) struct Wire(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    attempts: AtomicU64,
    /// What is to be added to the monotonic clock: at least and at most.
    offset: Mutex<Option<(i64, i64)>>,
    reported: AtomicBool,
}

/// When an attempt was sent, by the monotonic clock.
#[derive(Debug)]
struct SentAt(Duration);

impl Storable for SentAt {
    type Storer = StoreReplace<Self>;
}

impl Wire {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let reported = AtomicBool::new(false);
        Self(Arc::new(Shared { clock, attempts: AtomicU64::new(0), offset: Mutex::new(None), reported }))
    }

    /// HTTP requests that were sent.
    pub(super) fn attempts(&self) -> u64 {
        self.0.attempts.load(Ordering::Relaxed)
    }

    /// The store's time; this machine's until the first answer.
    pub(super) fn now_ms(&self) -> i64 {
        let learnt = *self.0.offset.lock().unwrap_or_else(PoisonError::into_inner);
        match learnt {
            Some((least, most)) => millis(self.0.clock.monotonic()) + i64::midpoint(least, most),
            None => self.0.clock.now_ms(),
        }
    }

    pub(super) async fn pause(&self, pause: Duration) {
        self.0.clock.sleep(pause).await;
    }

    /// How far this machine's clock is ahead of the store's, in milliseconds.
    pub(super) fn ahead_ms(&self) -> i64 {
        self.0.clock.now_ms() - self.now_ms()
    }

    /// Narrows what is known of the store's time by one answer.
    fn learn(&self, date_ms: i64, sent: Duration, received: Duration) {
        let seen = (date_ms - millis(received), date_ms + GRAIN_MS - millis(sent));
        let mut offset = self.0.offset.lock().unwrap_or_else(PoisonError::into_inner);
        *offset = Some(match *offset {
            Some((least, most)) if seen.0.max(least) <= seen.1.min(most) => (seen.0.max(least), seen.1.min(most)),
            // One of the clocks was set, or this is the first answer.
            _ => seen,
        });
        drop(offset);
        let ahead = self.ahead_ms();
        if ahead.abs() > REPORTED_MS && !self.0.reported.swap(true, Ordering::Relaxed) {
            let seconds = ahead as f64 / 1000.0;
            tracing::warn!("this machine's clock is {seconds:+.1} s off the store's; the store's time is used");
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "s3db"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        cfg.interceptor_state().store_put(SentAt(self.0.clock.monotonic()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let date_ms = date.and_then(|date| date.to_millis().ok());
        if let (Some(date_ms), Some(sent)) = (date_ms, cfg.load::<SentAt>()) {
            self.learn(date_ms, sent.0, self.0.clock.monotonic());
        }
        Ok(())
    }
}

/// Requests are signed by the store's time, so that a machine with a wrong clock gets in as soon as
/// it has seen one answer.
impl TimeSource for Wire {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn answers_narrow_the_stores_time_and_a_step_of_the_clock_starts_anew() {
        let wire = Wire::new(Arc::new(ManualClock::at(1_000_000)));
        assert_eq!(wire.now_ms(), 1_000_000);
        // The store's clock stands at 1,060,700 when this machine's says 1,000,000.
        wire.learn(1_060_000, Duration::from_millis(1_000_000), Duration::from_millis(1_000_100));
        assert!((wire.now_ms() - 1_060_450).abs() <= 1);
        wire.learn(1_060_000, Duration::from_millis(1_000_290), Duration::from_millis(1_000_299));
        wire.learn(1_061_000, Duration::from_millis(1_000_300), Duration::from_millis(1_000_310));
        assert!((wire.now_ms() - 1_060_700).abs() <= 10, "{}", wire.now_ms());
        assert!((wire.ahead_ms() + 60_700).abs() <= 10);
        wire.learn(1_000_000, Duration::from_millis(1_000_400), Duration::from_millis(1_000_410));
        assert!((wire.now_ms() - 1_000_095).abs() <= 500);
    }
}
