//! What stands at the destinations: complete backups, unfinished ones, damaged ones.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::Core;
use super::archive::Archive;
use super::archive::read_manifest;
use super::chain::{Chain, LONGEST};
use super::manifest::{DELETING, Manifest, VERIFIED};
use super::sealed::unseal;
use super::shelf::{Place, Standing};
use crate::error::{Error, ErrorKind, Result};

/// Manifests that are read side by side.
const TOGETHER: usize = 16;

/// A complete backup at a place.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) place: Place,
    pub(super) standing: Standing,
    pub(super) manifest: Manifest,
}

/// What stands at one place.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Complete backups, the newest first.
    pub(super) complete: Vec<Copy>,
    /// Backups without a manifest, and those that were given up.
    pub(super) unfinished: Vec<Standing>,
    /// Backups that are being deleted.
    pub(super) leaving: Vec<Standing>,
    /// Backups whose manifest cannot be read, and why.
    pub(super) damaged: Vec<(Standing, Error)>,
}

/// What says when a backup was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verified {
    pub(super) level: String,
    pub(super) at: String,
}

/// Looks at everything that stands at a place.
pub(super) async fn survey(place: &Place) -> Result<Survey> {
    let mut survey = Survey::default();
    let read = stream::iter(place.standing().await?).map(|standing| async move {
        let manifest = if standing.has_manifest() { read_manifest(place, &standing).await } else { Ok(None) };
        (standing, manifest)
    });
    let mut read = std::pin::pin!(read.buffer_unordered(TOGETHER));
    while let Some((standing, manifest)) = read.next().await {
        match manifest {
            _ if standing.has(DELETING) => survey.leaving.push(standing),
            Ok(Some(manifest)) => survey.complete.push(Copy { place: place.clone(), standing, manifest }),
            Ok(None) => survey.unfinished.push(standing),
            Err(error) if matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Unsupported) => {
                survey.damaged.push((standing, error));
            }
            Err(error) => return Err(error),
        }
    }
    survey.complete.sort_by(|a, b| newest_first(&a.manifest, &b.manifest));
    survey.unfinished.sort_by(|a, b| a.folder.cmp(&b.folder));
    survey.damaged.sort_by(|(a, _), (b, _)| a.folder.cmp(&b.folder));
    Ok(survey)
}

/// By the number in the manifest: clocks may go back.
pub(super) fn newest_first(a: &Manifest, b: &Manifest) -> std::cmp::Ordering {
    (b.sequence, &b.id).cmp(&(a.sequence, &a.id))
}

impl Survey {
    pub(super) fn find(&self, id: &str) -> Option<&Copy> {
        self.complete.iter().find(|copy| copy.manifest.id == id)
    }

    /// A backup and its parents, the oldest first.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` if a parent is missing.
    pub(super) fn line_of(&self, id: &str) -> Result<Vec<&Copy>> {
        let mut line = Vec::new();
        let mut wanted = Some(id.to_owned());
        while let Some(id) = wanted.take() {
            let Some(copy) = self.find(&id) else {
                let Some(child) = line.last().map(|child: &&Copy| &child.manifest.id) else {
                    return Err(self.missing(&id));
                };
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!("backup '{child}' builds on '{id}', which is not there"),
                )
                .guide("restore a backup that is whole, or bring that one back from another copy")
                .detail(serde_json::json!({ "backup": child, "missing": id })));
            };
            line.push(copy);
            if line.len() > LONGEST {
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!("backup '{id}' builds on more than {LONGEST} others"),
                ));
            }
            wanted.clone_from(&copy.manifest.parent);
        }
        line.reverse();
        Ok(line)
    }

    /// Why a backup, or one that it builds on, is not whole, as far as a listing says.
    pub(super) fn flaw(&self, id: &str) -> Option<String> {
        match self.line_of(id) {
            Err(error) => Some(error.to_string()),
            Ok(line) => line.iter().find_map(|copy| {
                let (file, problem) = copy.problems().into_iter().next()?;
                Some(format!("{file} of {} {problem}", copy.manifest.id))
            }),
        }
    }

    /// Why a backup is not to be found.
    fn missing(&self, id: &str) -> Error {
        if let Some((_, error)) = self.damaged.iter().find(|(standing, _)| standing.id == id) {
            return error.clone();
        }
        if self.unfinished.iter().any(|standing| standing.id == id) {
            return Error::new(ErrorKind::NotFound, format!("backup '{id}' is not complete"))
                .guide("it was cut off or given up; `s3db backup list` shows those that are complete");
        }
        if self.leaving.iter().any(|standing| standing.id == id) {
            return Error::new(ErrorKind::NotFound, format!("backup '{id}' is being deleted"))
                .guide("`s3db backup list` shows those that are complete");
        }
        let near = s3db_format::error::did_you_mean(id, self.complete.iter().map(|copy| copy.manifest.id.as_str()));
        Error::not_found("backup", id)
            .guide(near.unwrap_or_else(|| "`s3db backup list` shows those that are complete".to_owned()))
    }
}

impl Copy {
    /// Whether every file of the manifest is there in its size, as far as the listing says.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for file in &self.manifest.files {
            match self.standing.files.get(&file.path) {
                None => problems.push((file.path.clone(), "is missing".to_owned())),
                Some(size) if *size != file.size => {
                    problems.push((file.path.clone(), format!("has {size} bytes instead of {}", file.size)));
                }
                Some(_) => {}
            }
        }
        let listed: BTreeSet<&str> = self.manifest.files.iter().map(|file| file.path.as_str()).collect();
        for path in self.standing.files.keys() {
            let hidden = path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            if !hidden && !Standing::is_note(path) && !listed.contains(path.as_str()) {
                problems.push((path.clone(), "is not one of this backup's files".to_owned()));
            }
        }
        problems
    }

    pub(super) async fn open(&self, core: &Core) -> Result<Archive> {
        let opened = Archive::open(&self.place, &self.standing, &core.identities, core.limiter.clone());
        Box::pin(opened).await
    }

    /// When and how it was verified last, if that can be read.
    pub(super) async fn verified(&self) -> Result<Option<Verified>> {
        if !self.standing.has(VERIFIED) {
            return Ok(None);
        }
        let bytes = self.place.shelf.get(&format!("{}{VERIFIED}", self.standing.folder)).await?;
        // One that is damaged counts as none.
        Ok(bytes.and_then(|bytes| unseal(&bytes, VERIFIED).ok()))
    }

    /// Whether it is marked never to be deleted.
    pub(super) fn is_pinned(&self) -> bool {
        self.standing.has(super::manifest::PINNED)
    }
}

/// Opens a backup and its parents.
pub(super) async fn open_chain(core: &Core, line: &[&Copy]) -> Result<Chain> {
    let mut archives = Vec::with_capacity(line.len());
    for copy in line {
        archives.push(std::sync::Arc::new(copy.open(core).await?));
    }
    Ok(Chain(archives))
}
