//! Numbers about backups: what this process did, and how old the last good one is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::Serialize;

use super::BackupPlugin;
use super::list::ListOptions;
use super::report::BackupReport;
use super::rows::BackupStatus;
use super::verify::VerifyLevel;
use crate::error::Result;

/// Numbers about backups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Backups of this process, by what became of them.
    pub backups: BTreeMap<&'static str, u64>,
    /// Restores of this process.
    pub restores: u64,
    /// Backups that stand at the destinations.
    pub kept: u64,
    /// Milliseconds since the last backup that is complete began; absent where there is none.
    pub last_success_age: Option<i64>,
    /// Milliseconds that it took.
    pub last_duration: Option<u64>,
    /// Milliseconds since the last verification that found a backup whole.
    pub last_verification_age: Option<i64>,
    /// Milliseconds since the last drill that succeeded, in this process.
    pub last_drill_age: Option<i64>,
    /// Bytes that are stored, by destination.
    pub stored: BTreeMap<String, u64>,
}

/// What this process counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    completed: AtomicU64,
    partial: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    restores: AtomicU64,
    verified_at: AtomicI64,
    drilled_at: AtomicI64,
}

impl Counters {
    pub(super) fn backed_up(&self, report: &BackupReport) {
        let counter = match report.status {
            BackupStatus::Completed => &self.completed,
            BackupStatus::Partial => &self.partial,
            BackupStatus::Cancelled => &self.cancelled,
            BackupStatus::Failed | BackupStatus::InProgress => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn restored(&self) {
        self.restores.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn verified(&self, level: VerifyLevel, valid: bool, now_ms: i64) {
        if valid && level != VerifyLevel::Quick {
            self.verified_at.store(now_ms, Ordering::Relaxed);
        }
        if valid && level == VerifyLevel::Drill {
            self.drilled_at.store(now_ms, Ordering::Relaxed);
        }
    }
}

impl BackupPlugin {
    /// Numbers for monitoring. Costs what [`BackupPlugin::list_backups`] costs.
    ///
    /// # Errors
    /// As [`BackupPlugin::list_backups`].
    pub async fn metrics(&self) -> Result<Metrics> {
        let core = &self.core;
        let now_ms = core.db()?.inner.store.now_ms();
        let counters = &core.metrics;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut metrics = Metrics {
            backups: BTreeMap::from([
                ("completed", read(&counters.completed)),
                ("partial", read(&counters.partial)),
                ("failed", read(&counters.failed)),
                ("cancelled", read(&counters.cancelled)),
            ]),
            restores: read(&counters.restores),
            ..Metrics::default()
        };
        let instant = |text: &String| s3db_format::date::instant(text);
        let age = |at: i64| Some(at).filter(|at| *at > 0).map(|at| (now_ms - at).max(0));
        let mut verified_at = counters.verified_at.load(Ordering::Relaxed);
        for backup in self.list_backups(&ListOptions::default()).await? {
            if !matches!(backup.status, BackupStatus::Completed | BackupStatus::Partial) {
                continue;
            }
            metrics.kept += 1;
            verified_at = verified_at.max(backup.verified_at.as_ref().and_then(instant).unwrap_or_default());
            if metrics.last_success_age.is_none() {
                metrics.last_success_age = instant(&backup.started_at).and_then(age);
                metrics.last_duration = backup.duration;
            }
            for place in backup.destinations.iter().filter(|place| place.status == "completed") {
                *metrics.stored.entry(place.location.clone()).or_default() += place.size;
            }
        }
        metrics.last_verification_age = age(verified_at);
        metrics.last_drill_age = age(counters.drilled_at.load(Ordering::Relaxed));
        Ok(metrics)
    }
}
