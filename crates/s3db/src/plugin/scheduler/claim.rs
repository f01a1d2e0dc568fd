//! Looking after a job: what is known of its runs, a decision, and the write that makes it so.
//!
//! Requests of a run, warm: PUT of the record, the claim; then the row. Cold: GET of the record; GET of the row of the run
//! before; PUT of the record; the row. A crash behind the claim leaves a run that `states` ends or takes over.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::cell::{Cell, HEARTBEAT, Pulse};
use super::cron::Cron;
use super::decide::{Decision, Dependency, Facts, State, decide, due_ms, note_outcome};
use super::definition::{Compiled, OnDeath};
use super::events::SchedulerEvent;
use super::local::{Ask, Here};
use super::record::{JobRecord, Open, Outcome};
use super::rows::{Ended, HistoryRow, note_row};
use super::status::RunStatus;
use crate::error::Result;

/// Decisions in one go: each leads to a write.
const ROUNDS: usize = 64;
/// Takeovers of one run: one that ends its process again and again is left.
const MOST_TAKEOVERS: u32 = 3;

/// What became of a look at the open entries.
enum Known {
    States(Vec<State>),
    /// The record was written or has to be read again.
    Again,
}

impl Core {
    /// Looks after a job; returns when to do so again, if nothing happens before, by the store's time.
    pub(super) async fn look_after(self: &Arc<Self>, name: &str) -> Result<Option<i64>> {
        let cell = self.cell(name);
        let mut cell = cell.lock().await;
        for _ in 0..ROUNDS {
            if cell.seen.is_none() {
                self.refresh(name, &mut cell).await?;
            }
            let Some(record) = cell.seen.as_ref().map(|seen| seen.record.clone()) else { return Ok(None) };
            let Some(job) = self.compiled(&record) else { return Ok(None) };
            self.locals.forget_settled(name, &record.open);
            if self.settings.persist_jobs && self.is_due(&job, &record) {
                // What cannot have a row does not run.
                self.history_to_write().await?;
            }
            let Known::States(states) = self.states(&job, &record, &mut cell).await? else { continue };
            let decision = self.decide(&job, &record, &states).await?;
            self.tell_late(&job, &decision);
            if !is_news(&record, &decision) {
                return Ok(decision.wake_ms);
            }
            let sent = self.monotonic();
            let last_success = decision.record.last_success_ms;
            if self.write(name, &mut cell, decision.record.clone()).await? {
                for open in decision.start {
                    if let Some(sent) = self.still_ours(name, &open, Some(sent), &mut cell).await? {
                        self.tell_started_late(&job, &open);
                        drop(self.begin(&job, open, last_success, sent));
                    }
                }
                self.cancel_here(&decision.record);
                self.tell_notes(&job, &decision.notes);
            }
        }
        // The rest is done with the next look.
        Ok(Some(self.now_ms()))
    }

    async fn decide(&self, job: &Arc<Compiled>, record: &JobRecord, states: &[State]) -> Result<Decision> {
        let now_ms = self.now_ms();
        let has_function = job.action.is_some() || self.function(&job.definition.name).is_some();
        let may_start = has_function && self.may_start();
        let dependency = match may_start && !job.definition.depends_on.is_empty() {
            true => self.dependency(job, record, now_ms).await?,
            false => None,
        };
        Ok(decide(
            record,
            &Facts {
                job: &job.definition,
                cron: &job.cron,
                now_ms,
                owner: self.owner(),
                may_start,
                logged: self.settings.persist_jobs,
                states,
                dependency,
            },
        ))
    }

    /// What is known of the open entries of a record; ends the runs of dead processes, or takes them over.
    async fn states(self: &Arc<Self>, job: &Arc<Compiled>, record: &JobRecord, cell: &mut Cell) -> Result<Known> {
        let is_due = self.is_due(job, record);
        let mut states = Vec::new();
        for open in &record.open {
            let state = match &open.note {
                Some(_) => {
                    self.ensure_note(&job.definition.name, open, cell).await?;
                    State::Done(note_outcome(open))
                }
                None => match self.state(job, record, open, cell, is_due).await? {
                    Some(state) => state,
                    None => return Ok(Known::Again),
                },
            };
            states.push(state);
        }
        Ok(Known::States(states))
    }

    /// Makes sure of the row of instants that did not run.
    pub(super) async fn ensure_note(&self, job: &str, open: &Open, cell: &mut Cell) -> Result<()> {
        if let Some(note) = open.note.as_ref().filter(|_| !cell.is_written(&open.run)) {
            // A row that is there already says what became of the instant.
            let _there = self.put_row(&note_row(job, open, note)).await?;
            cell.written(&open.run);
        }
        Ok(())
    }

