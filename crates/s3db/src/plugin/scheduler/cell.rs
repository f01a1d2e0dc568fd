//! Records of jobs on the store, read and changed by compare-and-swap.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, List, Precondition};
use serde_json::json;

use super::Core;
use super::record::{JobRecord, Open, Outcome};
use crate::database::json_object;
use crate::error::{Error, ErrorKind, Result};

/// How long a run whose heartbeat stands still counts as alive.
pub(super) const EXPIRY: Duration = Duration::from_secs(30);
/// Pauses between heartbeats.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);
/// Times that a change is made again after losing.
const MERGES: u32 = 16;

/// A record as it was read or written last.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) record: JobRecord,
    pub(super) etag: String,
}

/// What this process has of a job's record, and what it has watched of runs of others.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) seen: Option<Seen>,
    watched: HashMap<String, Watched>,
    /// Ends of runs of others that their rows have shown.
    ended: HashMap<String, Outcome>,
    /// Rows of instants that did not run that are known to be there.
    written: HashSet<String>,
}

/// A run of another process: the same heartbeat seen from then until then.
#[derive(Debug, Clone)]
struct Watched {
    beat: (u64, u64),
    since: Duration,
    until: Duration,
    /// Whether it has ever been seen to change.
    alive: bool,
}

/// What watching a run has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Its heartbeat has changed within the expiry.
    Beats,
    /// Not watched for long enough.
    Unknown,
    /// It stood still for the whole expiry, and this process looked all the time.
    Stopped,
}

impl Cell {
    /// Takes in a record that was read, written or found unchanged just now. `gap` is how long this process may look
    /// away without having to begin anew.
    pub(super) fn looked(&mut self, seen: Option<Seen>, at: Duration, gap: Duration) {
        let runs: Vec<(String, (u64, u64))> = seen.as_ref().map_or_else(Vec::new, |seen| {
            let runs = seen.record.open.iter().filter(|open| open.is_run());
            runs.map(|open| (open.run.clone(), (open.fence, open.beat))).collect()
        });
        self.watched.retain(|run, _| runs.iter().any(|(open, _)| open == run));
        self.ended.retain(|run, _| runs.iter().any(|(open, _)| open == run));
        let entries = || seen.iter().flat_map(|seen| &seen.record.open);
        self.written.retain(|run| entries().any(|open| open.run == *run));
        for (run, beat) in runs {
            let new = Watched { beat, since: at, until: at, alive: false };
            let watched = self.watched.entry(run.clone()).or_insert_with(|| new.clone());
            if watched.beat != beat {
                // It may have been taken for dead too early.
                self.ended.remove(&run);
                *watched = Watched { alive: true, ..new };
            } else if at.saturating_sub(watched.until) > gap {
                // Nobody looked meanwhile: the store may have been away for its process, too.
                *watched = Watched { alive: watched.alive, ..new };
            }
            watched.until = at;
        }
        self.seen = seen;
    }

    pub(super) fn ended(&self, run: &str) -> Option<Outcome> {
        self.ended.get(run).cloned()
    }

    pub(super) fn note_end(&mut self, run: &str, outcome: Outcome) {
        self.ended.insert(run.to_owned(), outcome);
    }

    pub(super) fn is_written(&self, run: &str) -> bool {
        self.written.contains(run)
    }

    pub(super) fn written(&mut self, run: &str) {
        self.written.insert(run.to_owned());
    }

    /// What is known of a run of another process.
    pub(super) fn pulse(&self, open: &Open) -> Pulse {
        match self.watched.get(&open.run) {
            Some(watched) if watched.until.saturating_sub(watched.since) >= EXPIRY => Pulse::Stopped,
            Some(watched) if watched.alive => Pulse::Beats,
            _ => Pulse::Unknown,
        }
    }
}

