//! What is stored of a job: one object, `s3db/meta/jobs/<job>.json`, changed by compare-and-swap only. The write that
//! puts a run into it is the claim: it decides the instant, the overlap, what is caught up and whether the job is
//! enabled together, since it fails if any of that has changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::JobDefinition;
use super::status::RunStatus;
use crate::error::{Error, ErrorKind, Result};

/// Runs of one job at once, and rows that wait to be written.
pub(super) const MOST_OPEN: usize = 100;
/// Instants that wait.
pub(super) const MOST_BUFFERED: usize = 1_000;

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The schedule.
    Schedule,
    /// Somebody asked for it.
    Manual,
    /// An instant that had been missed or skipped was asked for.
    Backfill,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub(super) status: RunStatus,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

/// Instants that did not run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    pub(super) status: RunStatus,
    pub(super) reason: String,
    pub(super) count: u64,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

/// A run, or a row of instants that did not run, whose end is not in the totals yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Open {
    /// The id of its row.
    pub(super) run: String,
    pub(super) trigger: Trigger,
    /// The planned instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) planned_ms: Option<i64>,
    /// The process that has it.
    pub(super) owner: String,
    /// Rises with every claim and takeover of the job.
    pub(super) fence: u64,
    pub(super) started_ms: i64,
    /// Rises with every heartbeat.
    pub(super) beat: u64,
    /// When the last heartbeat was sent, by the store's time. For people: nothing is decided by it.
    pub(super) beat_ms: i64,
    /// How often another process took it over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) takeovers: u32,
    /// Whether its row is there from the beginning: it replaces a row, or was taken over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_row: bool,
    /// Whether it has no row at all, because the history is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unlogged: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) cancel_requested: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) terminate_requested: bool,
    /// What the caller of a manual run gave.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) context: Value,
    /// Instants that did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<Note>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Open {
    pub(super) fn is_run(&self) -> bool {
        self.note.is_none()
    }
}

/// How often runs ended how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Runs that succeeded.
    #[serde(default)]
    pub success: u64,
    /// Runs that failed.
    #[serde(default)]
    pub error: u64,
    /// Runs that took too long.
    #[serde(default)]
    pub timeout: u64,
    /// Runs whose process died or was stopped.
    #[serde(default)]
    pub interrupted: u64,
    /// Runs that were cancelled.
    #[serde(default)]
    pub cancelled: u64,
    /// Instants that were left out.
    #[serde(default)]
    pub skipped: u64,
    /// Instants that no process was there for.
    #[serde(default)]
    pub missed: u64,
    /// Milliseconds of all runs.
    #[serde(default)]
    pub duration: u64,
    /// Runs in a row that ended as the last one did: success, or not.
    #[serde(default)]
    pub streak: u64,
}

impl Totals {
    /// Runs that ended.
    pub fn runs(&self) -> u64 {
        self.success + self.error + self.timeout + self.interrupted + self.cancelled
    }

    pub(super) fn add(&mut self, status: RunStatus, duration_ms: i64, count: u64, last: Option<RunStatus>) {
        let counter = match status {
            RunStatus::Success => &mut self.success,
            RunStatus::Error => &mut self.error,
            RunStatus::Timeout => &mut self.timeout,
            RunStatus::Interrupted => &mut self.interrupted,
            RunStatus::Cancelled => &mut self.cancelled,
            RunStatus::Skipped => &mut self.skipped,
            RunStatus::Missed => &mut self.missed,
            RunStatus::Running => return,
        };
        *counter += count;
        if status.is_of_a_run() {
            self.duration += u64::try_from(duration_ms).unwrap_or_default();
            let same = last.is_some_and(|last| (last == RunStatus::Success) == (status == RunStatus::Success));
            self.streak = if same { self.streak + 1 } else { 1 };
        }
    }
}

/// The last run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastRun {
    pub(super) run: String,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// What is stored of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobRecord {
    /// New with every write.
    #[serde(rename = "_rev")]
    pub(super) token: String,
    pub(super) name: String,
    /// The definition, complete; null after a removal.
    pub(super) definition: Value,
    #[serde(default)]
    pub(super) removed: bool,
    /// What `enable_job` or `disable_job` said; it wins over the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) switch: Option<bool>,
    /// Instants up to this one do not count: the job was not there, not enabled, or had another schedule.
    pub(super) since_ms: i64,
    /// The last instant whose fate is decided. It is never lowered.
    pub(super) last_planned_ms: i64,
    pub(super) fence: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) open: Vec<Open>,
    /// Instants that wait for a run to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) buffer: Vec<i64>,
    #[serde(default)]
    pub(super) totals: Totals,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_run: Option<LastRun>,
    /// When the last success ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_success_ms: Option<i64>,
    /// What a later version keeps here.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, Value>,
}

impl JobRecord {
    /// A job that begins to count now.
    pub(super) fn new(name: &str, definition: &JobDefinition, now_ms: i64) -> Self {
        Self {
            token: String::new(),
            name: name.to_owned(),
            definition: definition.to_json(),
            removed: false,
            switch: None,
            since_ms: now_ms,
            last_planned_ms: 0,
            fence: 0,
            open: Vec::new(),
            buffer: Vec::new(),
            totals: Totals::default(),
            last_run: None,
            last_success_ms: None,
            other: BTreeMap::new(),
        }
    }

    pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| {
            Error::new(ErrorKind::Integrity, format!("the record of job '{name}' is damaged: {e}")).guide(format!(
                "`s3db job remove {name}` and add it again; nothing is run from a record that cannot be read"
            ))
        })
    }

    /// Whether it runs by itself.
    pub(super) fn is_enabled(&self, definition: &JobDefinition) -> bool {
        !self.removed && self.switch.unwrap_or(definition.enabled)
    }

    /// The instant after which others are still open.
    pub(super) fn decided_ms(&self) -> i64 {
        self.since_ms.max(self.last_planned_ms)
    }

    /// Takes an open entry's end into the totals.
    pub(super) fn settle(&mut self, open: &Open, outcome: &Outcome) {
        let last = self.last_run.as_ref().map(|last| last.outcome.status);
        let count = open.note.as_ref().map_or(1, |note| note.count);
        self.totals.add(outcome.status, outcome.end_ms - outcome.start_ms, count, last);
        if open.is_run() {
            if outcome.status == RunStatus::Success {
                self.last_success_ms = self.last_success_ms.max(Some(outcome.end_ms));
            }
            self.last_run = Some(LastRun { run: open.run.clone(), outcome: outcome.clone() });
        }
    }
}

/// The id of the row of an instant.
pub(super) fn run_id(job: &str, planned_ms: i64) -> String {
    format!("{job}_{planned_ms}")
}

/// The id of the row of a manual run.
pub(super) fn manual_id(job: &str, ulid: &str) -> String {
    format!("{job}_m_{ulid}")
}
