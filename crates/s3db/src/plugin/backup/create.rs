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

use super::events::{BackupEvent, Progress};
use super::ids::{self, BackupType};
use super::manifest::Counts;
use super::progress::{Told, Tracker};
use super::report::BackupReport;
use super::rows::{BackupStatus, first_row};
use super::run::{Lanes, Run};
use super::settings::{Compression, Strategy};
use super::unfinished::stamp;
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseOptions};
use crate::resource::Resource;

/// The lease of backups.
pub(super) const LEASE: &str = "backup";

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
        inner.fresh_catalog().await?;
        let started_ms = inner.store.now_ms();
        let id = ids::make(kind, started_ms, &*inner.entropy);
        let owner = format!("backup {} by process {}", stamp(&id), std::process::id());
        let lease = self.db()?.lease(LEASE, &LeaseOptions::new(owner)).await.map_err(busy)?;
        let made = self.create_with(kind, &id, started_ms, places, &lease, progress).await;
        if let Err(error) = lease.release().await {
            tracing::warn!(target: "s3db::backup", %error, "the lease of backups was not released; it is free in 30 s");
        }
        made
    }

    async fn create_with(
        &self,
        kind: BackupType,
        id: &str,
        started_ms: i64,
        places: Vec<(String, Result<super::shelf::Place>)>,
        lease: &Lease,
        progress: Told<'_>,
    ) -> Result<BackupReport> {
        let inner = Arc::clone(&self.db()?.inner);
        let source = inner.database_id().await?;
        let mut lanes = Lanes::survey(self, places).await?;
        let locks = lanes.lock(self, &inner).await;
        let prepared = locks.hold(async {
            lanes.survey_again().await;
            let rows = self.rows_to_write().await?;
            self.correct_rows(Some(stamp(id))).await?;
            for (place, survey) in lanes.open() {
                self.sweep_unfinished(place, survey, &source, Some(stamp(id))).await?;
            }
            let everywhere = lanes.surveys();
            // With priorities the first one that can be reached is to take it.
            let taking = if self.in_priority() { everywhere.get(..1).unwrap_or_default() } else { &everywhere[..] };
            let plan = self.plan(kind, &source, taking, &everywhere).await?;
            Ok((rows, plan))
        });
        let (rows, plan) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                locks.release().await;
                return Err(error);
            }
        };
        // A backup that had to become a full one is called so.
        let id = id.replacen(kind.as_str(), plan.kind.as_str(), 1);
        if let Err(refused) = self.callbacks.may_start(kind, &id) {
            locks.release().await;
            return Err(refused);
        }
        let compression = self.settings.compression.unwrap_or_default();
        let first =
            first_row(&id, plan.kind, &source, started_ms, self.recipients.is_some(), compression != Compression::None);
        rows.insert(first).await?;
        self.events.emit(|| BackupEvent::BackupStart { id: id.clone(), kind: plan.kind });
        self.tell(&format!("backup '{id}' begins"));
        let tell = |now: &Progress| {
            self.events.emit(|| BackupEvent::BackupProgress { id: id.clone(), progress: now.clone() });
            progress(now);
        };
        let tracker = Tracker::new(Arc::clone(&inner.clock), &tell);
        tracker.expect(plan.expected);
        let mut run = Run::new(self, &id, started_ms, &source, kind, plan, &tracker);
        let ended = self.race(&rows, &id, lease, &tracker, locks.hold(self.run_lanes(&mut run, &mut lanes))).await;
        let cancelled = matches!(ended, Ended::Cancelled);
        let outcome = match ended {
            Ended::Done(done) => done,
            Ended::Cancelled => Err(Error::new(ErrorKind::Conflict, format!("backup '{id}' was cancelled"))
                .guide("nothing of it is left; begin another one when you like")),
        };
        run.clean_up(&mut lanes).await;
        locks.release().await;
        let report = run.report(&lanes, outcome.as_ref().err(), cancelled);
        self.end(&rows, &report, outcome).await
    }

    /// Runs until the work is done, the lease is lost, or somebody wants it to end.
    async fn race(
        &self,
        rows: &Resource,
        id: &str,
        lease: &Lease,
        tracker: &Tracker<'_>,
        work: impl Future<Output = Result<()>>,
    ) -> Ended {
        let mut stop = self.running.begin(id);
        let asked = async {
            let here = std::pin::pin!(async {
                // The sender lives until the run has ended.
                let _asked = stop.wait_for(|stop| *stop).await;
            });
            let elsewhere = std::pin::pin!(self.beat(rows, id, tracker));
            select(here, elsewhere).await;
        };
        let held = lease.hold(work);
        match select(std::pin::pin!(held), std::pin::pin!(asked)).await {
            Either::Left((Ok(done), _)) => Ended::Done(done),
            Either::Left((Err(lost), _)) => Ended::Done(Err(lost)),
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
        self.running.end(&report.id);
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
        .guide("wait until it is done, or end it: `s3db backup list` names it, `s3db backup cancel ID` ends it")
}

/// How long something took, in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The counts of nothing.
pub(super) fn nothing() -> (Counts, BTreeMap<String, super::sink::Contents>) {
    (Counts::default(), BTreeMap::new())
}
