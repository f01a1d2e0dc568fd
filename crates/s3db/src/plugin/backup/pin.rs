//! Marks on a backup: never to be deleted, verified.

use bytes::Bytes;
use serde_json::json;

use super::list::nowhere;
use super::manifest::{PINNED, VERIFIED};
use super::sealed::seal;
use super::survey::{Copy, Verified};
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};

impl BackupPlugin {
    /// Marks a backup as one that `cleanup` never deletes, wherever it stands. Costs a PUT for each place.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pin(&self, id: &str) -> Result<()> {
        let copies = self.core.own_copies(id).await?;
        for copy in &copies {
            let mark = json!({ "id": id, "at": s3db_format::date::rfc3339(copy.place.shelf.now_ms()) });
            copy.place.shelf.put(&format!("{}{PINNED}", copy.standing.folder), Bytes::from(seal(&mark)?)).await?;
        }
        Ok(())
    }

    /// Takes the mark of [`BackupPlugin::pin`] away. One that is not marked stays as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn unpin(&self, id: &str) -> Result<()> {
        for copy in self.core.own_copies(id).await? {
            copy.place.shelf.delete(&[format!("{}{PINNED}", copy.standing.folder)]).await?;
        }
        Ok(())
    }
}

impl Core {
    /// A backup of this database wherever it stands complete.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is another database's.
    pub(super) async fn own_copies(&self, id: &str) -> Result<Vec<Copy>> {
        let copies = self.copies(id).await?;
        let source = self.source().await?;
        let theirs = copies.iter().find(|copy| source.as_ref().is_none_or(|source| copy.manifest.source != *source));
        match theirs {
            None => Ok(copies),
            Some(copy) => Err(Error::new(
                ErrorKind::Conflict,
                format!("backup '{id}' is one of another database ({})", copy.manifest.source),
            )
            .guide("change it from that database: its chains are known there")),
        }
    }

    /// A backup wherever it stands complete.
    ///
    /// # Errors
    /// `NotFound`, or what is wrong with it.
    pub(super) async fn copies(&self, id: &str) -> Result<Vec<Copy>> {
        let mut copies = Vec::new();
        let mut last = None;
        for survey in self.surveys().await? {
            match survey.line_of(id) {
                Ok(_) => copies.extend(survey.find(id).cloned()),
                Err(error) => {
                    copies.extend(survey.find(id).cloned());
                    if last.is_none() || error.kind() != ErrorKind::NotFound {
                        last = Some(error);
                    }
                }
            }
        }
        if copies.is_empty() { Err(nowhere(id, last)) } else { Ok(copies) }
    }

    /// Notes that a copy was found whole. It is a hint for `cleanup`, so an error is logged and not returned.
    pub(super) async fn note_verified(&self, copy: &Copy, level: &str) {
        let at = s3db_format::date::rfc3339(copy.place.shelf.now_ms());
        let note = Verified { level: level.to_owned(), at };
        let path = format!("{}{VERIFIED}", copy.standing.folder);
        let sealed = match seal(&note) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::warn!(target: "s3db::backup", %error, "the verification of '{}' is not noted", copy.manifest.id);
                return;
            }
        };
        if let Err(error) = copy.place.shelf.put(&path, Bytes::from(sealed)).await {
            tracing::debug!(target: "s3db::backup", %error, "the verification of '{}' is not noted", copy.manifest.id);
        }
    }
}
