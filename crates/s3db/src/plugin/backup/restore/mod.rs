//! `restore`: proven before it writes, compared when it is done.
//!
//! Order: locks at the destinations; every file of the backup and of what it builds on read and checked; the
//! target looked at; a note in the target of what is under way; the catalog's versions, where the target has
//! others; objects, each record after its index keys; references; the catalog last, where the target was empty;
//! markers; deletes; timers and actions that are due; everything compared; the note removed. A crash leaves the
//! note, and the same restore goes on; an empty target has no catalog until its objects are there.

mod catalog;
mod choose;
mod compare;
mod finish;
mod plan;
mod target;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::create::millis;
use super::events::{BackupEvent, Progress};
use super::locks::Locks;
use super::progress::{Told, Tracker};
use super::turn;
use super::{BackupPlugin, Core};
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};

/// What becomes of records that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// There must be none.
    #[default]
    Fail,
    /// They stay.
    Skip,
    /// Those of the backup replace them, others stay.
    Overwrite,
    /// Those of the backup replace them, others are deleted.
    Replace,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Overwrite => "overwrite",
            Self::Replace => "replace",
        })
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Fail, Self::Skip, Self::Overwrite, Self::Replace].into_iter().find(|m| m.to_string() == text).ok_or_else(
            || {
                Error::new(ErrorKind::Invalid, format!("'{text}' is no mode of a restore"))
                    .guide("modes are fail, skip, overwrite and replace")
            },
        )
    }
}

/// What is restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Only these resources; empty is everything.
    pub resources: BTreeSet<String>,
    /// Only records with these ids; empty is all.
    pub ids: BTreeSet<String>,
    /// New names of resources.
    pub rename: BTreeMap<String, String>,
}

impl Selection {
    /// Whether it is everything, under the same names.
    pub fn is_whole(&self) -> bool {
        self.resources.is_empty() && self.ids.is_empty() && self.rename.is_empty()
    }

    pub(super) fn takes(&self, resource: &str) -> bool {
        self.resources.is_empty() || self.resources.contains(resource)
    }

    /// The name in the target.
    pub(super) fn name<'a>(&'a self, resource: &'a str) -> &'a str {
        self.rename.get(resource).map_or(resource, String::as_str)
    }
}

/// How a restore is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What is restored.
    pub selection: Selection,
    /// What becomes of records that are there.
    pub mode: Mode,
    /// Prove the backup, say what would be done, and write nothing.
    pub dry_run: bool,
    /// Restore although somebody works on the target, or another restore there was not finished.
    pub force: bool,
    /// Whether the target takes the place of the database that was backed up, and keeps its id. Without it, it does
    /// if it is the plugin's own database.
    pub in_place: Option<bool>,
    /// Whether timers, actions and jobs of the target are paused until [`Database::resume`]. Without it they are,
    /// unless the target takes the place of the database that was backed up.
    pub pause: Option<bool>,
    /// Leave the comparison at the end out: it reads every object once more.
    pub skip_comparison: bool,
}

