//! What a process counts of its jobs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::SchedulerPlugin;
use super::status::RunStatus;

/// Latenesses that are kept for percentiles.
const KEPT: usize = 4_096;
/// Different jobs that are counted by name.
const MOST: usize = 10_000;

/// What this process has counted since it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// By job and status, how often.
    pub runs: Vec<RunCount>,
    /// Runs that this process has now.
    pub running: usize,
    /// How late the runs of the schedule began, in milliseconds: the median of the last four thousand.
    pub lateness_p50_ms: u64,
    /// The 99th of a hundred.
    pub lateness_p99_ms: u64,
    /// When each job last succeeded here, in milliseconds since 1970.
    pub last_success_ms: BTreeMap<String, i64>,
    /// Looks at the store for what others have changed.
    pub polls: u64,
    /// Looks that failed.
    pub failed_polls: u64,
    /// When the last look succeeded, in milliseconds since 1970.
    pub last_poll_ms: i64,
}

/// How often runs of a job ended how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunCount {
    /// The job.
    pub job: String,
    /// How they ended, `skipped` and `missed` too.
    pub status: RunStatus,
    /// How often.
    pub count: u64,
    /// Milliseconds of all of them.
    pub duration: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    runs: BTreeMap<(String, &'static str), (RunStatus, u64, u64)>,
    lateness: Vec<u64>,
    next: usize,
    last_success: BTreeMap<String, i64>,
    polls: u64,
    failed_polls: u64,
    last_poll_ms: i64,
}

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ended(&self, job: &str, status: RunStatus, duration_ms: i64, end_ms: i64) {
        let mut counts = self.lock();
        counts.add(job, status, 1, u64::try_from(duration_ms).unwrap_or_default());
        if status == RunStatus::Success && (counts.last_success.contains_key(job) || counts.last_success.len() < MOST) {
            counts.last_success.insert(job.to_owned(), end_ms);
        }
    }

    pub(super) fn noted(&self, job: &str, status: RunStatus, count: u64) {
        self.lock().add(job, status, count, 0);
    }

    pub(super) fn started(&self, late_ms: i64) {
        let mut counts = self.lock();
        let late = u64::try_from(late_ms).unwrap_or_default();
        if counts.lateness.len() < KEPT {
            counts.lateness.push(late);
            return;
        }
        let at = counts.next % KEPT;
        counts.next += 1;
        if let Some(slot) = counts.lateness.get_mut(at) {
            *slot = late;
        }
    }

    pub(super) fn polled(&self, succeeded: bool, now_ms: i64) {
        let mut counts = self.lock();
        counts.polls += 1;
        match succeeded {
            true => counts.last_poll_ms = now_ms,
            false => counts.failed_polls += 1,
        }
    }
}

impl Counts {
    fn add(&mut self, job: &str, status: RunStatus, count: u64, duration: u64) {
        let key = (job.to_owned(), status.as_str());
        let known = self.runs.contains_key(&key) || self.runs.len() < MOST;
        let key = if known { key } else { ("other".to_owned(), status.as_str()) };
        let entry = self.runs.entry(key).or_insert((status, 0, 0));
        entry.1 += count;
        entry.2 += duration;
    }
}

/// A percentile of sorted values by the nearest rank; 0 for none.
pub(super) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl SchedulerPlugin {
    /// What this process has counted since it connected. Costs nothing.
    pub fn metrics(&self) -> Metrics {
        let running = self.core.locals.running().len();
        let counts = self.core.metrics.lock();
        let mut lateness = counts.lateness.clone();
        lateness.sort_unstable();
        let runs = counts.runs.iter().map(|((job, _), (status, count, duration))| RunCount {
            job: job.clone(),
            status: *status,
            count: *count,
            duration: *duration,
        });
        Metrics {
            runs: runs.collect(),
            running,
            lateness_p50_ms: percentile(&lateness, 50),
            lateness_p99_ms: percentile(&lateness, 99),
            last_success_ms: counts.last_success.clone(),
            polls: counts.polls,
            failed_polls: counts.failed_polls,
            last_poll_ms: counts.last_poll_ms,
        }
    }
}
