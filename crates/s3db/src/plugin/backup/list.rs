//! `list` and `show`: what stands at the destinations, and what rows say of those that came to nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::ids::BackupType;
use super::manifest::{Counts, FileKind, Manifest};
use super::report::DestinationReport;
use super::rows::{BackupStatus, text};
use super::sink::Contents;
use super::survey::{Copy, Survey, Verified, survey};
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;

/// Which backups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Only those of a type.
    pub kind: Option<BackupType>,
    /// Only those of a status.
    pub status: Option<BackupStatus>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

/// A backup in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    /// Its id.
    pub id: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// What became of it. An unfinished one of a process that died is `failed`.
    pub status: BackupStatus,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// Milliseconds, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Bytes that are stored.
    pub size: u64,
    /// Bytes of the bodies and headers that it holds.
    pub logical_size: u64,
    /// Objects.
    pub counts: Counts,
    /// The backup that it builds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The database's id.
    pub source: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// How it is compressed.
    pub compression: String,
    /// Whether it is never to be deleted.
    pub pinned: bool,
    /// When it was verified last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// How it was verified last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_level: Option<String>,
    /// Where it is, and what became of it there.
    pub destinations: Vec<DestinationReport>,
    /// What it does now, where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How far it is, where it runs: `{objects, bytes, total, eta}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
    /// What it holds, by resource; only where one backup is shown, and it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<BTreeMap<String, Contents>>,
    /// Why it failed, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    sequence: u64,
}

impl BackupPlugin {
    /// The backups of this database, the newest first: those that stand at the destinations, and those that rows
    /// say came to nothing. Where the database is gone, or backups are read from elsewhere, those of every
    /// database.
    ///
    /// Costs a listing of each destination, a read for each manifest, and a listing of rows.
    ///
    /// # Errors
    /// No destination can be read.
    pub async fn list_backups(&self, options: &ListOptions) -> Result<Vec<BackupSummary>> {
        let core = &self.core;
        let source = core.source().await?;
        let mut found: BTreeMap<String, BackupSummary> = BTreeMap::new();
        let mut damaged: BTreeMap<String, BackupSummary> = BTreeMap::new();
        for survey in core.surveys().await? {
            collect(&survey, source.as_deref(), &mut found).await?;
            damaged.extend(survey.damaged.iter().filter_map(|(standing, error)| of_damaged(&standing.id, error)));
        }
        core.add_rows(&mut found, &damaged).await?;
        if source.is_none() {
            // Whose they are nobody can tell.
            for (id, backup) in damaged {
                found.entry(id).or_insert(backup);
            }
        }
        let wanted = |backup: &BackupSummary| {
            options.kind.is_none_or(|kind| backup.kind == kind) && options.status.is_none_or(|s| backup.status == s)
        };
        let mut list: Vec<BackupSummary> = found.into_values().filter(wanted).collect();
        sort(&mut list);
        list.truncate(options.limit.unwrap_or(usize::MAX));
        Ok(list)
    }

    /// One backup, with what it holds by resource, or how far it is.
    ///
    /// # Errors
    /// `NotFound`; as [`BackupPlugin::list_backups`].
    pub async fn get_backup_status(&self, id: &str) -> Result<BackupSummary> {
        let list = self.list_backups(&ListOptions::default()).await?;
        let near = s3db_format::error::did_you_mean(id, list.iter().map(|backup| backup.id.as_str()));
        let Some(mut backup) = list.into_iter().find(|backup| backup.id == id) else {
            return Err(Error::not_found("backup", id)
                .guide(near.unwrap_or_else(|| "`s3db backup list` shows those that there are".to_owned())));
        };
        if matches!(backup.status, BackupStatus::Completed | BackupStatus::Partial) {
            backup.resources = self.core.contents(id).await?;
        }
        Ok(backup)
    }
}

impl Core {
    /// What stands at each destination that can be read.
    pub(super) async fn surveys(&self) -> Result<Vec<Survey>> {
        let mut surveys = Vec::new();
        let mut first = None;
        for place in self.open_places().await? {
            match Box::pin(survey(&place)).await {
                Ok(found) => surveys.push(found),
                Err(error) => {
                    tracing::warn!(target: "s3db::backup", %error, "the destination {} cannot be read", place.location());
                    first.get_or_insert(error);
                }
            }
        }
        match (surveys.is_empty(), first) {
            (true, Some(error)) => Err(error),
            _ => Ok(surveys),
        }
    }

