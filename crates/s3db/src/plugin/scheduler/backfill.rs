//! Backfill: instants that were missed or skipped are run after all, one after the other.
//!
//! Requests for each: GET of its row; GET and PUT of the record, the claim; the row that says that it runs; its end. The row
//! of several missed instants is cut in two before the first of them runs, so that the others are not forgotten. A crash
//! leaves a run that others end as interrupted.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::manual::{LOOK, finished};
use super::record::{JobRecord, Note, Open, Trigger, run_id};
use super::rows::{HistoryRow, note_row, swap_row};
use super::run::Finished;
use super::status::RunStatus;
use super::{Core, SchedulerPlugin};
use crate::error::{Error, ErrorKind, Result};

/// Instants of one backfill at most.
const MOST: u64 = 10_000;

/// What became of a backfill.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackfillReport {
    /// The job.
    pub job_name: String,
    /// Planned instants in the range.
    pub instants: u64,
    /// Those that had run before.
    pub had_run: u64,
    /// Those that ran now and succeeded.
    pub success: u64,
    /// Those that ran now and did not.
    pub failed: u64,
    /// The first error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl SchedulerPlugin {
    /// Runs the planned instants of a job from one instant to another, both included, that have not run: in order, one
    /// after the other. Instants that have run are left as they are. Goes on after a crash when called again.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a range that ends in the future, before it begins, begins before what the history keeps, or
    /// holds more than 10,000 instants;
    /// `Unsupported` without a history.
    pub async fn backfill(&self, name: &str, from_ms: i64, to_ms: i64) -> Result<BackfillReport> {
        // The future is large, and callers' futures hold it.
        Box::pin(self.core.backfill(name, from_ms, to_ms)).await
    }
}

impl Core {
    async fn backfill(self: &Arc<Self>, name: &str, from_ms: i64, to_ms: i64) -> Result<BackfillReport> {
        let record = self.known_record(name).await?;
        let job = self.runnable(&record)?;
        let invalid = |message: String, guidance: &str| Err(Error::new(ErrorKind::Invalid, message).guide(guidance));
        if !self.settings.persist_jobs {
            return Err(Error::new(ErrorKind::Unsupported, "a backfill needs the history, and persistJobs is false")
                .guide("set it to true"));
        }
        if from_ms > to_ms {
            return invalid("the range ends before it begins".into(), "give FROM before TO");
        }
        if to_ms > self.now_ms() {
            return invalid("the range ends in the future".into(), "instants that are not due yet run by themselves");
        }
        if from_ms < self.now_ms() - super::rows::ms(self.settings.keep_age) {
            return invalid(
                "the range begins before what the history keeps: what has run then is not known".into(),
                "begin it later, or keep the history longer (historyRetention)",
            );
        }
        let instants = job.cron.count_between(from_ms - 1, to_ms);
        if instants > MOST {
            return invalid(
                format!("the range holds {instants} instants, at most {MOST} are run at once"),
                "give a shorter one",
            );
        }
        let mut report = BackfillReport { job_name: name.to_owned(), instants, ..BackfillReport::default() };
        self.carve(name, from_ms).await?;
        for planned_ms in job.cron.iter_after(from_ms - 1).take_while(|ms| *ms <= to_ms) {
            match self.run_instant(name, planned_ms).await? {
                None => report.had_run += 1,
                Some(finished) if finished.ended.outcome.status == RunStatus::Success => report.success += 1,
                Some(finished) => {
                    report.failed += 1;
                    report.error = report.error.or(finished.ended.error).or(finished.ended.reason);
                }
            }
        }
        Ok(report)
    }

    /// Cuts the row of several missed instants that begins before one, so that a row begins with it.
    async fn carve(&self, name: &str, at_ms: i64) -> Result<()> {
        let Some(history) = self.history().await? else { return Ok(()) };
        let rows = self.row_keys(&history, name).await?;
        let Some((_, id)) = rows.into_iter().find(|(time, id)| *time <= at_ms && !id.contains("_m_")) else {
            return Ok(());
        };
        let Some(row) = self.find_row(&id).await?.filter(|row| row.count > 1) else { return Ok(()) };
        self.cut(name, &row, at_ms).await
    }

