//! What becomes of a job's instants: a function of the record, the definition and what is known of its runs, without
//! I/O. Whoever wins the write of what it says, does it.

use super::cron::Cron;
use super::definition::{CatchUp, GRACE, JobDefinition, Overlap};
use super::record::{JobRecord, MOST_BUFFERED, MOST_OPEN, Note, Open, Outcome, Trigger, run_id};
use super::status::RunStatus;

/// Instants that are decided one by one in one go; more follow with the next.
const BATCH: usize = 1_000;

/// Why an instant is left out that came while the job still ran.
const OUTLASTED: &str = "overlap: the run before it was still running";

/// What is known of an open entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is known to run.
    Running,
    /// It has no row, and whether its process lives is not known yet.
    Unknown,
    /// It ended, or its row is written.
    Done(Outcome),
}

/// What the jobs that an instant depends on say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dependency {
    /// All succeeded; the last one ended then.
    Ready(i64),
    /// One has not ended.
    Waiting,
    /// One did not succeed.
    Failed(String),
}

/// What a decision is made of.
pub(super) struct Facts<'a> {
    pub(super) job: &'a JobDefinition,
    pub(super) cron: &'a Cron,
    pub(super) now_ms: i64,
    /// The process that decides.
    pub(super) owner: &'a str,
    /// Whether this process may begin runs of the job.
    pub(super) may_start: bool,
    /// Whether runs have rows.
    pub(super) logged: bool,
    /// What is known of the record's open entries, in their order.
    pub(super) states: &'a [State],
    /// For the first instant that is due, where the job depends on others.
    pub(super) dependency: Option<(i64, Dependency)>,
}

/// What is to be done once the record is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) record: JobRecord,
    /// Runs to begin, which the record holds.
    pub(super) start: Vec<Open>,
    /// Rows to write, which the record holds.
    pub(super) notes: Vec<Open>,
    /// When to decide again, if nothing happens before.
    pub(super) wake_ms: Option<i64>,
    /// The first instant that is due and waits.
    pub(super) waiting_ms: Option<i64>,
}

/// When an instant is due: up to the jitter later, always the same for one instant.
pub(super) fn due_ms(job: &JobDefinition, planned_ms: i64) -> i64 {
    let jitter = i64::try_from(job.jitter.as_millis()).unwrap_or(i64::MAX);
    if jitter == 0 {
        return planned_ms;
    }
    // FNV-1a over the name and the instant: the same in every process and version.
    let bytes = job.name.bytes().chain(planned_ms.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    planned_ms.saturating_add(i64::try_from(hash >> 1).unwrap_or_default() % (jitter + 1))
}

fn grace_ms() -> i64 {
    i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX)
}

/// Decides.
pub(super) fn decide(record: &JobRecord, facts: &Facts<'_>) -> Decision {
    let mut lane = Lane::new(record, facts);
    if facts.may_start && record.is_enabled(facts.job) {
        if lane.is_blind() {
            // When an instant is due the rows of runs are read, which may show that they have ended.
            let next = facts.cron.next_after(record.decided_ms()).map(|planned| due_ms(facts.job, planned));
            lane.decision.wake_ms = next.filter(|due| *due > facts.now_ms);
        } else {
            lane.miss();
            lane.buffered();
            lane.due();
        }
    }
    lane.decision
}

/// A decision while it is made.
struct Lane<'a> {
    facts: &'a Facts<'a>,
    decision: Decision,
    /// Whether a run is under way or was begun just now.
    busy: bool,
    /// Since when the oldest run that is under way runs.
    since_ms: Option<i64>,
    /// From when to when the last run that has just been taken in ran.
    covered: Option<(i64, i64)>,
    unknown: bool,
}

/// What became of one instant.
enum Step {
    Next,
    /// It stays open, and so do those behind it.
    Stop,
}