    /// What stands at each destination.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) async fn all_surveys(&self) -> Result<Vec<Survey>> {
        let mut surveys = Vec::new();
        for (name, place) in self.places().await? {
            let found = match place {
                Ok(place) => Box::pin(survey(&place)).await,
                Err(error) => Err(error),
            };
            surveys.push(found.map_err(|e| e.context(&format!("nothing was changed, since {name} cannot be read")))?);
        }
        Ok(surveys)
    }

    /// What a backup holds by resource; `None` where no key that was given opens it.
    async fn contents(&self, id: &str) -> Result<Option<BTreeMap<String, Contents>>> {
        for survey in self.surveys().await? {
            let Some(copy) = survey.find(id) else { continue };
            let archive = copy.open(self).await?;
            let file = archive.manifest.of_kind(FileKind::Contents).next().cloned();
            let Some(file) = file.filter(|_| archive.is_open()) else { continue };
            let document: Value = serde_json::from_slice(&archive.read(&file).await?)
                .map_err(|e| archive.damaged(&file.path, &e.to_string()))?;
            let resources = document.get("resources").cloned().unwrap_or_default();
            return serde_json::from_value(resources)
                .map(Some)
                .map_err(|e| archive.damaged(&file.path, &e.to_string()));
        }
        Ok(None)
    }

    /// Adds what rows say: of backups that stand nowhere, and what only a row knows of the others.
    async fn add_rows(
        &self,
        found: &mut BTreeMap<String, BackupSummary>,
        damaged: &BTreeMap<String, BackupSummary>,
    ) -> Result<()> {
        let Some(rows) = self.rows().await?.filter(|_| self.from.is_none()) else { return Ok(()) };
        let holder = self.lease_holder().await?;
        for row in rows.list(&Query::all()).await?.items {
            let status = BackupStatus::parse(text(&row.attributes, "status"));
            if let Some(backup) = found.get_mut(&row.id) {
                complete(backup, status, &row.attributes);
                continue;
            }
            if let Some(backup) = damaged.get(&row.id) {
                found.insert(row.id, backup.clone());
                continue;
            }
            // A row of s3db.js: its archive holds nothing.
            let Some(status) = status.filter(|_| super::ids::is_id(&row.id)) else { continue };
            let runs = holder.as_deref().is_some_and(|holder| holder.contains(super::unfinished::stamp(&row.id)));
            let backup = of_row(&row.id, &row.attributes, status, runs);
            found.extend(backup.map(|backup| (row.id.clone(), backup)));
        }
        Ok(())
    }
}

/// Collects the complete and the damaged backups of a place.
async fn collect(survey: &Survey, source: Option<&str>, found: &mut BTreeMap<String, BackupSummary>) -> Result<()> {
    for copy in survey.complete.iter().filter(|copy| source.is_none_or(|source| copy.manifest.source == source)) {
        let verified = copy.verified().await?;
        let flaw = survey.flaw(&copy.manifest.id);
        let backup = found.entry(copy.manifest.id.clone()).or_insert_with(|| BackupSummary {
            status: BackupStatus::Failed,
            error: flaw.clone(),
            ..of_manifest(&copy.manifest)
        });
        // It is good where one copy is whole.
        if flaw.is_none() {
            (backup.status, backup.error) = (BackupStatus::Completed, None);
        }
        backup.pinned |= copy.is_pinned();
        if let Some(Verified { level, at }) =
            verified.filter(|v| backup.verified_at.as_ref().is_none_or(|at| v.at > *at))
        {
            (backup.verified_at, backup.verified_level) = (Some(at), Some(level));
        }
        backup.size = backup.size.max(copy.manifest.size);
        backup.destinations.push(standing(copy, flaw));
    }
    Ok(())
}

/// A backup whose manifest cannot be read.
fn of_damaged(id: &str, error: &Error) -> Option<(String, BackupSummary)> {
    let backup = BackupSummary {
        status: BackupStatus::Failed,
        error: Some(error.to_string()),
        ..blank(id, kind_of(id)?, started_at(id))
    };
    Some((id.to_owned(), backup))
}

fn kind_of(id: &str) -> Option<BackupType> {
    id.split('_').nth(1)?.parse().ok()
}

/// The instant in an id.
fn started_at(id: &str) -> String {
    let stamp = id.split('_').nth(2).unwrap_or_default();
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15),
        part(15, 18)
    )
}