    /// Cuts a row in two: what lies before an instant, and the rest. The rest goes first; a crash counts it twice until the
    /// next backfill.
    async fn cut(&self, name: &str, row: &HistoryRow, at_ms: i64) -> Result<()> {
        let record = self.known_record(name).await?;
        let (_, cron) = super::view::read(&record)?;
        let last_ms = row.last_time.as_deref().and_then(s3db_format::date::instant).unwrap_or(row.start_ms);
        let Some(first_ms) = cron.next_after(at_ms - 1).filter(|ms| *ms <= last_ms && *ms > row.start_ms) else {
            return Ok(());
        };
        let rest = Note {
            status: row.status,
            reason: row.reason.clone().unwrap_or_default(),
            count: cron.count_between(first_ms - 1, last_ms),
            first_ms,
            last_ms,
        };
        let open = |first_ms: i64| Open { trigger: Trigger::Schedule, ..self.backfilled(&record, name, first_ms) };
        // It may be there from a cut that a crash has broken off.
        let there = self.put_row(&note_row(name, &open(first_ms), &rest)).await?;
        if there.is_some_and(|found| found.status != row.status) {
            return Ok(());
        }
        let history = self.history_to_write().await?;
        let Some(before) = history.snapshot(&row.run_id).await? else { return Ok(()) };
        let left = Note {
            count: row.count.saturating_sub(rest.count).max(1),
            first_ms: row.start_ms,
            last_ms: cron.last_until(first_ms - 1).unwrap_or(row.start_ms),
            ..rest
        };
        // Where it was changed meanwhile, the row stays as it is.
        let _cut = swap_row(&history, &before, note_row(name, &open(row.start_ms), &left)).await?;
        Ok(())
    }

    fn backfilled(&self, record: &JobRecord, name: &str, planned_ms: i64) -> Open {
        let now_ms = self.now_ms();
        Open {
            run: run_id(name, planned_ms),
            trigger: Trigger::Backfill,
            planned_ms: Some(planned_ms),
            owner: self.owner().to_owned(),
            fence: record.fence + 1,
            started_ms: now_ms,
            beat: 0,
            beat_ms: now_ms,
            takeovers: 0,
            has_row: true,
            unlogged: false,
            cancel_requested: false,
            terminate_requested: false,
            context: json!({ "backfill": true }),
            note: None,
        }
    }

    /// Runs one instant; `None` if it has run, or its fate is not decided yet.
    async fn run_instant(self: &Arc<Self>, name: &str, planned_ms: i64) -> Result<Option<Finished>> {
        let run = run_id(name, planned_ms);
        let row = self.find_row(&run).await?;
        let replaces = row.as_ref().map(|row| row.status);
        match row {
            Some(row) if row.status.is_of_a_run() => return Ok(None),
            Some(row) if row.count > 1 => self.cut(name, &row, planned_ms + 1).await?,
            _ => {}
        }
        loop {
            let cell = self.cell(name);
            let mut cell = cell.lock().await;
            cell.seen = None;
            let record = self.known_record_in(name, &mut cell).await?;
            let job = self.runnable(&record)?;
            if record.open.iter().any(|open| open.run == run && open.is_run()) || planned_ms > record.decided_ms() {
                return Ok(None);
            }
            if self.is_busy(&job, &record, &mut cell).await? {
                drop(cell);
                self.db()?.inner.clock.sleep(LOOK).await;
                continue;
            }
            let open = self.backfilled(&record, name, planned_ms);
            if let Some(done) = self.claim(&job, &record, open, replaces, &mut cell).await? {
                drop(cell);
                return finished(name, done.await).map(Some);
            }
        }
    }
}
