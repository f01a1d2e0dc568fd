//! `sweep`: what is due is done, whoever was to do it.
//!
//! Requests: one LIST of the due keys up to now, and for each of them a GET of its entity and what its timer
//! or its actions cost. Two sweeps at once do no harm: the entity's row decides who does what.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use s3db_format::keys::{self, Due};
use s3db_store::List;
use serde::Serialize;
use serde_json::Map;

use super::due::{self, OUTBOX, TIMER};
use super::engine::Trigger;
use super::entity::{Deadline, Entity};
use super::ids::Names;
use super::send::{Order, SendOptions};
use super::{Core, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};

/// How old a key is before it counts as left over by a write that came to nothing.
const LEFT_OVER_MS: i64 = 3_600_000;
/// Entities that are looked after side by side.
const TOGETHER: usize = 16;
/// Keys of one sweep at most; the next one goes on behind them.
const MOST_DUE: usize = 10_000;
/// Failures that a report names.
const TOLD: usize = 100;

/// What a sweep came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepReport {
    /// Whether nothing was done, because the database is paused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Keys that were due.
    pub due: usize,
    /// Timers that fired.
    pub fired: usize,
    /// Timers whose guards let nothing pass.
    pub blocked: usize,
    /// Transitions whose actions were taken over and run.
    pub finished: usize,
    /// Keys that are left to others: their actions are being run, this process lacks their functions, or the
    /// write that needs them may still be under way.
    pub waiting: usize,
    /// Keys of writes that came to nothing, removed when an hour old.
    pub removed: usize,
    /// Entities that could not be looked after; they stay due.
    pub failures: usize,
    /// Some of them.
    pub failed: Vec<SweepFailure>,
}

/// An entity that could not be looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepFailure {
    /// The machine.
    pub machine: String,
    /// The entity.
    pub entity: String,
    /// Why.
    pub error: String,
}

/// What became of one key.
enum Done {
    Fired,
    Blocked,
    Finished,
    Waiting,
    /// No row needs it, or not yet.
    Unconfirmed,
    Removed,
}

impl StateMachinePlugin {
    /// Fires the timers that are due, and finishes the actions of processes that died. A connected process
    /// does so by itself every few seconds ([`super::StateMachineBuilder::sweep_interval`]).
    ///
    /// # Errors
    /// The due keys cannot be listed. An entity that cannot be looked after is in the report, and stays due.
    pub async fn sweep(&self) -> Result<SweepReport> {
        self.core.sweep().await
    }

    /// Sweeps every `interval` until `stop` is done, and then ends what it has begun. Each sweep is told. One
    /// whose actions take long does not hold up the next.
    pub async fn sweep_every(
        &self,
        interval: Duration,
        stop: impl Future<Output = ()>,
        tell: impl FnMut(Result<SweepReport>),
    ) {
        let interval = interval.max(Duration::from_millis(10));
        super::background::sweep_every(Arc::downgrade(&self.core), interval, stop, tell).await;
    }
}

