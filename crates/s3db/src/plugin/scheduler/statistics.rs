//! Statistics of a job: a recount of the rows that the history keeps.

use serde::Serialize;

use super::SchedulerPlugin;
use super::history::HistoryOptions;
use super::metrics::percentile;
use super::record::Totals;
use super::rows::HistoryRow;
use super::status::RunStatus;
use crate::error::Result;

/// Counted over the rows that the history keeps. Durations are milliseconds of runs that ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatistics {
    /// The job.
    pub job_name: String,
    /// Runs that ended.
    pub total: u64,
    /// Of them, those that succeeded.
    pub ok: u64,
    /// Of them, those that failed, were cancelled or interrupted.
    pub failed: u64,
    /// Of them, those that took too long.
    pub timeout: u64,
    /// Instants that were left out.
    pub skipped: u64,
    /// Instants that no process was there for.
    pub missed: u64,
    /// The mean duration.
    pub average: f64,
    /// The median.
    pub p50: u64,
    /// The 95th of a hundred.
    pub p95: u64,
    /// The 99th of a hundred.
    pub p99: u64,
    /// Runs in a row, back from the last one, that ended as it did: above zero successes, below it others.
    pub streak: i64,
}

impl SchedulerPlugin {
    /// Counts the rows of a job. Costs what [`SchedulerPlugin::get_job_history`] of all of them costs.
    /// [`super::JobStatus::statistics`] has the counts since the beginning for a request or two.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_job_statistics(&self, name: &str) -> Result<JobStatistics> {
        let options = HistoryOptions { limit: Some(usize::MAX), ..HistoryOptions::default() };
        Ok(count(name, &self.get_job_history(name, &options).await?.items))
    }
}

fn count(name: &str, rows: &[HistoryRow]) -> JobStatistics {
    let mut totals = Totals::default();
    for row in rows {
        totals.add(row.status, 0, row.count, None);
    }
    let runs: Vec<&HistoryRow> = rows.iter().filter(|row| row.status.is_of_a_run()).collect();
    let mut durations: Vec<u64> = runs.iter().map(|row| row.duration).collect();
    durations.sort_unstable();
    let succeeded = |row: &&&HistoryRow| row.status == RunStatus::Success;
    let first = runs.first().is_some_and(|row| row.status == RunStatus::Success);
    let same = runs.iter().take_while(|row| succeeded(row) == first).count();
    let streak = i64::try_from(same).unwrap_or(i64::MAX);
    JobStatistics {
        job_name: name.to_owned(),
        total: totals.runs(),
        ok: totals.success,
        failed: totals.error + totals.interrupted + totals.cancelled,
        timeout: totals.timeout,
        skipped: totals.skipped,
        missed: totals.missed,
        average: if durations.is_empty() { 0.0 } else { durations.iter().sum::<u64>() as f64 / durations.len() as f64 },
        p50: percentile(&durations, 50),
        p95: percentile(&durations, 95),
        p99: percentile(&durations, 99),
        streak: if first { streak } else { -streak },
    }
}