    fn is_due(&self, job: &Compiled, record: &JobRecord) -> bool {
        let next = job.cron.next_after(record.decided_ms());
        !record.buffer.is_empty() || next.is_some_and(|next| due_ms(&job.definition, next) <= self.now_ms())
    }

    /// What is known of a run; `None` if the record was written.
    pub(super) async fn state(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        record: &JobRecord,
        open: &Open,
        cell: &mut Cell,
        is_due: bool,
    ) -> Result<Option<State>> {
        match self.locals.look(open) {
            Here::Ended(outcome) => return Ok(Some(State::Done(outcome))),
            Here::Runs => return Ok(Some(State::Running)),
            Here::No if open.owner == self.owner() && self.may_start() => {
                return self.begin_late(job, record, open, cell).await;
            }
            Here::No => {}
        }
        if let Some(outcome) = cell.ended(&open.run) {
            return Ok(Some(State::Done(outcome)));
        }
        let pulse = cell.pulse(open);
        let quiet = pulse == Pulse::Stopped;
        let row = match (is_due || quiet) && !open.unlogged {
            true => self.find_row(&open.run).await?,
            false => None,
        };
        let ended = row.as_ref().and_then(HistoryRow::outcome).filter(|o| !open.has_row || o.status.is_of_a_run());
        // Somebody took it for dead; one that beats all the same goes on, and nothing is begun beside it.
        let goes_on = !quiet && row.as_ref().is_some_and(|row| is_given_up(row, open));
        if let Some(outcome) = ended.filter(|_| !goes_on) {
            cell.note_end(&open.run, outcome.clone());
            return Ok(Some(State::Done(outcome)));
        }
        if !quiet {
            return Ok(Some(if pulse == Pulse::Beats { State::Running } else { State::Unknown }));
        }
        let takes_over =
            job.definition.on_death == OnDeath::Retry && open.takeovers < MOST_TAKEOVERS && !open.cancel_requested;
        match takes_over {
            true if self.can_run(job) => self.take_over(job, record, open, row.as_ref(), cell).await,
            true => Ok(Some(State::Unknown)),
            false => self.interrupt(job, record, open, row.as_ref(), cell).await.map(Some),
        }
    }

    /// Begins a run of this process that has not begun, because the answer to its claim was lost.
    async fn begin_late(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        record: &JobRecord,
        open: &Open,
        cell: &mut Cell,
    ) -> Result<Option<State>> {
        if let Some(outcome) = self.given_up(open).await? {
            cell.note_end(&open.run, outcome.clone());
            return Ok(Some(State::Done(outcome)));
        }
        if let Some(sent) = self.still_ours(&job.definition.name, open, None, cell).await? {
            drop(self.begin(job, open.clone(), record.last_success_ms, sent));
        }
        Ok(None)
    }

    /// The end of a run that has not begun here, and that another process took for dead meanwhile.
    async fn given_up(&self, open: &Open) -> Result<Option<Outcome>> {
        if open.unlogged {
            return Ok(None);
        }
        let row = self.find_row(&open.run).await?;
        Ok(row.filter(|row| is_given_up(row, open)).and_then(|row| row.outcome()))
    }

    /// Makes sure that nobody takes a run for dead that has not begun yet: where its claim was sent long ago, a heartbeat
    /// says that it lives, and finds out whether it is still this process's. Returns when the last one was sent; `None`
    /// if another process has it, or has taken it for dead.
    pub(super) async fn still_ours(
        &self,
        name: &str,
        open: &Open,
        claimed: Option<Duration>,
        cell: &mut Cell,
    ) -> Result<Option<Duration>> {
        let mut sent = claimed;
        for _ in 0..ROUNDS {
            if let Some(sent) = sent.filter(|sent| self.monotonic().saturating_sub(*sent) <= HEARTBEAT) {
                let is_late = claimed != Some(sent);
                return Ok(if is_late && self.given_up(open).await?.is_some() { None } else { Some(sent) });
            }
            if cell.seen.is_none() {
                self.refresh(name, cell).await?;
            }
            let Some(mut next) = cell.seen.as_ref().map(|seen| seen.record.clone()) else { return Ok(None) };
            let mine = next.open.iter_mut().find(|entry| entry.run == open.run && entry.fence == open.fence);
            let Some(mine) = mine else { return Ok(None) };
            mine.beat += 1;
            mine.beat_ms = self.now_ms();
            let now = self.monotonic();
            if self.write(name, cell, next).await? {
                sent = Some(now);
            }
        }
        Ok(None)
    }

    /// Whether this process can run a job now.
    pub(super) fn can_run(&self, job: &Compiled) -> bool {
        self.may_start() && (job.action.is_some() || self.function(&job.definition.name).is_some())
    }

