//! Running a job now.
//!
//! Requests: GET of the record; GET of the row of the run before, where one is open; PUT of the record; the row.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::cell::Cell;
use super::decide::{State, note_outcome};
use super::definition::{Compiled, Overlap};
use super::local::Here;
use super::record::{JobRecord, MOST_OPEN, Open, Trigger, manual_id};
use super::rows::Attempt;
use super::run::Finished;
use super::status::RunStatus;
use super::{Core, SchedulerPlugin};
use crate::error::{Error, ErrorKind, Result};

/// Looks while another run is waited for.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Bytes of a context.
const CONTEXT_BYTES: usize = 1024 * 1024;

/// How a job is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Do not wait for a run that is under way.
    pub force: bool,
}

/// What became of a manual run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The run.
    pub run_id: String,
    /// The job.
    pub job_name: String,
    /// What became of it.
    pub status: RunStatus,
    /// What it returned.
    pub result: Value,
    /// Milliseconds.
    pub duration: u64,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it was interrupted or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each attempt.
    pub attempts: Vec<Attempt>,
}

impl SchedulerPlugin {
    /// Runs a job now, also one that is switched off, and waits for its end. It counts as a run like any other: it waits
    /// for one that is under way, unless the job's overlap is `allow_all`.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` if its function is not registered here, or the database is paused; `Invalid` for a
    /// context that is no object or larger than 1 MiB. A run that fails is no error: its status says so.
    pub async fn run_job(&self, name: &str, context: Value) -> Result<RunReport> {
        self.run_job_with(name, context, RunOptions::default()).await
    }

    /// As [`SchedulerPlugin::run_job`], with options.
    ///
    /// # Errors
    /// As [`SchedulerPlugin::run_job`].
    pub async fn run_job_with(&self, name: &str, context: Value, options: RunOptions) -> Result<RunReport> {
        // The future is large, and callers' futures hold it.
        Box::pin(self.core.run_now(name, check_context(context)?, options)).await
    }
}

fn check_context(context: Value) -> Result<Value> {
    if !(context.is_null() || context.is_object()) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the context of a run is a JSON object, this is {context}"),
        )
        .guide("nothing was run"));
    }
    let bytes = context.to_string().len();
    if bytes > CONTEXT_BYTES {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the context has {bytes} bytes, at most {CONTEXT_BYTES} are allowed"),
        )
        .guide("put the data into a record, and its id into the context"));
    }
    Ok(context)
}

impl Core {
    async fn run_now(self: &Arc<Self>, name: &str, context: Value, options: RunOptions) -> Result<RunReport> {
        let db = self.db()?;
        db.inner.revalidate_catalog().await?;
        if db.inner.is_paused() {
            return Err(Error::new(ErrorKind::Unsupported, "the database is paused: no job runs")
                .guide("`s3db resume` lets jobs go on"));
        }
        if self.settings.persist_jobs {
            // What cannot have a row does not run.
            self.history_to_write().await?;
        }
        loop {
            let cell = self.cell(name);
            let mut cell = cell.lock().await;
            cell.seen = None;
            let record = self.known_record_in(name, &mut cell).await?;
            let job = self.runnable(&record)?;
            let busy = self.is_busy(&job, &record, &mut cell).await?;
            if record.open.len() < MOST_OPEN && (!busy || options.force || job.definition.overlap == Overlap::AllowAll)
            {
                let open = self.manual(name, &record, &context);
                if let Some(done) = self.claim(&job, &record, open, None, &mut cell).await? {
                    drop(cell);
                    return report(name, done.await);
                }
                continue;
            }
            drop(cell);
            db.inner.clock.sleep(LOOK).await;
        }
    }

    pub(super) async fn known_record_in(&self, name: &str, cell: &mut Cell) -> Result<JobRecord> {
        s3db_format::keys::check_name("job", name)?;
        self.refresh(name, cell).await?;
        match &cell.seen {
            Some(seen) if !seen.record.removed => Ok(seen.record.clone()),
            _ => Err(self.no_job(name).await),
        }
    }

