//! `verify`: whether a backup is whole, with everything that it builds on.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use serde::Serialize;

use super::archive::Archive;
use super::chain::{Chain, Lines};
use super::line::{Fingerprint, IndexLine, Line};
use super::list::nowhere;
use super::manifest::{FileEntry, FileKind, VERIFIED};
use super::progress::{Told, Tracker};
use super::survey::{Copy, Survey};
use super::{BackupPlugin, Core};
use crate::entropy::below;
use crate::error::{Error, ErrorKind, Result};

/// Files that are checked side by side.
const TOGETHER: usize = 8;
/// One of so many files is read by `sample`, and at least so many.
const SAMPLE_OF: usize = 10;
const SAMPLE_LEAST: usize = 3;

/// How closely a backup is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyLevel {
    /// Manifests, and whether every file is there in its size.
    Quick,
    /// That, and one file in ten read.
    Sample,
    /// Every byte read, every digest compared, every line against the index.
    Full,
    /// A restore into a scratch database, compared object by object.
    Drill,
}

impl VerifyLevel {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Sample => "sample",
            Self::Full => "full",
            Self::Drill => "drill",
        }
    }
}

impl FromStr for VerifyLevel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Quick, Self::Sample, Self::Full, Self::Drill];
        all.into_iter().find(|level| level.as_str() == text).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("'{text}' is no level of verification"))
                .guide("levels are quick, sample, full and drill")
        })
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Whether nothing is wrong, and something was looked at.
    pub valid: bool,
    /// How closely it was looked at.
    pub level: VerifyLevel,
    /// The backups that were looked at: it, and what it builds on.
    pub backups: Vec<String>,
    /// Files that were looked at.
    pub files: u64,
    /// Objects whose lines were read.
    pub objects: u64,
    /// Bytes that were read, as they are stored.
    pub bytes: u64,
    /// Whether files were unpacked; `false` where no key that was given opens them: then only their digests were
    /// compared.
    pub opened: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file, or the object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// The backup.
    pub backup: String,
    /// Where it stands.
    pub destination: String,
}

impl VerifyReport {
    fn new(level: VerifyLevel) -> Self {
        Self {
            valid: false,
            level,
            backups: Vec::new(),
            files: 0,
            objects: 0,
            bytes: 0,
            opened: true,
            problems: Vec::new(),
        }
    }

    fn end(mut self) -> Self {
        // Nothing that was looked at is nothing that was proven.
        self.valid = self.problems.is_empty() && self.files > 0;
        self
    }
}

impl BackupPlugin {
    /// Looks whether a backup, with everything that it builds on, is whole at every destination that has it. A
    /// damaged backup is a report that is not `valid`, not an error.
    ///
    /// Costs a listing of each destination and its manifests; from `sample` on a read of the files.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` if it is encrypted, and a drill has no key; the destination cannot be read.
    pub async fn verify(&self, id: &str, level: VerifyLevel) -> Result<VerifyReport> {
        self.verify_with(id, level, &|_| ()).await
    }

    /// Verifies, and tells how far it is.
    ///
    /// # Errors
    /// As [`BackupPlugin::verify`].
    pub async fn verify_with(&self, id: &str, level: VerifyLevel, progress: Told<'_>) -> Result<VerifyReport> {
        let core = &self.core;
        let tracker = Tracker::new(Arc::clone(&core.db()?.inner.clock), progress);
        if level == VerifyLevel::Drill {
            return Box::pin(core.verify_by_drill(id, progress)).await;
        }
        let mut report = VerifyReport::new(level);
        let mut found = false;
        let surveys = core.surveys().await?;
        for survey in &surveys {
            found |= Box::pin(core.verify_at(survey, id, &tracker, &mut report)).await?;
        }
        if !found {
            return Err(nowhere(id, surveys.iter().find_map(|survey| survey.line_of(id).err())));
        }
        let report = report.end();
        core.metrics.verified(level, report.valid, core.db()?.inner.store.now_ms());
        Ok(report)
    }
}

impl Core {
    async fn verify_by_drill(&self, id: &str, progress: Told<'_>) -> Result<VerifyReport> {
        let mut report = VerifyReport::new(VerifyLevel::Drill);
        let copies = self.copies(id).await?;
        for copy in &copies {
            match copy.open(self).await {
                Ok(archive) => archive.codec().map(drop)?,
                // The drill says what is wrong.
                Err(error) if error.kind() == ErrorKind::Integrity => {}
                Err(error) => return Err(error),
            }
        }
        match Box::pin(self.drill(id, progress)).await {
            Ok(drill) => {
                report.backups = drill.backups;
                (report.files, report.objects, report.bytes) = (drill.files, drill.objects, drill.bytes);
            }
            Err(error) if error.kind() == ErrorKind::Integrity => {
                let member = |name: &str| error.details().and_then(|d| d.get(name)).and_then(|m| m.as_str());
                report.problems.push(Problem {
                    object: member("file").unwrap_or_default().to_owned(),
                    problem: plain(&error),
                    backup: member("backup").unwrap_or(id).to_owned(),
                    destination: String::new(),
                });
            }
            Err(error) => return Err(error),
        }
        let report = report.end();
        for copy in copies.iter().filter(|_| report.valid) {
            self.note_verified(copy, report.level.as_str()).await;
        }
        self.metrics.verified(VerifyLevel::Drill, report.valid, self.db()?.inner.store.now_ms());
        Ok(report)
    }

