//! `delete`: a backup goes, record and objects together.
//!
//! Order: a mark; a look for locks; the mark made final; its files; the manifest; the mark. A reader locks and
//! then looks for the mark, so that of a reader and a delete at least one gives way. A crash leaves a backup that
//! is marked, is not listed, and whose deletion the next cleanup finishes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::archive::read_manifest;
use super::locks;
use super::manifest::{DELETING, MANIFEST};
use super::sealed::{seal, unseal};
use super::shelf::{Place, Standing};
use super::survey::Survey;
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};

/// A mark that is not final and so old is one of a process that died.
const STALE_MS: i64 = 600_000;

/// Says that a backup is being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    at_ms: i64,
    /// The database whose backup it is.
    source: String,
    /// No reader was there: there is no way back.
    is_final: bool,
}

/// What became of a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gone {
    Yes,
    /// Somebody reads there.
    InUse,
    /// One that was finished just now builds on it.
    HasChild(String),
}

impl BackupPlugin {
    /// Deletes a backup wherever it stands, and its row.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if others build on it, or it is pinned; `Busy` while somebody reads.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let core = &self.core;
        let copies = core.own_copies(id).await?;
        let surveys = core.all_surveys().await?;
        let complete = surveys.iter().flat_map(|survey| &survey.complete);
        if let Some(child) = complete.into_iter().find(|copy| copy.manifest.parent.as_deref() == Some(id)) {
            return Err(has_child(id, &child.manifest.id));
        }
        if copies.iter().any(super::survey::Copy::is_pinned) {
            return Err(Error::new(ErrorKind::Conflict, format!("backup '{id}' is pinned"))
                .guide(format!("`s3db backup unpin {id}` takes the mark away")));
        }
        for copy in &copies {
            let at = copy.place.location();
            let here = |survey: &&Survey| survey.find(id).is_some_and(|there| there.place.location() == at);
            let Some(known) = surveys.iter().find(here) else { continue };
            match core.remove(&copy.place, &copy.standing, &copy.manifest.source, known).await? {
                Gone::Yes => {}
                Gone::InUse => {
                    return Err(Error::new(ErrorKind::Busy, format!("backups at {at} are being read"))
                        .guide("try again when that is over; a lock of a process that died ends after two minutes"));
                }
                Gone::HasChild(child) => return Err(has_child(id, &child)),
            }
        }
        core.forget(id).await
    }
}

fn has_child(id: &str, child: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("backup '{child}' builds on '{id}'")).guide("delete that one first")
}

/// A backup that came since, and builds on one.
async fn new_child(place: &Place, id: &str, known: &Survey) -> Result<Option<String>> {
    for standing in place.standing().await? {
        if known.find(&standing.id).is_some() || !standing.has_manifest() || standing.has(DELETING) {
            continue;
        }
        match read_manifest(place, &standing).await {
            Ok(Some(manifest)) if manifest.parent.as_deref() == Some(id) => return Ok(Some(manifest.id)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Unsupported) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Core {
    /// Deletes a backup at one place.
    ///
    /// `known` is what stood there when it was decided: what came since may build on it.
    pub(super) async fn remove(
        &self,
        place: &Place,
        standing: &Standing,
        source: &str,
        known: &Survey,
    ) -> Result<Gone> {
        let shelf = &place.shelf;
        let mark_path = format!("{}{DELETING}", standing.folder);
        let mark = |is_final| {
            let mark = Mark { at_ms: shelf.now_ms(), source: source.to_owned(), is_final };
            seal(&mark).map(Bytes::from)
        };
        let before = shelf.get(&mark_path).await?;
        let is_final = before.is_some_and(|bytes| unseal::<Mark>(&bytes, DELETING).is_ok_and(|mark| mark.is_final));
        if !is_final {
            shelf.put(&mark_path, mark(false)?).await?;
            // Who builds on it holds a lock until its manifest stands; so it is seen as one or the other.
            let gone = match locks::readers(place).await?.is_empty() {
                false => Gone::InUse,
                true => new_child(place, &standing.id, known).await?.map_or(Gone::Yes, Gone::HasChild),
            };
            if gone != Gone::Yes {
                // Somebody else's may be final by now.
                let now = shelf.get(&mark_path).await?;
                if !now.is_some_and(|bytes| unseal::<Mark>(&bytes, DELETING).is_ok_and(|mark| mark.is_final)) {
                    shelf.delete(&[mark_path]).await?;
                }
                return Ok(gone);
            }
            shelf.put(&mark_path, mark(true)?).await?;
        }
        let manifest = format!("{}{MANIFEST}", standing.folder);
        let files = shelf.list(&standing.folder).await?.into_iter().map(|stored| stored.path);
        let files: Vec<String> = files.filter(|path| *path != mark_path && *path != manifest).collect();
        shelf.delete(&files).await?;
        shelf.delete(&[manifest]).await?;
        shelf.delete(&[mark_path]).await?;
        shelf.tidy(&standing.folder).await?;
        self.tell(&format!("backup '{}' at {} was deleted", standing.id, place.location()));
        Ok(Gone::Yes)
    }

    /// Finishes deletes that were begun and are final. A mark that its process died on before it was final is
    /// taken back.
    pub(super) async fn finish_deletes(&self, place: &Place, survey: &Survey, source: &str) -> Result<Vec<String>> {
        let mut finished = Vec::new();
        for standing in &survey.leaving {
            let path = format!("{}{DELETING}", standing.folder);
            let Some(bytes) = place.shelf.get(&path).await? else { continue };
            match unseal::<Mark>(&bytes, DELETING) {
                Ok(mark) if mark.source != source => {}
                Ok(Mark { is_final: true, .. }) => {
                    self.remove(place, standing, source, survey).await?;
                    finished.push(standing.id.clone());
                }
                Ok(mark) if place.shelf.now_ms() - mark.at_ms < STALE_MS => {}
                _ => place.shelf.delete(&[path]).await?,
            }
        }
        Ok(finished)
    }

    /// Removes the row of a backup that stands nowhere any more.
    pub(super) async fn forget(&self, id: &str) -> Result<()> {
        if self.from.is_some() {
            return Ok(());
        }
        let Some(rows) = self.rows().await? else { return Ok(()) };
        match rows.delete(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }
}
