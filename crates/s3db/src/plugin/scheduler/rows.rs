//! The history: an ordinary resource with a row for each run, and for instants that did not run.
//!
//! The row is the end of a run: it is inserted under an id that follows from the job and the instant, so that of two
//! processes that both believe a run is theirs one ends it.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Core;
use super::record::{Note, Open, Outcome, Trigger};
use super::status::RunStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::rows::{Shape, ready};
use crate::resource::{Resource, Snapshot};

/// The documented name, and the one that s3db.js uses.
const HISTORY: &str = "job_history";
const HISTORY_OF_S3DBJS: &str = "job_executions";
/// Bytes of a result that are kept.
const RESULT_BYTES: usize = 1024 * 1024;
/// Characters of a result that is too large, and of an error.
const KEPT: usize = 2_000;

/// The attributes: s3db.js's, and ours behind them.
const ATTRIBUTES: [(&str, &str); 19] = [
    ("id", "string|required"),
    ("jobName", "string|required"),
    ("status", "string|required"),
    ("startTime", "number|required"),
    ("endTime", "number"),
    ("duration", "number"),
    ("result", "json|default:null"),
    ("error", "string|default:null"),
    ("retryCount", "number|default:0"),
    ("createdAt", "string|required"),
    ("scheduledTime", "number|optional"),
    ("trigger", "string|optional"),
    ("attempts", "json|optional"),
    ("reason", "string|optional"),
    ("owner", "string|optional"),
    ("fence", "number|optional"),
    ("heartbeatAt", "number|optional"),
    ("count", "number|optional"),
    ("lastTime", "number|optional"),
];
/// How many of them are s3db.js's: a resource without these is something else.
const KNOWN: usize = 10;

/// One attempt of a run.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began, RFC 3339.
    pub start_time: String,
    /// Milliseconds.
    pub duration: u64,
    /// What became of it.
    pub status: RunStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) result: Value,
    pub(super) error: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) attempts: Vec<Attempt>,
}

/// A row of the history.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// The run.
    pub run_id: String,
    /// The job.
    pub job_name: String,
    /// What became of it.
    pub status: RunStatus,
    /// Why it began; absent in rows of s3db.js.
    pub trigger: Option<Trigger>,
    /// The planned instant, RFC 3339; absent for manual runs.
    pub scheduled_time: Option<String>,
    /// When it began, RFC 3339.
    pub start_time: String,
    /// When it ended, RFC 3339.
    pub end_time: Option<String>,
    /// Milliseconds.
    pub duration: u64,
    /// Each attempt.
    pub attempts: Vec<Attempt>,
    /// Attempts after the first.
    pub retry_count: u64,
    /// What it returned.
    pub result: Value,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Why it was skipped, missed, interrupted or cancelled.
    pub reason: Option<String>,
    /// Instants that the row stands for.
    pub count: u64,
    /// The last of them, RFC 3339, where they are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_time: Option<String>,
    /// The process that ran it.
    pub owner: Option<String>,
    #[serde(skip)]
    pub(super) fence: u64,
    #[serde(skip)]
    pub(super) start_ms: i64,
    #[serde(skip)]
    pub(super) end_ms: i64,
}

impl HistoryRow {
    /// Reads a row, also one of s3db.js.
    pub(super) fn read(id: &str, row: &Map<String, Value>) -> Self {
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| row.get(name).and_then(Value::as_f64).map(|n| n as i64);
        let start_ms = number("startTime").unwrap_or_default();
        let end_ms = number("endTime").unwrap_or(start_ms);
        let status = text("status").and_then(|s| RunStatus::parse(&s)).unwrap_or(RunStatus::Error);
        let count = number("count").and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
        Self {
            run_id: id.to_owned(),
            job_name: text("jobName").unwrap_or_default(),
            status,
            trigger: row.get("trigger").and_then(|t| serde_json::from_value(t.clone()).ok()),
            scheduled_time: number("scheduledTime").map(s3db_format::date::rfc3339),
            start_time: s3db_format::date::rfc3339(start_ms),
            end_time: (status != RunStatus::Running).then(|| s3db_format::date::rfc3339(end_ms)),
            duration: number("duration").and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            attempts: row.get("attempts").and_then(|a| serde_json::from_value(a.clone()).ok()).unwrap_or_default(),
            retry_count: number("retryCount").and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            result: row.get("result").cloned().unwrap_or_default(),
            error: text("error"),
            reason: text("reason"),
            count,
            last_time: number("lastTime").filter(|_| count > 1).map(s3db_format::date::rfc3339),
            owner: text("owner"),
            fence: number("fence").and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            start_ms,
            end_ms,
        }
    }