    /// Verifies a backup at one place; `false` if it is not there.
    async fn verify_at(
        &self,
        survey: &Survey,
        id: &str,
        tracker: &Tracker<'_>,
        report: &mut VerifyReport,
    ) -> Result<bool> {
        if let Some((standing, error)) = survey.damaged.iter().find(|(standing, _)| standing.id == id) {
            if error.kind() == ErrorKind::Unsupported {
                return Err(error.clone());
            }
            report.problems.push(Problem {
                object: super::manifest::MANIFEST.to_owned(),
                problem: error.to_string(),
                backup: standing.id.clone(),
                destination: String::new(),
            });
            return Ok(true);
        }
        let Some(tip) = survey.find(id) else { return Ok(false) };
        let before = report.problems.len();
        let line = match survey.line_of(id) {
            Ok(line) => line,
            Err(error) => {
                let destination = tip.place.location();
                let problem = error.to_string();
                report.problems.push(Problem { object: String::new(), problem, backup: id.to_owned(), destination });
                vec![tip]
            }
        };
        for copy in &line {
            self.verify_copy(copy, tracker, report).await?;
        }
        if report.problems.len() > before && tip.standing.has(VERIFIED) {
            let note = format!("{}{VERIFIED}", tip.standing.folder);
            if let Err(error) = tip.place.shelf.delete(&[note]).await {
                tracing::warn!(target: "s3db::backup", %error, "'{id}' still counts as verified");
            }
        }
        // What nobody opened was not proven to be readable.
        if report.problems.len() == before && report.level != VerifyLevel::Quick && report.opened {
            self.note_verified(tip, report.level.as_str()).await;
        }
        Ok(true)
    }