    /// Ends the run of a dead process. Its row goes first, under a higher fence, so that a late end of it is refused.
    /// `row` is what stood there when it was looked at.
    async fn interrupt(
        &self,
        job: &Compiled,
        record: &JobRecord,
        open: &Open,
        row: Option<&HistoryRow>,
        cell: &mut Cell,
    ) -> Result<State> {
        let name = &job.definition.name;
        let end_ms = self.now_ms().max(open.started_ms);
        let outcome = Outcome { status: RunStatus::Interrupted, start_ms: open.started_ms, end_ms };
        let reason = format!("its process ({}) sent no heartbeat for 30 s", open.owner);
        let ended =
            Ended { outcome, result: serde_json::Value::Null, error: None, reason: Some(reason), attempts: Vec::new() };
        let mine = Open {
            owner: self.owner().to_owned(),
            fence: fence_above(record, row),
            has_row: open.has_row || row.is_some(),
            ..open.clone()
        };
        let found = match (mine.unlogged, mine.has_row) {
            (true, _) => None,
            (false, false) => self.end_row(name, &mine, &ended).await?,
            (false, true) => match self.begin_row(name, &mine).await? {
                Some(found) => Some(found),
                None => self.end_row(name, &mine, &ended).await?,
            },
        };
        let outcome = match found {
            None => ended.outcome,
            Some(row) => match row.outcome() {
                Some(outcome) => outcome,
                // Another process has it now.
                None => return Ok(State::Unknown),
            },
        };
        tracing::warn!(target: "s3db::scheduler", "job '{name}': run {} of a dead process ended as '{}'", open.run, outcome.status);
        cell.note_end(&open.run, outcome.clone());
        Ok(State::Done(outcome))
    }

    /// Begins the run of a dead process again: its row first, under a higher fence, then the record.
    /// `row` is what stood there when it was looked at.
    async fn take_over(
        self: &Arc<Self>,
        job: &Arc<Compiled>,
        record: &JobRecord,
        open: &Open,
        row: Option<&HistoryRow>,
        cell: &mut Cell,
    ) -> Result<Option<State>> {
        let name = &job.definition.name;
        let fence = fence_above(record, row);
        let now_ms = self.now_ms();
        let mine = Open {
            owner: self.owner().to_owned(),
            fence,
            beat: 0,
            beat_ms: now_ms,
            takeovers: open.takeovers + 1,
            has_row: !open.unlogged,
            ..open.clone()
        };
        if !open.unlogged
            && let Some(found) = self.begin_row(name, &mine).await?
        {
            return Ok(Some(found.outcome().map_or(State::Unknown, State::Done)));
        }
        let mut next = record.clone();
        next.fence = fence;
        for entry in next.open.iter_mut().filter(|entry| entry.run == open.run) {
            *entry = mine.clone();
        }
        let sent = self.monotonic();
        if self.write(name, cell, next).await?
            && let Some(sent) = self.still_ours(name, &mine, Some(sent), cell).await?
        {
            tracing::warn!(target: "s3db::scheduler", "job '{name}': run {} of a dead process is taken over", open.run);
            drop(self.begin(job, mine, record.last_success_ms, sent));
        }
        Ok(None)
    }

    /// Asks runs of this process to end that the record says shall.
    fn cancel_here(&self, record: &JobRecord) {
        for open in record.open.iter().filter(|open| open.cancel_requested && open.is_run()) {
            let ask = if open.terminate_requested { Ask::Terminate } else { Ask::Cancel };
            if self.locals.look(open) == Here::Runs {
                self.locals.ask(&open.run, super::heartbeat::cancelled(ask));
            }
        }
    }

    fn tell_notes(&self, job: &Compiled, notes: &[Open]) {
        for note in notes.iter().filter_map(|open| open.note.as_ref()) {
            let (job_name, first) = (job.definition.name.clone(), s3db_format::date::rfc3339(note.first_ms));
            self.metrics.noted(&job_name, note.status, note.count);
            tracing::warn!(target: "s3db::scheduler::job", "job '{job_name}': {} instant(s) from {first} {}: {}", note.count, note.status, note.reason);
            self.events.emit(|| match note.status {
                RunStatus::Missed => SchedulerEvent::JobMissed {
                    job_name,
                    first,
                    last: s3db_format::date::rfc3339(note.last_ms),
                    count: note.count,
                },
                _ => SchedulerEvent::JobSkipped { job_name, scheduled_time: first, reason: note.reason.clone() },
            });
        }
    }

    /// Tells of an instant that waits for longer than the job allows.
    fn tell_late(&self, job: &Compiled, decision: &Decision) {
        if let Some(planned_ms) = decision.waiting_ms {
            self.tell_if_late(job, planned_ms);
        }
    }

