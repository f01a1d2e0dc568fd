//! A run from its claim to its row.
//!
//! Requests: the row, `If-None-Match: *`; a PUT of the job's record for each heartbeat, every ten seconds. A crash leaves a
//! run in the record whose heartbeat stands still: whoever watches it for thirty seconds ends it or takes it over.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use serde_json::Value;
use tokio::sync::watch;

use super::attempt::{self, AttemptEnd};
use super::context::{Cancellation, JobCall, JobContext};
use super::definition::Compiled;
use super::local::{Ask, Demand};
use super::record::{Open, Outcome};
use super::rows::{Attempt, Ended, bounded};
use super::status::RunStatus;
use super::{Core, SchedulerPlugin};
use crate::entropy::below;

/// How long what is done after a failure may take, where nothing says so.
const ON_FAILURE: Duration = Duration::from_secs(60);
/// Pauses before a row is written again.
const ROW_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_ROW_PAUSE: Duration = Duration::from_secs(10);

/// How a run of this process ended.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) run: String,
    pub(super) ended: Ended,
    /// What its row says where another process has ended it: nothing where the row is ours.
    pub(super) instead: Option<RunStatus>,
}

impl Core {
    /// Begins a run that the record holds. Its end is told by the task.
    pub(super) fn begin(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        open: Open,
        last_success_ms: Option<i64>,
        claimed: Duration,
    ) -> tokio::task::JoinHandle<Option<Finished>> {
        let asked = self.locals.begin(&job.definition.name, &open);
        let (core, job) = (Arc::clone(self), Arc::clone(job));
        let beating = tokio::spawn(Arc::clone(self).keep_beating(job.definition.name.clone(), open.clone(), claimed));
        tokio::spawn(async move {
            let _stops_with_us = StopOnDrop(beating);
            core.drive(&job, &open, last_success_ms, asked).await
        })
    }

    async fn drive(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        open: &Open,
        last_success_ms: Option<i64>,
        asked: watch::Receiver<Demand>,
    ) -> Option<Finished> {
        let name = job.definition.name.clone();
        if open.has_row
            && let Some(found) = self.ensure_row(&name, open).await
        {
            self.locals.forget(open);
            let outcome = Outcome { status: found, start_ms: open.started_ms, end_ms: open.started_ms };
            let reason = Some("another process has ended it or taken it over".to_owned());
            let ended = Ended { outcome, result: Value::Null, error: None, reason, attempts: Vec::new() };
            return Some(Finished { run: open.run.clone(), ended, instead: Some(found) });
        }
        let ended = self.attempts(job, open, last_success_ms, &asked).await;
        if asked.borrow().leave && ended.outcome.status == RunStatus::Interrupted {
            // At least once: whoever takes it over begins it again.
            self.locals.forget(open);
            return None;
        }
        let instead = self.end(&name, open, &ended).await;
        if instead == Some(RunStatus::Running) {
            // Another process has taken it over, and ends it.
            self.locals.forget(open);
            return Some(Finished { run: open.run.clone(), ended, instead });
        }
        let outcome = match &instead {
            Some(status) => Outcome { status: *status, ..ended.outcome.clone() },
            None => ended.outcome.clone(),
        };
        self.metrics.ended(&name, outcome.status, ended.outcome.end_ms - ended.outcome.start_ms, ended.outcome.end_ms);
        self.locals.ended(open, outcome);
        self.wake(&name);
        self.prune_sometimes(&name).await;
        Some(Finished { run: open.run.clone(), ended, instead })
    }

