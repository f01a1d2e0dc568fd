//! `cleanup`: deletes what no rule keeps, at each destination by itself, and sweeps what is unfinished.

use serde::Serialize;

use super::delete::Gone;
use super::events::BackupEvent;
use super::ids::BackupType;
use super::retention::{Candidate, Policy};
use super::shelf::Place;
use super::survey::{Copy, Survey, survey};
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};

/// What a cleanup came to, or would come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Backups that are kept, the newest first.
    pub kept: Vec<CleanupRow>,
    /// Backups that were deleted, or would be.
    pub deleted: Vec<CleanupRow>,
    /// Unfinished backups that were swept, or would be.
    pub swept: Vec<String>,
    /// What is strange, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One backup at one destination, and why it is kept or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupRow {
    /// Its id.
    pub id: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// Bytes that it stores.
    pub size: u64,
    /// Where it is.
    pub destination: String,
    /// Why it is kept, or why not.
    pub reasons: Vec<String>,
}

impl BackupPlugin {
    /// Deletes the backups of this database that no rule of the retention keeps; an empty one keeps all. The
    /// newest, the newest verified one, pinned ones and the parents of those that are kept stay. `dry_run` says
    /// what would be done, and changes nothing.
    ///
    /// Costs a listing of each destination, a read for each manifest, and a few requests for each that goes.
    ///
    /// # Errors
    /// `Invalid` without a destination; `NotFound` where the database has no id, because it never made a backup.
    pub async fn cleanup(&self, dry_run: bool) -> Result<CleanupReport> {
        let core = &self.core;
        let settings = core.settings.retention.clone().unwrap_or_default();
        let policy = Policy::new(&settings, core.zone.clone())?;
        if core.from.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "these backups are only read")
                .guide("clean up with the destinations of s3db.toml"));
        }
        let places = core.open_places().await?;
        let Some(source) = core.db()?.inner.known_database_id().await? else {
            return Ok(CleanupReport {
                dry_run,
                warnings: vec!["this database has never made a backup, so none is its own".into()],
                ..CleanupReport::default()
            });
        };
        let mut report = CleanupReport { dry_run, ..CleanupReport::default() };
        let mut surveys = Vec::new();
        for place in &places {
            surveys.push(core.clean_up_at(place, &source, &policy, &mut report).await?);
        }
        if !dry_run {
            core.forget_gone(&report, &surveys).await?;
            let (kept, deleted) = (report.kept.len(), report.deleted.len());
            core.events.emit(|| BackupEvent::CleanupComplete { kept, deleted });
        }
        Ok(report)
    }
}

impl Core {
    async fn clean_up_at(
        &self,
        place: &Place,
        source: &str,
        policy: &Policy,
        report: &mut CleanupReport,
    ) -> Result<Survey> {
        let found = Box::pin(survey(place)).await?;
        let mut own: Vec<&Copy> = found.complete.iter().filter(|copy| copy.manifest.source == source).collect();
        // What is not whole counts for no rule, so that it never stands in the place of a good one.
        own.retain(|copy| match found.flaw(&copy.manifest.id) {
            None => true,
            Some(flaw) => {
                let (id, at) = (&copy.manifest.id, place.location());
                report.warnings.push(format!("{id} at {at} is not whole and is left alone: {flaw}"));
                false
            }
        });
        let mut candidates = Vec::with_capacity(own.len());
        for copy in &own {
            candidates.push(Candidate {
                id: copy.manifest.id.clone(),
                at_ms: copy.manifest.started_ms(),
                parent: copy.manifest.parent.clone(),
                pinned: copy.is_pinned(),
                verified: copy.verified().await?.is_some(),
            });
        }
        let running = self.lease_holder().await?;
        for decision in policy.decide(&candidates, place.shelf.now_ms()) {
            let Some(copy) = own.iter().find(|copy| copy.manifest.id == decision.id) else { continue };
            let mut row = row(copy, decision.reasons);
            if !row.reasons.is_empty() {
                report.kept.push(row);
                continue;
            }
            if !report.dry_run {
                match self.remove(place, &copy.standing, source, &found).await? {
                    Gone::Yes => {}
                    Gone::InUse => row.reasons.push("is being read".into()),
                    Gone::HasChild(child) => row.reasons.push(format!("parent of {child}")),
                }
                if !row.reasons.is_empty() {
                    report.kept.push(row);
                    continue;
                }
            }
            row.reasons.push("no rule keeps it".into());
            report.deleted.push(row);
        }
        self.sweep_at(place, &found, source, running.as_deref(), report).await?;
        Ok(found)
    }

    /// Sweeps what is unfinished, and finishes deletes that were begun.
    async fn sweep_at(
        &self,
        place: &Place,
        found: &Survey,
        source: &str,
        running: Option<&str>,
        report: &mut CleanupReport,
    ) -> Result<()> {
        for (standing, error) in &found.damaged {
            report.warnings.push(format!("{} at {} is left alone: {error}", standing.id, place.location()));
        }
        if report.dry_run {
            let runs = |id: &str| running.is_some_and(|running| running.contains(super::unfinished::stamp(id)));
            let open = found.unfinished.iter().filter(|standing| !standing.has_manifest() && !runs(&standing.id));
            report.swept.extend(open.map(|standing| standing.id.clone()));
            return Ok(());
        }
        // A look at the locks removes those of the dead.
        super::locks::readers(place).await?;
        report.swept.extend(self.sweep_unfinished(place, found, source, running).await?);
        report.swept.extend(self.finish_deletes(place, found, source).await?);
        Ok(())
    }

    /// Removes the rows of what was deleted and stands nowhere any more, and corrects those of the dead.
    async fn forget_gone(&self, report: &CleanupReport, surveys: &[Survey]) -> Result<()> {
        let mut gone: Vec<&String> = report.deleted.iter().map(|row| &row.id).collect();
        gone.sort_unstable();
        gone.dedup();
        for id in gone {
            if !report.kept.iter().any(|row| row.id == *id) {
                self.forget(id).await?;
            }
        }
        let surveys: Vec<&Survey> = surveys.iter().collect();
        self.correct_rows(self.lease_holder().await?.as_deref(), &surveys).await.map(drop)
    }
}

fn row(copy: &Copy, reasons: Vec<String>) -> CleanupRow {
    CleanupRow {
        id: copy.manifest.id.clone(),
        kind: copy.manifest.kind,
        started_at: copy.manifest.started_at.clone(),
        size: copy.manifest.size,
        destination: copy.place.location(),
        reasons,
    }
}