/// What a restore came to, or would come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// The backup.
    pub id: String,
    /// It, and what it builds on, the oldest first.
    pub backups: Vec<String>,
    /// Where to.
    pub target: String,
    /// What becomes of records that are there.
    pub mode: Mode,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether an earlier one that was cut off went on.
    pub resumed: bool,
    /// Objects of the backup that were chosen.
    pub objects: u64,
    /// Objects that were written.
    pub written: u64,
    /// Objects that were there already, as they are in the backup.
    pub unchanged: u64,
    /// Objects of the target that stayed as they were.
    pub kept: u64,
    /// Records of the target that were deleted, because the backup does not have them.
    pub deleted: u64,
    /// Objects that were read again and compared at the end.
    pub compared: u64,
    /// Bytes of bodies that were written.
    pub bytes: u64,
    /// Files that were read and checked before anything was written.
    pub files: u64,
    /// Records by the name of the resource in the target.
    pub resources: BTreeMap<String, u64>,
    /// Whether timers, actions and jobs of the target are paused.
    pub paused: bool,
    /// Milliseconds.
    pub duration: u64,
    /// What is strange, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl BackupPlugin {
    /// Restores into the plugin's own database.
    ///
    /// Costs a few reads of each file; a PUT and a GET per object, and a PUT per index key; a few requests more per
    /// resource.
    ///
    /// # Errors
    /// `NotFound` for a backup, resource or id that is not there; `Integrity` for one that is damaged, or whose
    /// key is missing; `AlreadyExists` where records are there and the mode is `fail`; `Busy` where somebody works
    /// on the target; `Conflict` where another restore was not finished. None of these has written anything.
    pub async fn restore(&self, id: &str, options: &RestoreOptions) -> Result<RestoreReport> {
        self.restore_into(self.core.db()?, id, options).await
    }

    /// Restores into any database.
    ///
    /// # Errors
    /// As [`BackupPlugin::restore`].
    pub async fn restore_into(&self, target: &Database, id: &str, options: &RestoreOptions) -> Result<RestoreReport> {
        self.restore_with(target, id, options, &|_| ()).await
    }

    /// Restores, and tells how far it is.
    ///
    /// # Errors
    /// As [`BackupPlugin::restore`].
    pub async fn restore_with(
        &self,
        target: &Database,
        id: &str,
        options: &RestoreOptions,
        progress: Told<'_>,
    ) -> Result<RestoreReport> {
        Box::pin(self.core.restore_locked(target, id, options, progress)).await
    }

    /// The newest backup that was complete at an instant, in milliseconds since 1970: it shows nothing that
    /// happened later.
    ///
    /// # Errors
    /// `NotFound`, naming the oldest one.
    pub async fn backup_at(&self, instant_ms: i64) -> Result<String> {
        let core = &self.core;
        let source = core.source().await?;
        let mut found: Vec<super::manifest::Manifest> = Vec::new();
        for survey in core.surveys().await? {
            let own = survey.complete.into_iter().map(|copy| copy.manifest);
            found.extend(own.filter(|manifest| source.as_ref().is_none_or(|source| manifest.source == *source)));
        }
        let finished = |m: &super::manifest::Manifest| s3db_format::date::instant(&m.finished_at).unwrap_or(i64::MAX);
        let before = found.iter().filter(|m| finished(m) <= instant_ms).max_by_key(|m| (finished(m), m.sequence));
        before.map(|manifest| manifest.id.clone()).ok_or_else(|| {
            let at = s3db_format::date::rfc3339(instant_ms);
            let oldest = found.iter().map(|m| m.finished_at.as_str()).min();
            Error::new(ErrorKind::NotFound, format!("no backup was complete at {at}")).guide(match oldest {
                Some(oldest) => format!("the oldest was complete at {oldest}"),
                None => "there is no backup at all".to_owned(),
            })
        })
    }
}

impl Core {
    pub(super) async fn restore_locked(
        &self,
        target: &Database,
        id: &str,
        options: &RestoreOptions,
        progress: Told<'_>,
    ) -> Result<RestoreReport> {
        let inner = &self.db()?.inner;
        let places = self.open_places().await?;
        let owner = turn::owner("restore");
        let locks = Locks::take(&places, &owner, &inner.clock, &*inner.entropy).await;
        let restored = locks.hold(Box::pin(self.restore_now(target, id, options, progress))).await;
        locks.release().await;
        restored
    }

    async fn restore_now(
        &self,
        target: &Database,
        id: &str,
        options: &RestoreOptions,
        progress: Told<'_>,
    ) -> Result<RestoreReport> {
        let tell = |now: &Progress| progress(now);
        let tracker = Tracker::new(Arc::clone(&self.db()?.inner.clock), &tell);
        let chosen = Box::pin(self.choose(id, &tracker)).await?;
        let plan = plan::Plan::make(&chosen.chain, options).await?;
        let own = target.location() == self.db()?.location();
        let elsewhere = !options.in_place.unwrap_or(own);
        let into = target::Target::look(target, &plan, options, elsewhere).await?;
        let mut report = RestoreReport {
            id: id.to_owned(),
            backups: chosen.chain.0.iter().map(|archive| archive.manifest.id.clone()).collect(),
            target: target.location(),
            mode: options.mode,
            dry_run: options.dry_run,
            objects: plan.objects,
            files: chosen.files,
            resources: plan.records.clone(),
            warnings: chosen.warnings,
            resumed: into.resumed,
            paused: into.pause,
            ..RestoreReport::default()
        };
        if options.dry_run {
            report.duration = millis(tracker.elapsed());
            return Ok(report);
        }
        self.events.emit(|| BackupEvent::RestoreStart { id: id.to_owned(), target: target.location() });
        self.tell(&format!("restoring '{id}' into {}", target.location()));
        let restore = write::Restore { chain: &chosen.chain, plan: &plan, into: &into, options, tracker: &tracker };
        let work = Box::pin(async {
            into.begin().await?;
            restore.run(&mut report).await?;
            into.end().await
        });
        // One restore at a time, and no backup of half a database.
        match into.lease(id).await? {
            None => work.await?,
            Some(lease) => {
                let done = lease.hold(work).await;
                turn::release(lease).await;
                done??;
            }
        }
        report.duration = millis(tracker.elapsed());
        self.metrics.restored();
        let (written, duration) = (report.written, report.duration);
        self.events.emit(|| BackupEvent::RestoreComplete {
            id: id.to_owned(),
            target: target.location(),
            written,
            duration,
        });
        Ok(report)
    }
}