impl<'a> Lane<'a> {
    fn new(record: &JobRecord, facts: &'a Facts<'a>) -> Self {
        let mut record = record.clone();
        let mut left = Vec::new();
        let mut covered = None;
        for (open, state) in std::mem::take(&mut record.open).into_iter().zip(facts.states) {
            match state {
                State::Done(outcome) => {
                    record.settle(&open, outcome);
                    // Nobody knows until when an interrupted one ran.
                    if open.is_run() && outcome.status != RunStatus::Interrupted {
                        covered = covered.max(Some((there_since(&open), outcome.end_ms)));
                    }
                }
                State::Running | State::Unknown => left.push((open, state)),
            }
        }
        let runs = || left.iter().filter(|(open, _)| open.is_run());
        let unknown = runs().any(|(_, state)| **state == State::Unknown);
        let (busy, since_ms) = (runs().count() > 0, runs().map(|(open, _)| there_since(open)).min());
        record.open = left.into_iter().map(|(open, _)| open).collect();
        let decision = Decision { record, start: Vec::new(), notes: Vec::new(), wake_ms: None, waiting_ms: None };
        Self { facts, decision, busy, since_ms, covered, unknown }
    }

    /// A run of which it is not known whether it lives decides what its overlap means, so all wait.
    fn is_blind(&self) -> bool {
        self.unknown && self.facts.job.overlap != Overlap::AllowAll
    }

    fn record(&mut self) -> &mut JobRecord {
        &mut self.decision.record
    }

    fn age_ms(&self, planned_ms: i64) -> i64 {
        self.facts.now_ms - due_ms(self.facts.job, planned_ms)
    }

    fn is_old(&self, planned_ms: i64) -> bool {
        self.age_ms(planned_ms) >= grace_ms()
    }

    fn window_ms(&self) -> i64 {
        i64::try_from(self.facts.job.catch_up_window.as_millis()).unwrap_or(i64::MAX).max(grace_ms())
    }

    /// Instants that no process was there for, all at once.
    fn miss(&mut self) {
        let job = self.facts.job;
        let jitter = i64::try_from(job.jitter.as_millis()).unwrap_or(i64::MAX);
        let old = self.facts.now_ms - grace_ms() - jitter;
        let within = self.facts.now_ms - self.window_ms() - jitter;
        let until = match job.catch_up {
            // What waits for other jobs is not missed yet.
            CatchUp::None if job.depends_on.is_empty() => old,
            _ => within,
        };
        // While a run is under way a process is there: what comes then is left out, or waits.
        let until = self.since_ms.map_or(until, |since| until.min(since));
        if let Some((start_ms, end_ms)) = self.covered {
            self.miss_until(until.min(start_ms));
            self.skip_until(until.min(end_ms));
        }
        self.miss_until(until);
        if job.catch_up == CatchUp::Last && self.since_ms.is_none() {
            let decided = self.decision.record.decided_ms();
            if let Some(last) = self.facts.cron.last_until(old).filter(|last| *last > decided) {
                self.miss_until(last - 1);
            }
        }
    }

    fn miss_until(&mut self, until_ms: i64) {
        self.leave_out(until_ms, RunStatus::Missed, "no process was there to run it, or the database was paused");
    }

    /// Instants that a run has outlasted which has ended meanwhile: a row for each, unless they are very many.
    fn skip_until(&mut self, until_ms: i64) {
        let decided = self.decision.record.decided_ms();
        let due: Vec<i64> =
            self.facts.cron.iter_after(decided).take_while(|ms| *ms <= until_ms).take(MOST_OPEN).collect();
        if due.len() + self.decision.record.open.len() >= MOST_OPEN {
            self.leave_out(until_ms, RunStatus::Skipped, OUTLASTED);
            return;
        }
        for planned in due {
            self.skip(planned, OUTLASTED);
            self.record().last_planned_ms = planned;
        }
    }

