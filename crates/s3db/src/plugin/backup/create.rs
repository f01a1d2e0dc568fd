//! `backup`: one at a time for a database.
//!
//! Requests to the database, with O objects: lease GET, PUT; catalog GET; id GET; rows; LIST of folders; a LIST per
//! thousand objects; a GET per object that is read; catalog GET; lease PUT. A row says every few seconds how far
//! it is. A crash leaves a backup without a manifest, which is not listed as good and which the next backup
//! sweeps, a row that the next one corrects, and a lease that is free after 30 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use serde_json::json;
use tokio::sync::watch;

use super::events::{BackupEvent, Progress};
use super::ids::{self, BackupType};
use super::locks::Locks;
use super::manifest::Counts;
use super::parent::Plan;
use super::progress::{Told, Tracker};
use super::report::BackupReport;
use super::rows::{BackupStatus, first_row};
use super::run::{Lanes, Run, Scoped};
use super::settings::{Compression, Strategy};
use super::turn::{self, LEASE};
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseOptions};
use crate::resource::Resource;

impl BackupPlugin {
    /// Makes a backup. Only one runs for a database at a time.
    ///
    /// Costs a LIST per thousand objects and a GET per object that is new or changed, and about 12 requests more;
    /// memory is bounded whatever the size.
    ///
    /// # Errors
    /// `Busy` while another one runs; `Invalid` without a destination, or where include and exclude leave nothing;
    /// `Unsupported` if `on_backup_start` refuses, or the store has no conditional writes. A backup that failed or
    /// was cancelled after it began is an error with `{id, status, destinations}`. One that is complete at some
    /// destinations only is a report with the status `partial`.
    pub async fn backup(&self, kind: BackupType) -> Result<BackupReport> {
        self.backup_with(kind, &|_| ()).await
    }

    /// Makes a backup, and tells how far it is.
    ///
    /// # Errors
    /// As [`BackupPlugin::backup`].
    pub async fn backup_with(&self, kind: BackupType, progress: Told<'_>) -> Result<BackupReport> {
        // The future is large, and callers' futures hold it.
        Box::pin(self.core.create(kind, progress)).await
    }
}

/// A backup that was begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun<'a> {
    /// What was asked for.
    pub(super) kind: BackupType,
    /// The part of its id that no other has.
    pub(super) suffix: &'a str,
    /// The database's id.
    pub(super) source: &'a str,
    pub(super) started_ms: i64,
}

/// What is known before a backup has an id.
struct Prepared {
    rows: Resource,
    plan: Plan,
    scoped: Scoped,
}

/// How a run ended.
enum Ended {
    Done(Result<()>),
    Cancelled,
}