    /// Verifies one backup, without its parents.
    async fn verify_copy(&self, copy: &Copy, tracker: &Tracker<'_>, report: &mut VerifyReport) -> Result<()> {
        let problem = |object: &str, problem: String| Problem {
            object: object.to_owned(),
            problem,
            backup: copy.manifest.id.clone(),
            destination: copy.place.location(),
        };
        if !report.backups.contains(&copy.manifest.id) {
            report.backups.push(copy.manifest.id.clone());
        }
        let whole = report.problems.len();
        report.problems.extend(copy.problems().into_iter().map(|(file, why)| problem(&file, why)));
        let archive = match copy.open(self).await {
            Ok(archive) => Arc::new(archive),
            Err(error) if error.kind() == ErrorKind::Integrity => {
                report.problems.push(problem(super::manifest::MANIFEST, plain(&error)));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if archive.manifest.encryption.is_some()
            && self.key_problem(&archive).await?.is_some_and(|why| {
                report.problems.push(problem("keys", why));
                true
            })
        {
            return Ok(());
        }
        report.opened &= archive.is_open();
        let files = self.files_to_read(&archive, report.level);
        if report.level == VerifyLevel::Quick {
            report.files += archive.manifest.files.len() as u64 + 1;
            return Ok(());
        }
        let known =
            |file: &FileEntry| report.problems.iter().any(|p| p.backup == copy.manifest.id && p.object == file.path);
        let files: Vec<FileEntry> = files.into_iter().filter(|file| !known(file)).collect();
        for (file, bad) in check_files(&archive, files, tracker).await? {
            report.files += 1;
            report.bytes += file.size;
            report.problems.extend(bad.map(|error| problem(&file.path, plain(&error))));
        }
        if report.level == VerifyLevel::Full && archive.is_open() && report.problems.len() == whole {
            match check_lines(&archive).await {
                Ok(objects) => report.objects += objects,
                Err(error) if error.kind() == ErrorKind::Integrity => {
                    let file = error.details().and_then(|d| d.get("file")).and_then(|f| f.as_str()).unwrap_or_default();
                    report.problems.push(problem(file, plain(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is wrong with the files of keys.
    async fn key_problem(&self, archive: &Archive) -> Result<Option<String>> {
        match archive.key_files().await {
            Ok(files) if files.is_empty() => Ok(Some("there is none, so nobody can read this backup".to_owned())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Integrity => Ok(Some(plain(&error))),
            Err(error) => Err(error),
        }
    }

    /// The files that a level reads.
    fn files_to_read(&self, archive: &Archive, level: VerifyLevel) -> Vec<FileEntry> {
        let all = archive.manifest.files.clone();
        if level != VerifyLevel::Sample {
            return all;
        }
        let wanted = (all.len() / SAMPLE_OF).max(SAMPLE_LEAST).min(all.len());
        let mut picked = BTreeSet::new();
        while let Some(db) = self.db.get().filter(|_| picked.len() < wanted) {
            picked.insert(usize::try_from(below(&*db.inner.entropy, all.len() as u64)).unwrap_or_default());
        }
        all.into_iter().enumerate().filter(|(at, _)| picked.contains(at)).map(|(_, file)| file).collect()
    }
}

/// What is wrong, without where: a report says that itself.
fn plain(error: &Error) -> String {
    let problem = error.details().and_then(|details| details.get("problem")).and_then(|problem| problem.as_str());
    problem.map_or_else(|| error.to_string(), str::to_owned)
}

/// Reads files side by side; each with what is wrong with it.
async fn check_files(
    archive: &Arc<Archive>,
    files: Vec<FileEntry>,
    tracker: &Tracker<'_>,
) -> Result<Vec<(FileEntry, Option<Error>)>> {
    tracker.phase("verifying");
    tracker.expect(files.len() as u64);
    let mut checked = Vec::with_capacity(files.len());
    let work = stream::iter(files).map(|file| async move {
        let lists = file.kind == FileKind::Files;
        let read = if archive.is_open() && !lists {
            archive.read(&file).await.map(drop)
        } else {
            archive.read_stored(&file).await.map(drop)
        };
        tracker.add(1, file.size);
        (file, read)
    });
    let mut work = std::pin::pin!(work.buffered(TOGETHER));
    while let Some((file, read)) = work.next().await {
        match read {
            Ok(()) => checked.push((file, None)),
            Err(error) if error.kind() == ErrorKind::Integrity => checked.push((file, Some(error))),
            Err(error) => return Err(error),
        }
    }
    Ok(checked)
}

/// Compares every line of the segments with its line in the index, and its object with its digest.
async fn check_lines(archive: &Arc<Archive>) -> Result<u64> {
    let mut lines: Lines<Line> = Lines::of(archive);
    let mut index: Lines<IndexLine> = Lines::of(archive);
    let (mut stored, mut deleted) = (0, 0);
    loop {
        match (lines.take().await?, index.take().await?) {
            (None, None) => break,
            (Some(line), Some(entry)) if line.index(entry.segment) == entry => {
                check_line(archive, &line).await?;
                if line.deleted { deleted += 1 } else { stored += 1 }
            }
            (line, entry) => {
                let key = line.map(|line| line.key).or(entry.map(|entry| entry.key)).unwrap_or_default();
                return Err(archive.damaged("index", &format!("'{key}' is not what the segments hold")));
            }
        }
    }
    let counts = archive.manifest.counts;
    if (stored, deleted) == (counts.stored, counts.deleted) {
        return Ok(stored);
    }
    let why = format!(
        "it counts {} objects and {} deletes, the segments hold {stored} and {deleted}",
        counts.stored, counts.deleted
    );
    Err(archive.damaged(super::manifest::MANIFEST, &why))
}

/// Compares an object with its digest; a large one over all of its files.
pub(super) async fn check_line(archive: &Archive, line: &Line) -> Result<()> {
    line.check()?;
    if line.files.is_empty() {
        return Ok(());
    }
    let mut fingerprint = Fingerprint::begin(line.content_type.as_deref(), &line.headers);
    let mut size = 0;
    for path in &line.files {
        let part = archive.read(file_of(archive, path)?).await?;
        size += part.len() as u64;
        fingerprint.update(&part);
    }
    if size == line.size && fingerprint.end() == line.sha256 {
        return Ok(());
    }
    Err(archive
        .damaged(line.files.first().map_or("", String::as_str), &format!("'{}' does not have its digest", line.key)))
}

/// The file of a part.
pub(super) fn file_of<'a>(archive: &'a Archive, path: &str) -> Result<&'a FileEntry> {
    archive
        .manifest
        .of_kind(FileKind::Object)
        .find(|file| file.path == path)
        .ok_or_else(|| archive.damaged(path, "a line names it, and the manifest does not"))
}

/// Checks every byte of a chain, as a restore does before its first write.
pub(super) async fn prove(chain: &Chain, tracker: &Tracker<'_>) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for archive in &chain.0 {
        archive.codec()?;
        for (file, bad) in check_files(archive, archive.manifest.files.clone(), tracker).await? {
            if let Some(error) = bad {
                return Err(error);
            }
            files += 1;
            bytes += file.size;
        }
        check_lines(archive).await?;
    }
    Ok((files, bytes))
}