    /// Instants up to this one, in one row.
    fn leave_out(&mut self, until_ms: i64, status: RunStatus, reason: &str) {
        let decided = self.decision.record.decided_ms();
        if until_ms <= decided {
            return;
        }
        let cron = self.facts.cron;
        let Some(first) = cron.next_after(decided).filter(|first| *first <= until_ms) else { return };
        let last = cron.last_until(until_ms).unwrap_or(first);
        let count = if first == last { 1 } else { cron.count_between(decided, last) };
        self.note(Note { status, reason: reason.to_owned(), count, first_ms: first, last_ms: last });
        self.record().last_planned_ms = last;
    }

    /// Writes down that instants do not run.
    fn note(&mut self, note: Note) {
        let facts = self.facts;
        let open = Open {
            run: run_id(&facts.job.name, note.first_ms),
            planned_ms: Some(note.first_ms),
            note: Some(note),
            ..self.entry(String::new(), Trigger::Schedule)
        };
        if facts.logged {
            self.record().open.push(open.clone());
        } else {
            let outcome = note_outcome(&open);
            self.record().settle(&open, &outcome);
        }
        self.decision.notes.push(open);
    }

    fn entry(&self, run: String, trigger: Trigger) -> Open {
        Open {
            run,
            trigger,
            planned_ms: None,
            owner: self.facts.owner.to_owned(),
            fence: self.decision.record.fence,
            started_ms: self.facts.now_ms,
            beat: 0,
            beat_ms: self.facts.now_ms,
            takeovers: 0,
            has_row: false,
            unlogged: !self.facts.logged,
            cancel_requested: false,
            terminate_requested: false,
            context: serde_json::Value::Null,
            note: None,
        }
    }

    fn skip(&mut self, planned_ms: i64, reason: &str) {
        let reason = reason.to_owned();
        self.note(Note { status: RunStatus::Skipped, reason, count: 1, first_ms: planned_ms, last_ms: planned_ms });
    }

    fn start(&mut self, planned_ms: i64) {
        self.record().fence += 1;
        let run = run_id(&self.facts.job.name, planned_ms);
        let open = Open { planned_ms: Some(planned_ms), ..self.entry(run, Trigger::Schedule) };
        self.record().open.push(open.clone());
        self.decision.start.push(open);
        self.busy = true;
    }

    /// Instants that waited for a run to end.
    fn buffered(&mut self) {
        if self.busy || self.decision.record.buffer.is_empty() {
            return;
        }
        match self.facts.job.overlap {
            // All of them are replaced by the last one that is due.
            Overlap::CancelOther | Overlap::TerminateOther => {}
            _ => {
                let first = self.record().buffer.remove(0);
                self.start(first);
            }
        }
    }

    /// Instants that are due, in order.
    fn due(&mut self) {
        let mut due = Vec::new();
        let decided = self.decision.record.decided_ms();
        let mut next = self.facts.cron.next_after(decided);
        while let Some(planned) = next {
            if due_ms(self.facts.job, planned) > self.facts.now_ms || due.len() >= BATCH {
                break;
            }
            due.push(planned);
            next = self.facts.cron.next_after(planned);
        }
        self.decision.wake_ms = next.map(|planned| due_ms(self.facts.job, planned).max(self.facts.now_ms));
        if matches!(self.facts.job.overlap, Overlap::CancelOther | Overlap::TerminateOther)
            && self.facts.job.depends_on.is_empty()
        {
            return self.replace(&due);
        }
        for planned in due {
            if self.decision.record.open.len() >= MOST_OPEN {
                // The rows are written first.
                self.wait_for(planned);
                return;
            }
            match self.one(planned) {
                Step::Next => self.record().last_planned_ms = planned,
                Step::Stop => {
                    self.wait_for(planned);
                    return;
                }
            }
        }
    }

    /// An instant that is due stays open: it is looked at again when it is too old to wait.
    fn wait_for(&mut self, planned_ms: i64) {
        self.decision.waiting_ms = Some(planned_ms);
        let old = due_ms(self.facts.job, planned_ms) + grace_ms();
        let wake = self.decision.wake_ms.unwrap_or(i64::MAX);
        self.decision.wake_ms = Some(if old > self.facts.now_ms { wake.min(old) } else { wake });
    }