    /// The job, if this process can run it.
    pub(super) fn runnable(&self, record: &JobRecord) -> Result<Arc<Compiled>> {
        let name = &record.name;
        let Some(job) = self.compiled(record) else {
            let definition = super::JobDefinition::from_json(name, &record.definition)?;
            return self.standard.compile(definition).map(Arc::new);
        };
        if job.action.is_none() && self.function(name).is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the action of job '{name}' is a function that this process does not have"),
            )
            .guide("run it from a program that registers the function, or give the job an action of a built-in kind"));
        }
        if !self.may_start() {
            return Err(Error::new(ErrorKind::Unsupported, "this scheduler stops, or the database is paused")
                .guide("`s3db resume` lets jobs go on"));
        }
        Ok(job)
    }

    /// Whether a run is under way; ends those of dead processes.
    pub(super) async fn is_busy(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        record: &JobRecord,
        cell: &mut Cell,
    ) -> Result<bool> {
        for open in record.open.iter().filter(|open| open.is_run()) {
            match self.state(job, record, open, cell, true).await? {
                Some(State::Done(_)) => {}
                Some(_) | None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn manual(&self, name: &str, record: &JobRecord, context: &Value) -> Open {
        let ulid = self.db.get().map(|db| db.inner.ulid()).unwrap_or_default();
        let now_ms = self.now_ms();
        Open {
            run: manual_id(name, &ulid),
            trigger: Trigger::Manual,
            planned_ms: None,
            owner: self.owner().to_owned(),
            fence: record.fence + 1,
            started_ms: now_ms,
            beat: 0,
            beat_ms: now_ms,
            takeovers: 0,
            has_row: false,
            unlogged: !self.settings.persist_jobs,
            cancel_requested: false,
            terminate_requested: false,
            context: context.clone(),
            note: None,
        }
    }

    /// Puts a run into the record and begins it; `None` if somebody else wrote first.
    pub(super) async fn claim(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        record: &JobRecord,
        open: Open,
        replaces: Option<RunStatus>,
        cell: &mut Cell,
    ) -> Result<Option<tokio::task::JoinHandle<Option<Finished>>>> {
        let mut next = record.clone();
        next.fence = open.fence;
        self.settle_known(&mut next, cell).await?;
        match replaces {
            Some(RunStatus::Missed) => next.totals.missed = next.totals.missed.saturating_sub(1),
            Some(RunStatus::Skipped) => next.totals.skipped = next.totals.skipped.saturating_sub(1),
            _ => {}
        }
        next.open.push(open.clone());
        let sent = self.monotonic();
        let last_success = next.last_success_ms;
        if !self.write(&record.name, cell, next).await? {
            return Ok(None);
        }
        let sent = self.still_ours(&record.name, &open, Some(sent), cell).await?;
        Ok(sent.map(|sent| self.begin(job, open, last_success, sent)))
    }

    /// Takes in the ends that are known, and instants that did not run, whose rows are made sure of.
    async fn settle_known(&self, record: &mut JobRecord, cell: &mut Cell) -> Result<()> {
        let mut left = Vec::new();
        for open in std::mem::take(&mut record.open) {
            let outcome = match (open.is_run(), self.locals.look(&open)) {
                (false, _) => {
                    self.ensure_note(&record.name, &open, cell).await?;
                    Some(note_outcome(&open))
                }
                (true, Here::Ended(outcome)) => Some(outcome),
                (true, _) => cell.ended(&open.run),
            };
            match outcome {
                Some(outcome) => record.settle(&open, &outcome),
                None => left.push(open),
            }
        }
        record.open = left;
        Ok(())
    }
}

type Told = std::result::Result<Option<Finished>, tokio::task::JoinError>;

/// How a run that this process has begun ended.
pub(super) fn finished(name: &str, told: Told) -> Result<Finished> {
    let finished = told.map_err(|ended| Error::new(ErrorKind::Internal, format!("the run ended: {ended}")))?;
    finished.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            format!("job '{name}' was stopped while it ran, or lost touch with the store"),
        )
        .guide("its onDeath is retry: another process, or this one, begins it again")
    })
}

fn report(name: &str, told: Told) -> Result<RunReport> {
    let finished = finished(name, told)?;
    let ended = finished.ended;
    let took = ended.outcome.end_ms - ended.outcome.start_ms;
    Ok(RunReport {
        run_id: finished.run,
        job_name: name.to_owned(),
        status: finished.instead.unwrap_or(ended.outcome.status),
        result: ended.result,
        duration: u64::try_from(took).unwrap_or_default(),
        error: ended.error,
        reason: ended.reason,
        attempts: ended.attempts,
    })
}