impl Core {
    /// How long this process may look away from a run without having to begin anew to watch it.
    fn gap(&self) -> Duration {
        (self.settings.poll_interval * 3 / 2).max(EXPIRY / 2)
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.db.get().map_or(Duration::ZERO, |db| db.inner.clock.monotonic())
    }

    /// Reads a job's record.
    pub(super) async fn read_record(&self, name: &str) -> Result<Option<Seen>> {
        let Some(object) = self.db()?.inner.read(&keys::job(name)).await? else { return Ok(None) };
        Ok(Some(Seen { record: JobRecord::parse(name, &object.body)?, etag: object.meta.etag }))
    }

    /// Reads a job's record into its cell.
    pub(super) async fn refresh(&self, name: &str, cell: &mut Cell) -> Result<()> {
        let seen = self.read_record(name).await?;
        cell.looked(seen, self.monotonic(), self.gap());
        Ok(())
    }

    /// Takes in that a listing shows the record unchanged.
    pub(super) fn confirm(&self, cell: &mut Cell) {
        let seen = cell.seen.take();
        cell.looked(seen, self.monotonic(), self.gap());
    }

    /// Writes a record over the one that the cell has. `false`: somebody else wrote first, and the cell has what is
    /// there now.
    pub(super) async fn write(&self, name: &str, cell: &mut Cell, mut record: JobRecord) -> Result<bool> {
        let inner = &self.db()?.inner;
        record.token = inner.ulid();
        let condition =
            cell.seen.as_ref().map_or(Precondition::Absent, |seen| Precondition::Matches(seen.etag.clone()));
        let put = json_object(&json!(record));
        let mut last = None;
        for attempt in inner.attempts() {
            match inner.store.put(&keys::job(name), put.clone(), condition.clone()).await {
                Ok(etag) => {
                    cell.looked(Some(Seen { record, etag }), self.monotonic(), self.gap());
                    return Ok(true);
                }
                Err(error) if matches!(error.kind, StoreKind::Precondition | StoreKind::NotFound) => {
                    self.refresh(name, cell).await?;
                    let mine = cell.seen.as_ref().is_some_and(|seen| seen.record.token == record.token);
                    return Ok(mine);
                }
                Err(error) if error.is_transient() => {
                    inner.slow_down(&error);
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
            inner.back_off(attempt).await;
        }
        // It may have taken effect: what is there is read before anything is decided again.
        cell.seen = None;
        let error = last.map_or_else(|| Error::new(ErrorKind::Unavailable, "no attempt was made"), Error::from);
        Err(error.context(&format!("job '{name}'")))
    }

    /// Changes a record until the change wins. `change` returns `None` where nothing is to be written.
    pub(super) async fn change<T>(
        &self,
        name: &str,
        cell: &mut Cell,
        change: impl Fn(Option<&JobRecord>) -> Result<Option<(JobRecord, T)>>,
    ) -> Result<Option<T>> {
        for attempt in 0..MERGES {
            if cell.seen.is_none() || attempt > 0 {
                self.refresh(name, cell).await?;
            }
            let Some((record, result)) = change(cell.seen.as_ref().map(|seen| &seen.record))? else { return Ok(None) };
            if self.write(name, cell, record).await? {
                return Ok(Some(result));
            }
            self.db()?.inner.back_off(attempt).await;
        }
        Err(Error::new(ErrorKind::Conflict, format!("job '{name}' was changed by others {MERGES} times in a row"))
            .guide("try again"))
    }

    /// The names of all jobs that are stored, with the ETags of their records.
    pub(super) async fn list_records(&self) -> Result<Vec<(String, String)>> {
        let inner = &self.db()?.inner;
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = inner.list(List { token, ..List::prefix(keys::JOBS) }).await?;
            found.extend(page.entries.into_iter().filter_map(|entry| Some((keys::job_name(&entry.key)?, entry.etag))));
            token = page.next;
            if token.is_none() {
                return Ok(found);
            }
        }
    }
}