    /// Makes sure of the row that says that a run is under way. `Some` is what stands there instead.
    async fn ensure_row(&self, name: &str, open: &Open) -> Option<RunStatus> {
        let mut pause = ROW_PAUSE;
        loop {
            match self.begin_row(name, open).await {
                Ok(found) => return found.map(|row| row.status),
                Err(error) => {
                    tracing::warn!(target: "s3db::scheduler", %error, "the row of run {} is not written yet", open.run);
                }
            }
            let db = self.db().ok()?;
            db.inner.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_ROW_PAUSE);
        }
    }

    /// All attempts, and what is done after the last one has failed.
    async fn attempts(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        open: &Open,
        last_success_ms: Option<i64>,
        asked: &watch::Receiver<Demand>,
    ) -> Ended {
        let start_ms = self.now_ms();
        let mut attempts = Vec::new();
        let mut context = self.context(job, open, last_success_ms);
        self.tell_start(&context);
        loop {
            let (begun_ms, begun) = (self.now_ms(), self.monotonic());
            context.attempt = u32::try_from(attempts.len() + 1).unwrap_or(u32::MAX);
            context.started_at = s3db_format::date::rfc3339(begun_ms);
            let end = self.attempt(job, &context, asked).await;
            let took = self.monotonic().saturating_sub(begun);
            let error = end.returned.as_ref().err().cloned();
            attempts.push(Attempt {
                attempt: context.attempt,
                start_time: context.started_at.clone(),
                duration: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                status: end.status,
                error: error.clone(),
            });
            if let Some(error) = &error {
                self.tell_error(&context, error, context.attempt);
            }
            let may_retry =
                matches!(end.status, RunStatus::Error | RunStatus::Timeout) && context.attempt <= job.retries;
            if may_retry && self.pause(job, context.attempt, asked).await {
                continue;
            }
            return self.conclude(job, &context, start_ms, attempts, end, asked).await;
        }
    }

    async fn conclude(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        context: &JobContext,
        start_ms: i64,
        attempts: Vec<Attempt>,
        end: AttemptEnd,
        asked: &watch::Receiver<Demand>,
    ) -> Ended {
        let demand = asked.borrow().clone();
        let mut status = end.status;
        // One that is asked to end while it waits for its next attempt ends as that.
        if status != RunStatus::Success && demand.ask != Ask::Nothing {
            status = demand.status;
        }
        let error = end.returned.as_ref().err().cloned();
        let mut complaint = None;
        if let (Some(error), RunStatus::Error | RunStatus::Timeout) = (&error, status) {
            complaint = self.after_failure(job, context, error, asked).await;
        }
        let outcome = Outcome { status, start_ms, end_ms: self.now_ms().max(start_ms) };
        if let Ok(result) = &end.returned {
            let took = u64::try_from(outcome.end_ms - start_ms).unwrap_or_default();
            self.tell_complete(context, result, Duration::from_millis(took));
        }
        let reason = (demand.ask != Ask::Nothing && status == demand.status).then_some(demand.reason).or(complaint);
        Ended { outcome, result: bounded(&end.returned.unwrap_or_default()), error, reason, attempts }
    }

    /// Does what the job wants done after its last attempt has failed; why that failed, too.
    async fn after_failure(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        context: &JobContext,
        error: &str,
        asked: &watch::Receiver<Demand>,
    ) -> Option<String> {
        job.on_failure.as_ref()?;
        let db = self.db().ok()?;
        let clock = Arc::clone(&db.inner.clock);
        let situation = context.situation(self.now_ms(), Some(error));
        let (job, folder, handle) = (Arc::clone(job), self.folder.clone(), db.limited(job.definition.allow.as_ref()));
        let own = job.on_failure.as_ref().and_then(|action| action.timeout());
        let limit = own.or(job.timeout).unwrap_or(ON_FAILURE);
        let work = async move {
            match &job.on_failure {
                Some(action) => action.run(&handle, folder.as_deref(), &situation).await,
                None => Ok(Value::Null),
            }
        };
        let (cancel, _cancelled) = watch::channel(false);
        let end = attempt::run(&*clock, Some(limit), asked.clone(), &cancel, Duration::ZERO, work).await;
        let why = format!("onFailure failed: {}", end.returned.err()?);
        tracing::error!(target: "s3db::scheduler", "job '{}': {why}", context.job_name);
        Some(why)
    }

    async fn attempt(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        context: &JobContext,
        asked: &watch::Receiver<Demand>,
    ) -> AttemptEnd {
        let failed = |why: String| AttemptEnd { status: RunStatus::Error, returned: Err(why) };
        let Ok(db) = self.db() else { return failed("the scheduler is not set up".into()) };
        let clock = Arc::clone(&db.inner.clock);
        let (cancel, cancelled) = watch::channel(false);
        let handle = db.limited(job.definition.allow.as_ref());
        let own = job.action.as_ref().and_then(|action| action.timeout());
        let timeout = match (job.timeout, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if job.action.is_some() {
            let (job, folder) = (Arc::clone(job), self.folder.clone());
            let situation = context.situation(self.now_ms(), None);
            let work = async move {
                match &job.action {
                    Some(action) => action.run(&handle, folder.as_deref(), &situation).await,
                    None => Ok(Value::Null),
                }
            };
            return attempt::run(&*clock, timeout, asked.clone(), &cancel, Duration::ZERO, work).await;
        }
        let Some(function) = self.function(&context.job_name) else {
            return failed("its function is not registered in this process".into());
        };
        let call = JobCall {
            db: handle,
            context: context.clone(),
            scheduler: SchedulerPlugin { core: Arc::clone(self) },
            cancellation: Cancellation(cancelled),
        };
        let work = async move { function.call(call).await };
        attempt::run(&*clock, timeout, asked.clone(), &cancel, attempt::GRACE, work).await
    }

    fn context(&self, job: &Compiled, open: &Open, last_success_ms: Option<i64>) -> JobContext {
        JobContext {
            job_name: job.definition.name.clone(),
            run_id: open.run.clone(),
            scheduled_time: open.planned_ms.map(s3db_format::date::rfc3339),
            started_at: s3db_format::date::rfc3339(self.now_ms()),
            attempt: 1,
            last_success: last_success_ms.map(s3db_format::date::rfc3339),
            context: open.context.clone(),
            meta: job.definition.meta.clone(),
        }
    }

    /// Waits before the next attempt; `false` if the run is asked to end meanwhile.
    async fn pause(&self, job: &Compiled, attempt: u32, asked: &watch::Receiver<Demand>) -> bool {
        let Ok(db) = self.db() else { return false };
        let backoff = job.definition.backoff;
        let longest = backoff.initial.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(backoff.max);
        // Half of it, and up to as much again.
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let pause = longest_ms / 2 + below(&*db.inner.entropy, longest_ms / 2 + 1);
        let mut asked = asked.clone();
        let pressed = async {
            if asked.wait_for(|demand| demand.ask != Ask::Nothing).await.is_err() {
                // Nobody can ask any more.
                std::future::pending::<()>().await;
            }
        };
        let pressed = std::pin::pin!(pressed);
        matches!(select(pressed, db.inner.clock.sleep(Duration::from_millis(pause))).await, Either::Right(_))
    }

    /// Writes a run's end, as often as it takes. `Some` is what another process has written in its place.
    async fn end(self: &Arc<Self>, name: &str, open: &Open, ended: &Ended) -> Option<RunStatus> {
        let mut pause = ROW_PAUSE;
        loop {
            let written = match open.unlogged {
                true => self.settle_now(name, open, &ended.outcome).await.map(|()| None),
                false => self.end_row(name, open, ended).await,
            };
            match written {
                Ok(None) => return None,
                Ok(Some(found)) => {
                    tracing::warn!(target: "s3db::scheduler", "run {} ended here as '{}', but its row says '{}'", open.run, ended.outcome.status, found.status);
                    return Some(found.status);
                }
                Err(error) if error.is_transient_for_rows() => {
                    tracing::warn!(target: "s3db::scheduler", %error, "the row of run {} is not written yet", open.run);
                }
                Err(error) => {
                    tracing::error!(target: "s3db::scheduler", %error, "the row of run {} cannot be written; it is tried again", open.run);
                }
            }
            let Ok(db) = self.db() else { return None };
            db.inner.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_ROW_PAUSE);
        }
    }

    /// Takes a run out of its record at once: there is no row that says that it ended.
    pub(super) async fn settle_now(&self, name: &str, open: &Open, outcome: &Outcome) -> crate::Result<()> {
        let cell = self.cell(name);
        let mut cell = cell.lock().await;
        self.change(name, &mut cell, |record| {
            let Some(mut record) = record.cloned() else { return Ok(None) };
            let Some(at) = record.open.iter().position(|o| o.run == open.run && o.fence == open.fence) else {
                return Ok(None);
            };
            let found = record.open.remove(at);
            record.settle(&found, outcome);
            Ok(Some((record, ())))
        })
        .await?;
        Ok(())
    }
}

impl crate::Error {
    /// Whether the store may take the row later.
    fn is_transient_for_rows(&self) -> bool {
        self.is_retryable() || self.is_applied_unknown() || self.kind() == crate::ErrorKind::Unavailable
    }
}

/// Stops a task when it is dropped.
struct StopOnDrop(tokio::task::JoinHandle<()>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