    /// A run that is under way, from the job's record.
    pub(super) fn running(job: &str, open: &Open) -> Self {
        let row = first_row(job, open);
        Self::read(&open.run, row.as_object().unwrap_or(&Map::new()))
    }

    /// How the run ended; `None` while it is under way.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let ended = self.status != RunStatus::Running;
        ended.then_some(Outcome { status: self.status, start_ms: self.start_ms, end_ms: self.end_ms })
    }

    /// Whether the row is of this process's hold of the run.
    fn is_of(&self, open: &Open) -> bool {
        self.fence == open.fence && self.owner.as_deref() == Some(open.owner.as_str())
    }

    /// The row as JSON.
    pub fn to_json(&self) -> Value {
        json!(self)
    }
}

/// The row of a run that begins.
pub(super) fn first_row(job: &str, open: &Open) -> Value {
    json!({
        "id": open.run,
        "jobName": job,
        "status": RunStatus::Running,
        "startTime": open.started_ms,
        "endTime": open.started_ms,
        "duration": 0,
        "createdAt": day(open.started_ms),
        "scheduledTime": open.planned_ms,
        "trigger": open.trigger,
        "owner": open.owner,
        "fence": open.fence,
        "heartbeatAt": open.beat_ms,
    })
}

/// The row of a run that ended.
pub(super) fn last_row(job: &str, open: &Open, ended: &Ended) -> Value {
    let outcome = &ended.outcome;
    let mut row = first_row(job, open);
    let retries = ended.attempts.len().saturating_sub(1);
    let changes = json!({
        "status": outcome.status,
        "startTime": outcome.start_ms,
        "endTime": outcome.end_ms,
        "duration": (outcome.end_ms - outcome.start_ms).max(0),
        "result": bounded(&ended.result),
        "error": ended.error.as_deref().map(cut),
        "retryCount": retries,
        "attempts": ended.attempts,
        "reason": ended.reason,
    });
    if let (Some(row), Value::Object(changes)) = (row.as_object_mut(), changes) {
        row.extend(changes.into_iter().filter(|(_, value)| !value.is_null()));
        row.retain(|_, value| !value.is_null());
    }
    row
}

/// The row of instants that did not run.
pub(super) fn note_row(job: &str, open: &Open, note: &Note) -> Value {
    let mut row = json!({
        "id": open.run,
        "jobName": job,
        "status": note.status,
        "startTime": note.first_ms,
        "endTime": note.first_ms,
        "duration": 0,
        "createdAt": day(note.first_ms),
        "scheduledTime": note.first_ms,
        "trigger": open.trigger,
        "reason": note.reason,
        "owner": open.owner,
        "fence": open.fence,
        "count": note.count,
    });
    if let Some(row) = row.as_object_mut()
        && note.count > 1
    {
        row.insert("lastTime".into(), json!(note.last_ms));
    }
    row
}

fn day(ms: i64) -> String {
    s3db_format::date::rfc3339(ms).get(..10).unwrap_or_default().to_owned()
}