    fn one(&mut self, planned_ms: i64) -> Step {
        match self.dependency(planned_ms) {
            Some(Dependency::Waiting) if self.age_ms(planned_ms) < self.window_ms() => return Step::Stop,
            Some(Dependency::Waiting) => {
                self.skip(planned_ms, "dependency: a job that it depends on did not end in time");
                return Step::Next;
            }
            Some(Dependency::Failed(_)) if !self.is_old(planned_ms) => return Step::Stop,
            Some(Dependency::Failed(why)) => {
                self.skip(planned_ms, &format!("dependency: {why}"));
                return Step::Next;
            }
            Some(Dependency::Ready(ready_ms)) => {
                let waited = due_ms(self.facts.job, planned_ms).max(ready_ms);
                if self.facts.job.catch_up == CatchUp::None && self.facts.now_ms - waited >= grace_ms() && !self.busy {
                    self.miss_until(planned_ms);
                    return Step::Next;
                }
            }
            None if !self.facts.job.depends_on.is_empty() => return Step::Stop,
            None => {}
        }
        self.overlap(planned_ms)
    }

    /// What is known of the jobs that an instant depends on. It is known for one instant at a time.
    fn dependency(&self, planned_ms: i64) -> Option<Dependency> {
        let (at, dependency) = self.facts.dependency.as_ref()?;
        (*at == planned_ms).then(|| dependency.clone())
    }

    fn overlap(&mut self, planned_ms: i64) -> Step {
        let overlap = self.facts.job.overlap;
        if !self.busy || overlap == Overlap::AllowAll {
            self.start(planned_ms);
            return Step::Next;
        }
        let room = match overlap {
            Overlap::BufferOne => 1,
            Overlap::Skip | Overlap::AllowAll => 0,
            _ => MOST_BUFFERED,
        };
        if self.decision.record.buffer.len() < room {
            self.record().buffer.push(planned_ms);
            return Step::Next;
        }
        if !self.is_old(planned_ms) {
            return Step::Stop;
        }
        self.skip(planned_ms, OUTLASTED);
        Step::Next
    }

    /// `cancel_other` and `terminate_other`: the last instant replaces the others and what runs.
    fn replace(&mut self, due: &[i64]) {
        let terminate = self.facts.job.overlap == Overlap::TerminateOther;
        let room = MOST_BUFFERED.saturating_sub(self.decision.record.buffer.len());
        let due: Vec<i64> = due.iter().copied().take(room).collect();
        if let Some(last) = due.last() {
            self.record().last_planned_ms = *last;
        }
        self.record().buffer.extend(due);
        if self.decision.record.buffer.is_empty() {
            return;
        }
        if self.busy {
            for open in self.record().open.iter_mut().filter(|open| open.is_run()) {
                open.cancel_requested = true;
                open.terminate_requested |= terminate;
            }
            return;
        }
        let mut waiting = std::mem::take(&mut self.record().buffer);
        let Some(last) = waiting.pop() else { return };
        for (at, planned) in waiting.iter().enumerate() {
            if self.decision.record.open.len() >= MOST_OPEN - 1 {
                // The rows of these are written first.
                self.record().buffer = waiting.get(at..).unwrap_or_default().to_vec();
                self.record().buffer.push(last);
                return;
            }
            self.skip(*planned, "superseded: a later instant came before it could run");
        }
        self.start(last);
    }
}

/// Since when a process has been there for a run: one that began late has waited since its instant.
fn there_since(open: &Open) -> i64 {
    let planned = open.planned_ms.unwrap_or(open.started_ms);
    planned.clamp((open.started_ms - grace_ms()).min(open.started_ms), open.started_ms)
}

/// The end of instants that did not run.
pub(super) fn note_outcome(open: &Open) -> Outcome {
    let at = open.planned_ms.unwrap_or(open.started_ms);
    let status = open.note.as_ref().map_or(RunStatus::Skipped, |note| note.status);
    Outcome { status, start_ms: at, end_ms: at }
}
