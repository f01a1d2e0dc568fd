//! How far a long piece of work is, for events, rows and terminals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s3db_store::clock::Clock;

use super::events::Progress;

/// Events of progress come no faster than this.
const PAUSE: Duration = Duration::from_millis(200);

/// What is told of progress.
pub(super) type Told<'a> = &'a (dyn Fn(&Progress) + Send + Sync);

/// The progress of one piece of work.
pub(super) struct Tracker<'a> {
    clock: Arc<dyn Clock>,
    begun: Duration,
    phase: Mutex<&'static str>,
    pub(super) objects: AtomicU64,
    pub(super) bytes: AtomicU64,
    total: AtomicU64,
    told: Mutex<Option<Duration>>,
    tell: Told<'a>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(clock: Arc<dyn Clock>, tell: Told<'a>) -> Self {
        Self {
            begun: clock.monotonic(),
            clock,
            phase: Mutex::new("starting"),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(0),
            told: Mutex::default(),
            tell,
        }
    }

    /// How many objects there are likely to be.
    pub(super) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Begins a phase; objects are counted anew.
    pub(super) fn phase(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.objects.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.tell_now();
    }

    pub(super) fn add(&self, objects: u64, bytes: u64) {
        self.objects.fetch_add(objects, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let now = self.clock.monotonic();
        let due =
            self.told.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| now.saturating_sub(at) >= PAUSE);
        if due {
            self.tell_now();
        }
    }

    fn tell_now(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.monotonic());
        (self.tell)(&self.now());
    }

    pub(super) fn now(&self) -> Progress {
        let (objects, bytes) = (self.objects.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0).map(|total| total.max(objects));
        let elapsed = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let left = |total: u64| (objects > 0).then(|| elapsed.saturating_mul(total - objects) / objects);
        let phase = (*self.phase.lock().unwrap_or_else(PoisonError::into_inner)).to_owned();
        Progress { phase, objects, bytes, total, eta: total.and_then(left) }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.begun)
    }
}