fn blank(id: &str, kind: BackupType, started_at: String) -> BackupSummary {
    BackupSummary {
        id: id.to_owned(),
        kind,
        status: BackupStatus::Completed,
        started_at,
        duration: None,
        size: 0,
        logical_size: 0,
        counts: Counts::default(),
        parent: None,
        source: String::new(),
        encrypted: false,
        compression: String::new(),
        pinned: false,
        verified_at: None,
        verified_level: None,
        destinations: Vec::new(),
        phase: None,
        progress: None,
        resources: None,
        error: None,
        sequence: u64::MAX,
    }
}

fn of_manifest(manifest: &Manifest) -> BackupSummary {
    let finished = s3db_format::date::instant(&manifest.finished_at).unwrap_or_default();
    BackupSummary {
        duration: u64::try_from(finished - manifest.started_ms()).ok(),
        logical_size: manifest.counts.bytes,
        counts: manifest.counts,
        parent: manifest.parent.clone(),
        source: manifest.source.clone(),
        encrypted: manifest.encryption.is_some(),
        compression: manifest.compression.as_str().to_owned(),
        sequence: manifest.sequence,
        ..blank(&manifest.id, manifest.kind, manifest.started_at.clone())
    }
}

fn standing(copy: &Copy, flaw: Option<String>) -> DestinationReport {
    DestinationReport {
        kind: copy.place.kind.to_owned(),
        location: copy.place.location(),
        path: copy.standing.folder.clone(),
        status: if flaw.is_none() { "completed" } else { "damaged" }.to_owned(),
        size: copy.manifest.size,
        files: copy.manifest.files.len() as u64,
        checksum: None,
        error: flaw,
    }
}

/// What only a row knows of a backup that stands somewhere.
fn complete(backup: &mut BackupSummary, status: Option<BackupStatus>, row: &serde_json::Map<String, Value>) {
    if status == Some(BackupStatus::Partial) && backup.status == BackupStatus::Completed {
        backup.status = BackupStatus::Partial;
    }
    backup.duration = row.get("duration").and_then(Value::as_u64).filter(|_| status.is_some()).or(backup.duration);
    let failed = row.get("destinations").and_then(Value::as_array).into_iter().flatten();
    for destination in failed.filter(|d| d.get("status").and_then(Value::as_str) == Some("failed")) {
        let member = |name: &str| destination.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        backup.destinations.push(DestinationReport {
            kind: member("type"),
            location: member("location"),
            path: member("path"),
            status: "failed".to_owned(),
            size: 0,
            files: 0,
            checksum: None,
            error: Some(member("error")),
        });
    }
}

/// A backup that stands nowhere.
fn of_row(id: &str, row: &serde_json::Map<String, Value>, status: BackupStatus, runs: bool) -> Option<BackupSummary> {
    let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or_default();
    let error = Some(text(row, "error").to_owned()).filter(|error| !error.is_empty());
    let (status, error) = match status {
        BackupStatus::InProgress if !runs => {
            (BackupStatus::Failed, Some("the process ended before the backup did".to_owned()))
        }
        BackupStatus::Completed | BackupStatus::Partial => {
            (BackupStatus::Failed, Some("it is at no destination any more".to_owned()))
        }
        other => (other, error),
    };
    let at_ms = row.get("timestamp").and_then(Value::as_i64).unwrap_or_default();
    Some(BackupSummary {
        status,
        duration: Some(number("duration")),
        size: number("size"),
        logical_size: number("logicalSize"),
        parent: Some(text(row, "parent").to_owned()).filter(|parent| !parent.is_empty()),
        source: text(row, "source").to_owned(),
        encrypted: row.get("encrypted").and_then(Value::as_bool).unwrap_or_default(),
        phase: Some(text(row, "phase").to_owned()).filter(|phase| runs && !phase.is_empty()),
        progress: row.get("counts").cloned().filter(|_| runs),
        error,
        ..blank(id, kind_of(id)?, s3db_format::date::rfc3339(at_ms))
    })
}

/// The newest first: by the number in the manifest, those without one by their time among the others.
fn sort(list: &mut [BackupSummary]) {
    list.sort_by(|a, b| {
        let numbered = a.sequence != u64::MAX && b.sequence != u64::MAX && a.source == b.source;
        let by_number = if numbered { b.sequence.cmp(&a.sequence) } else { std::cmp::Ordering::Equal };
        by_number.then_with(|| (&b.started_at, &b.id).cmp(&(&a.started_at, &a.id)))
    });
}

/// An error where a backup is nowhere.
pub(super) fn nowhere(id: &str, last: Option<Error>) -> Error {
    last.unwrap_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("backup '{id}' does not exist"))
            .guide("`s3db backup list` shows those that there are")
    })
}