impl Core {
    pub(super) async fn sweep(&self) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        let inner = &self.db()?.inner;
        inner.revalidate_catalog().await?;
        if inner.is_paused() {
            report.paused = true;
            return Ok(report);
        }
        let found = self.due_now().await?;
        report.due = found.len();
        let mut oldest = i64::MAX;
        let work = stream::iter(found).map(|(due, age_ms)| async move {
            let done = self.look_after(&due, age_ms).await;
            (due, done)
        });
        let mut work = std::pin::pin!(work.buffer_unordered(TOGETHER));
        while let Some((due, done)) = work.next().await {
            if due.what == OUTBOX && !matches!(done, Ok(Done::Unconfirmed | Done::Removed)) {
                oldest = oldest.min(due.second.saturating_mul(1000));
            }
            match done {
                Ok(Done::Fired) => report.fired += 1,
                Ok(Done::Blocked) => report.blocked += 1,
                Ok(Done::Finished) => report.finished += 1,
                Ok(Done::Waiting | Done::Unconfirmed) => report.waiting += 1,
                Ok(Done::Removed) => report.removed += 1,
                Err(error) => fail(&mut report, &due, &error),
            }
        }
        self.metrics.swept(&report, self.now_ms().saturating_sub(oldest).max(0));
        Ok(report)
    }

    /// The keys that are due, the oldest first, each with the age of its object.
    async fn due_now(&self) -> Result<Vec<(Due, i64)>> {
        let inner = &self.db()?.inner;
        let now_ms = self.now_ms();
        let ordered = inner.store.capabilities().ordered_listing;
        let mut found = Vec::new();
        let mut token = None;
        let from = self.sweep_from.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| ordered);
        loop {
            let start_after = from.clone().filter(|_| token.is_none());
            let page = inner.list(List { token, start_after, ..List::prefix(keys::DUE) }).await?;
            let dues = page.entries.iter().filter_map(|e| Some((Due::parse(&e.key)?, now_ms - e.modified_ms)));
            let mut later = false;
            for (due, age_ms) in dues {
                if due.second.saturating_mul(1000) <= now_ms {
                    found.push((due, age_ms));
                } else {
                    later = true;
                }
            }
            token = page.next.filter(|_| !(ordered && later));
            if token.is_some() && found.len() >= MOST_DUE {
                // The next sweep begins behind these, and then at the beginning again.
                let last = page.entries.last().map(|entry| entry.key.clone());
                *self.sweep_from.lock().unwrap_or_else(PoisonError::into_inner) = last;
                token = None;
            }
            if token.is_none() {
                // Timers first: they take no longer than a write.
                found.sort_by_key(|(due, _)| (due.what != TIMER, due.second));
                return Ok(found);
            }
        }
    }

    async fn look_after(&self, due: &Due, age_ms: i64) -> Result<Done> {
        let names = due::names(due);
        let seen = self.load(&names).await?;
        let confirmed = seen.as_ref().is_some_and(|seen| due::is_needed(&seen.entity, due));
        let Some(seen) = seen.filter(|_| confirmed) else {
            // The write that needs it may still be under way.
            if age_ms < LEFT_OVER_MS {
                return Ok(Done::Unconfirmed);
            }
            self.drop_due(std::slice::from_ref(due)).await;
            return Ok(Done::Removed);
        };
        if self.check_runnable(&*self.machine_of(&seen.entity).await?).is_err() {
            return Ok(Done::Waiting);
        }
        match due.what.as_str() {
            OUTBOX => {
                Box::pin(self.take_over(&names)).await.map(|ran| if ran { Done::Finished } else { Done::Waiting })
            }
            TIMER => self.fire(&names, &seen.entity).await,
            _ => Ok(Done::Waiting),
        }
    }

    /// Fires the earliest timer of an entity.
    async fn fire(&self, names: &Names, entity: &Entity) -> Result<Done> {
        let Some(deadline) = entity.next_deadline().cloned() else { return Ok(Done::Waiting) };
        let (payload, options) = (Map::new(), SendOptions::default());
        let version = entity.version.unwrap_or_default();
        let order = Order {
            trigger: Trigger::Timer(&deadline.after),
            payload: &payload,
            options: &options,
            timer_of: Some((version, deadline.at_ms)),
        };
        let sent = Box::pin(self.transition(names, &order)).await;
        self.metrics.sent(&names.machine, "after", &sent);
        match sent {
            Ok(_) => Ok(Done::Fired),
            // Another process fired it, or an event was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Done::Waiting),
            Err(error) if error.kind() == ErrorKind::GuardRejected => {
                self.tell(&format!("the timer {} of {} ran out in vain: {error}", deadline.after, names.what()));
                self.consume(names, version, &deadline).await?;
                Ok(Done::Blocked)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a timer that fired in vain out of the row. The key of the next one is put first.
    async fn consume(&self, names: &Names, version: u64, deadline: &Deadline) -> Result<()> {
        let seen = self.load_known(names).await?;
        let old = due::timer(&seen.entity);
        let mut rest = seen.entity.clone();
        rest.deadlines.retain(|other| other != deadline);
        let next = due::timer(&rest);
        self.put_due(next.as_slice()).await?;
        let changed = self.mutate(names, |entity| {
            let before = entity.deadlines.len();
            if entity.version.unwrap_or_default() != version {
                return None;
            }
            entity.deadlines.retain(|other| other != deadline);
            (entity.deadlines.len() < before).then_some(())
        });
        match (changed.await?, old) {
            (Some(_), Some(old)) if Some(&old) != next.as_ref() => self.drop_due(&[old]).await,
            _ => {}
        }
        Ok(())
    }
}

fn fail(report: &mut SweepReport, due: &Due, error: &Error) {
    report.failures += 1;
    tracing::warn!(target: "s3db::state_machine", %error, "{}/{} stays due", due.machine, due.entity);
    if report.failed.len() < TOLD {
        let failure =
            SweepFailure { machine: due.machine.clone(), entity: due.entity.clone(), error: error.to_string() };
        report.failed.push(failure);
    }
}