    fn tell_started_late(&self, job: &Compiled, open: &Open) {
        if let Some(planned_ms) = open.planned_ms {
            self.metrics.started(self.now_ms() - due_ms(&job.definition, planned_ms));
            self.tell_if_late(job, planned_ms);
        }
    }

    fn tell_if_late(&self, job: &Compiled, planned_ms: i64) {
        let late_ms = self.now_ms() - due_ms(&job.definition, planned_ms);
        let Some(limit) = job.definition.late_after.filter(|limit| late_ms > super::rows::ms(*limit)) else { return };
        if !self.first_time_late(&job.definition.name, planned_ms) {
            return;
        }
        let job_name = job.definition.name.clone();
        tracing::warn!(target: "s3db::scheduler::job", "job '{job_name}': an instant is {late_ms} ms late, more than {limit:?}");
        self.events.emit(|| SchedulerEvent::JobLate {
            job_name,
            scheduled_time: s3db_format::date::rfc3339(planned_ms),
            late: u64::try_from(late_ms).unwrap_or_default(),
        });
    }

    /// What the jobs say that the first due instant depends on.
    async fn dependency(&self, job: &Compiled, record: &JobRecord, now_ms: i64) -> Result<Option<(i64, Dependency)>> {
        let next = job.cron.next_after(record.decided_ms());
        let Some(planned_ms) = next.filter(|next| due_ms(&job.definition, *next) <= now_ms) else { return Ok(None) };
        let mut ready_ms = planned_ms;
        for other in &job.definition.depends_on {
            match self.dependency_on(other, planned_ms).await? {
                Dependency::Ready(at_ms) => ready_ms = ready_ms.max(at_ms),
                other => return Ok(Some((planned_ms, other))),
            }
        }
        Ok(Some((planned_ms, Dependency::Ready(ready_ms))))
    }

    /// A pure function of rows: how a job ended at its newest instant up to this one.
    async fn dependency_on(&self, name: &str, at_ms: i64) -> Result<Dependency> {
        let failed = |why: String| Ok(Dependency::Failed(why));
        let Some(seen) = self.read_record(name).await?.filter(|seen| !seen.record.removed) else {
            return failed(format!("there is no job '{name}'"));
        };
        let Some(job) = self.compiled(&seen.record) else { return failed(format!("job '{name}' cannot be read")) };
        let Some(newest) = newest(&job.cron, at_ms) else { return failed(format!("job '{name}' was never due")) };
        let run = super::record::run_id(name, newest);
        let shown = s3db_format::date::rfc3339(newest);
        match self.find_row(&run).await? {
            Some(row) if row.status == RunStatus::Success => return Ok(Dependency::Ready(row.end_ms)),
            Some(row) if row.status != RunStatus::Running => {
                return failed(format!("'{name}' of {shown} ended as '{}'", row.status));
            }
            Some(_) => return Ok(Dependency::Waiting),
            None => {}
        }
        let record = &seen.record;
        let is_open = record.open.iter().any(|open| open.run == run) || record.buffer.contains(&newest);
        match () {
            () if is_open => Ok(Dependency::Waiting),
            () if newest > record.decided_ms() && record.is_enabled(&job.definition) => Ok(Dependency::Waiting),
            () => failed(format!("'{name}' of {shown} was not run")),
        }
    }
}

fn newest(cron: &Cron, at_ms: i64) -> Option<i64> {
    cron.last_until(at_ms)
}

/// Whether a row says that a process other than its own has ended a run that it took for dead.
fn is_given_up(row: &HistoryRow, open: &Open) -> bool {
    row.status == RunStatus::Interrupted && row.fence > open.fence
}

/// A fence above a record's and its run's row's: whoever died between the two has left a row under a higher one.
fn fence_above(record: &JobRecord, row: Option<&HistoryRow>) -> u64 {
    record.fence.max(row.map_or(0, |row| row.fence)) + 1
}

/// Whether a decision is worth a write. That runs have ended is taken in with the next one that is.
fn is_news(record: &JobRecord, decision: &Decision) -> bool {
    let next = &decision.record;
    let cancels = |record: &JobRecord| {
        record.open.iter().map(|o| (o.run.clone(), o.cancel_requested, o.terminate_requested)).collect::<Vec<_>>()
    };
    let kept: Vec<_> =
        cancels(record).into_iter().filter(|(run, ..)| next.open.iter().any(|o| o.run == *run)).collect();
    !decision.start.is_empty()
        || !decision.notes.is_empty()
        || next.buffer != record.buffer
        || next.last_planned_ms != record.last_planned_ms
        || kept != cancels(next)
}

impl Core {
    /// How long a wait until an instant is by the monotonic clock.
    pub(super) fn wait_until(&self, at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(at_ms - self.now_ms()).unwrap_or_default())
    }
}