/// A result that fits into a row. The run has done its work, so one that is too large is no failure.
pub(super) fn bounded(result: &Value) -> Value {
    let text = result.to_string();
    if text.len() <= RESULT_BYTES {
        return result.clone();
    }
    json!({ "truncated": true, "bytes": text.len(), "begins": cut(&text) })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(KEPT) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

impl Core {
    /// The history; `None` where there is none yet.
    pub(super) async fn history(&self) -> Result<Option<Resource>> {
        if let Some(name) = &self.settings.job_history_resource {
            return self.existing(name).await;
        }
        match self.existing(HISTORY).await? {
            Some(found) => Ok(Some(found)),
            None => self.existing(HISTORY_OF_S3DBJS).await,
        }
    }

    async fn existing(&self, name: &str) -> Result<Option<Resource>> {
        match self.db()?.resource(name).await {
            Ok(resource) => Ok(Some(resource)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The history, made or extended where it has to be.
    pub(super) async fn history_to_write(&self) -> Result<Resource> {
        self.ready_history.get_or_try_init(|| self.prepare_history()).await.cloned()
    }

    async fn prepare_history(&self) -> Result<Resource> {
        let shape = Shape {
            name: self.settings.job_history_resource.as_deref().unwrap_or(HISTORY),
            attributes: &ATTRIBUTES,
            known: KNOWN,
            what: "a history of jobs",
            setting: "jobHistoryResource",
        };
        ready(self.db()?, self.history().await?, &shape).await
    }

    /// The row of a run.
    pub(super) async fn find_row(&self, run: &str) -> Result<Option<HistoryRow>> {
        let Some(history) = self.history().await? else { return Ok(None) };
        Ok(history.find(run).await?.map(|record| HistoryRow::read(run, &record.attributes)))
    }

    /// Inserts a row, once: `None` if it is there now, else the row that is there instead.
    pub(super) async fn put_row(&self, row: &Value) -> Result<Option<HistoryRow>> {
        let history = self.history_to_write().await?;
        let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
        match history.insert(row.clone()).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::AlreadyExists || error.is_applied_unknown() => {
                let Some(found) = history.find(id).await? else { return Err(error) };
                let found = HistoryRow::read(id, &found.attributes);
                let ours = (found.owner.as_deref(), Some(found.fence))
                    == (row.get("owner").and_then(Value::as_str), row.get("fence").and_then(Value::as_u64));
                let same = row.get("status").and_then(Value::as_str) == Some(found.status.as_str());
                Ok((!ours || !same).then_some(found))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the row of a run: a fresh one, or over the one that has stood there since it began. `Some` is what is
    /// there instead, because another process has ended or taken over the run.
    pub(super) async fn end_row(&self, job: &str, open: &Open, ended: &Ended) -> Result<Option<HistoryRow>> {
        let row = last_row(job, open, ended);
        if !open.has_row {
            return self.put_row(&row).await;
        }
        let history = self.history_to_write().await?;
        for attempt in 0..8 {
            let Some(before) = history.snapshot(&open.run).await? else { return self.put_row(&row).await };
            let found = HistoryRow::read(&open.run, before.attributes());
            let ours = found.is_of(open);
            if !ours || found.status != RunStatus::Running {
                let done = ours && found.status == ended.outcome.status;
                return Ok((!done).then_some(found));
            }
            if swap_row(&history, &before, row.clone()).await? {
                return Ok(None);
            }
            self.db()?.inner.back_off(attempt).await;
        }
        Err(Error::new(ErrorKind::Conflict, format!("the row '{}' was changed by others again and again", open.run)))
    }

    /// Puts a row that says that a run is under way under this fence: in place of nothing, of instants that did not run,
    /// or of the same run under a lower fence. `Some` is the row that is there instead: the run has ended, or is taken.
    pub(super) async fn begin_row(&self, job: &str, open: &Open) -> Result<Option<HistoryRow>> {
        let row = first_row(job, open);
        let history = self.history_to_write().await?;
        for attempt in 0..8 {
            let Some(before) = history.snapshot(&open.run).await? else {
                match self.put_row(&row).await? {
                    None => return Ok(None),
                    Some(_) => continue,
                }
            };
            let found = HistoryRow::read(&open.run, before.attributes());
            let ours = found.is_of(open);
            match found.status {
                RunStatus::Running if ours => return Ok(None),
                RunStatus::Running if found.fence >= open.fence => return Ok(Some(found)),
                RunStatus::Running | RunStatus::Missed | RunStatus::Skipped => {}
                _ => return Ok(Some(found)),
            }
            if swap_row(&history, &before, row.clone()).await? {
                return Ok(None);
            }
            self.db()?.inner.back_off(attempt).await;
        }
        Err(Error::new(ErrorKind::Conflict, format!("the row '{}' was changed by others again and again", open.run)))
    }
}

/// Puts a row in place of what was read; `false` if it was changed meanwhile.
pub(super) async fn swap_row(history: &Resource, before: &Snapshot, mut row: Value) -> Result<bool> {
    if let Some(members) = row.as_object_mut() {
        members.shift_remove("id");
    }
    Ok(history.swap(before, row).await?.is_some())
}

/// A duration in whole milliseconds.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
