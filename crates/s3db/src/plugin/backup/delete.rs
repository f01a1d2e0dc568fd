//! `delete`: a backup goes, record and objects together.
//!
//! Order: a mark; a look for locks; the mark made final; its files; the manifest; the mark. A reader locks and
//! then looks for the mark, so that of a reader and a delete at least one gives way. A crash leaves a backup that
//! is marked, is not listed, and whose deletion the next cleanup finishes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Yes,
    /// Somebody reads there.
    InUse,
}

impl BackupPlugin {
    /// Deletes a backup wherever it stands, and its row.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if others build on it, or it is pinned; `Busy` while somebody reads.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let core = &self.core;
        let copies = core.own_copies(id).await?;
        for survey in core.surveys().await? {
            let child = survey.complete.iter().find(|copy| copy.manifest.parent.as_deref() == Some(id));
            if let Some(child) = child {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("backup '{}' builds on '{id}'", child.manifest.id),
                )
                .guide("delete that one first"));
            }
        }
        if copies.iter().any(super::survey::Copy::is_pinned) {
            return Err(Error::new(ErrorKind::Conflict, format!("backup '{id}' is pinned"))
                .guide(format!("`s3db backup unpin {id}` takes the mark away")));
        }
        for copy in &copies {
            if core.remove(&copy.place, &copy.standing, &copy.manifest.source).await? == Gone::InUse {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("backups at {} are being read", copy.place.location()),
                )
                .guide("try again when that is over; a lock of a process that died ends after two minutes"));
            }
        }
        core.forget(id).await
    }
}

impl Core {
    /// Deletes a backup at one place.
    pub(super) async fn remove(&self, place: &Place, standing: &Standing, source: &str) -> Result<Gone> {
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
            if !locks::readers(place).await?.is_empty() {
                shelf.delete(&[mark_path]).await?;
                return Ok(Gone::InUse);
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
                    self.remove(place, standing, source).await?;
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