impl Core {
    async fn create(&self, kind: BackupType, progress: Told<'_>) -> Result<BackupReport> {
        let inner = Arc::clone(&self.db()?.inner);
        let places = self.places().await?;
        if self.from.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "these backups are only read")
                .guide("make backups with the destinations of s3db.toml"));
        }
        let suffix = ids::suffix(&*inner.entropy);
        let owner = turn::owner(&format!("backup {suffix}"));
        // Where a process died, it may take up to 30 s more to be sure of that.
        progress(&Progress { phase: "waiting for its turn".to_owned(), ..Progress::default() });
        let lease = self.db()?.lease(LEASE, &LeaseOptions::new(owner).at_once()).await.map_err(busy)?;
        let made = self.create_leased(kind, &suffix, places, &lease, progress).await;
        turn::release(lease).await;
        made
    }

    async fn create_leased(
        &self,
        kind: BackupType,
        suffix: &str,
        places: Vec<(String, Result<super::shelf::Place>)>,
        lease: &Lease,
        progress: Told<'_>,
    ) -> Result<BackupReport> {
        let inner = Arc::clone(&self.db()?.inner);
        let source = inner.database_id().await?;
        // An answer has just come, so that the store's time is known.
        let started_ms = inner.store.now_ms();
        let mut lanes = Lanes::new(self, places)?;
        let locks = lanes.lock(&inner).await;
        let begun = Begun { kind, suffix, source: &source, started_ms };
        let made = Box::pin(self.create_locked(&begun, &mut lanes, &locks, lease, progress)).await;
        locks.release().await;
        made
    }

    async fn create_locked(
        &self,
        begun: &Begun<'_>,
        lanes: &mut Lanes,
        locks: &Locks,
        lease: &Lease,
        progress: Told<'_>,
    ) -> Result<BackupReport> {
        let inner = Arc::clone(&self.db()?.inner);
        let Begun { kind, suffix, source, started_ms } = *begun;
        let Prepared { rows, plan, scoped } = lease.hold(locks.hold(Box::pin(self.prepare(begun, lanes)))).await??;
        // A backup that had to become a full one is called so.
        let id = ids::make(plan.kind, started_ms, suffix);
        self.callbacks.may_start(kind, &id)?;
        let compressed = self.settings.compression.unwrap_or_default() != Compression::None;
        rows.insert(first_row(&id, plan.kind, source, started_ms, self.recipients.is_some(), compressed)).await?;
        self.events.emit(|| BackupEvent::BackupStart { id: id.clone(), kind: plan.kind });
        self.tell(&format!("backup '{id}' begins"));
        let tell = |now: &Progress| {
            self.events.emit(|| BackupEvent::BackupProgress { id: id.clone(), progress: now.clone() });
            progress(now);
        };
        let tracker = Tracker::new(Arc::clone(&inner.clock), &tell);
        tracker.expect(plan.expected);
        let (stop, _runs) = self.running.begin(&id);
        let mut run = Run::new(self, &id, begun, scoped, plan, &tracker);
        let whole = lease.hold(async {
            let ended =
                self.race(&rows, &id, stop, &tracker, locks.hold(Box::pin(self.run_lanes(&mut run, lanes)))).await;
            run.clean_up(lanes).await;
            ended
        });
        let ended = match whole.await {
            Ok(ended) => ended,
            Err(lost) => {
                run.clean_up(lanes).await;
                Ended::Done(Err(lost))
            }
        };
        let cancelled = matches!(ended, Ended::Cancelled);
        let outcome = match ended {
            Ended::Done(done) => done,
            Ended::Cancelled => Err(Error::new(ErrorKind::Conflict, format!("backup '{id}' was cancelled"))
                .guide("nothing of it is left; begin another one when you like")),
        };
        let report = run.report(lanes, outcome.as_ref().err(), cancelled);
        self.end(&rows, &report, outcome).await
    }

    /// Looks at what is to be backed up and what stands at the destinations, and sweeps what is unfinished.
    async fn prepare(&self, begun: &Begun<'_>, lanes: &mut Lanes) -> Result<Prepared> {
        let scoped = Scoped::look(self).await?;
        lanes.survey().await;
        let rows = self.rows_to_write().await?;
        let everywhere = lanes.surveys();
        self.correct_rows(Some(begun.suffix), &everywhere).await?;
        for (place, survey) in lanes.open() {
            let swept = self.sweep_unfinished(place, survey, begun.source, Some(begun.suffix)).await;
            if let Err(error) = swept {
                tracing::warn!(target: "s3db::backup", %error, "unfinished backups at {} are not swept", place.location());
            }
            if let Err(error) = self.finish_deletes(place, survey, begun.source).await {
                tracing::warn!(target: "s3db::backup", %error, "deletes at {} are not finished", place.location());
            }
        }
        // With priorities the first one that can be reached is to take it.
        let taking = if self.in_priority() { everywhere.get(..1).unwrap_or_default() } else { &everywhere[..] };
        let plan = self.plan(begun.kind, begun.source, taking, &everywhere).await?;
        Ok(Prepared { rows, plan, scoped })
    }

    /// Runs until the work is done, or somebody wants it to end.
    async fn race(
        &self,
        rows: &Resource,
        id: &str,
        mut stop: watch::Receiver<bool>,
        tracker: &Tracker<'_>,
        work: impl Future<Output = Result<()>>,
    ) -> Ended {
        let asked = async {
            let here = std::pin::pin!(async {
                // The sender lives until the run has ended.
                let _asked = stop.wait_for(|stop| *stop).await;
            });
            let elsewhere = std::pin::pin!(self.beat(rows, id, tracker));
            select(here, elsewhere).await;
        };
        match select(std::pin::pin!(work), std::pin::pin!(asked)).await {
            Either::Left((done, _)) => Ended::Done(done),
            Either::Right(_) => Ended::Cancelled,
        }
    }

    /// Runs over the destinations as the strategy says.
    async fn run_lanes(&self, run: &mut Run<'_>, lanes: &mut Lanes) -> Result<()> {
        if !self.in_priority() {
            return run.through(lanes.all(), lanes).await;
        }
        let mut last = None;
        for at in lanes.all() {
            if last.is_some() {
                run.plan_anew(at, lanes).await?;
            }
            match run.through(vec![at], lanes).await {
                Ok(()) => {
                    lanes.skip_after(at);
                    return Ok(());
                }
                Err(error) => {
                    run.leave(at, &error, lanes).await;
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "no destination can be reached")))
    }

    fn in_priority(&self) -> bool {
        self.settings.strategy == Some(Strategy::Priority)
    }

    /// Tells the row, events and callbacks what became of a backup.
    async fn end(&self, rows: &Resource, report: &BackupReport, outcome: Result<()>) -> Result<BackupReport> {
        let complete = matches!(report.status, BackupStatus::Completed | BackupStatus::Partial);
        let error = outcome.as_ref().err().map(ToString::to_string);
        let good: Vec<String> =
            report.destinations.iter().filter(|d| d.status == "completed").map(|d| d.location.clone()).collect();
        let checksum = report.destinations.iter().find_map(|d| d.checksum.clone());
        let resources: Vec<&String> = report.resources.keys().filter(|name| !name.is_empty()).collect();
        let change = json!({
            "type": report.kind,
            "status": report.status,
            "resources": resources,
            "destinations": report.destinations,
            "size": report.size,
            "logicalSize": report.logical_size,
            "checksum": checksum,
            "error": error,
            "duration": report.duration,
            "parent": report.parent,
            "phase": null,
            "counts": report.counts,
            "manifest": report.destinations.iter().find(|d| d.status == "completed").map(|d| &d.path),
        });
        self.note(rows, &report.id, change).await;
        self.metrics.backed_up(report);
        let (id, kind) = (report.id.clone(), report.kind);
        if complete {
            let (size, duration) = (report.size, report.duration);
            self.events.emit(|| BackupEvent::BackupComplete { id, kind, size, duration, destinations: good });
            self.callbacks.completed(report);
            return Ok(report.clone());
        }
        let error =
            outcome.err().unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "no destination took the backup"));
        let details = json!({ "id": report.id, "status": report.status, "destinations": report.destinations });
        let error = error.detail(details);
        self.events.emit(|| BackupEvent::BackupError { id, kind, error: error.to_string() });
        self.callbacks.failed(kind, &error);
        Err(error)
    }
}

fn busy(error: Error) -> Error {
    if error.kind() != ErrorKind::Busy {
        return error;
    }
    error
        .context("another backup of this database runs")
        .guide("wait until it is done, or end it by `s3db backup cancel ID`; if its process died, its turn is over 30 s after that instant")
}

/// How long something took, in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The counts of nothing.
pub(super) fn nothing() -> (Counts, BTreeMap<String, super::sink::Contents>) {
    (Counts::default(), BTreeMap::new())
}
