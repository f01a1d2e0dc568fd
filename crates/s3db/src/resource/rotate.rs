//! Encrypting secrets anew under another passphrase.
//!
//! Requests per record that holds secrets: GET, PUT `If-Match`. A crash leaves some records under
//! the new passphrase and the others under the old; running it again finishes, because what already
//! opens with the new one is left alone.

use std::sync::Arc;

use s3db_format::record::Content;
use s3db_format::revision::{Stamp, UNSTAMPED};
use s3db_store::Precondition;
use serde::Serialize;

use super::Resource;
use super::ids::{Ids, Source as IdSource};
use super::write::{Outcome, Source};
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::secrets::Secrets;

const ATTEMPTS: u32 = 16;

/// What a rotation did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RotateReport {
    /// Records that were read.
    pub records: usize,
    /// Records whose secrets are now under the new passphrase.
    pub rotated: usize,
}

impl Database {
    /// Encrypts every secret of every resource under another passphrase. `progress` is told the
    /// records so far. While it runs, readers need the passphrase that a record is under.
    ///
    /// # Errors
    /// `Integrity` for a secret that opens under neither passphrase, naming record and field; what
    /// was rotated stays, and running it again goes on.
    pub async fn rotate_secrets(
        &self,
        new_passphrase: &str,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<RotateReport> {
        if new_passphrase.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the new passphrase is empty").guide("nothing was changed"));
        }
        let new = Secrets::new(Some(new_passphrase.to_owned()), Arc::clone(&self.inner.entropy));
        let mut report = RotateReport::default();
        for name in self.resource_names().await? {
            let resource = self.resource(&name).await?;
            let entry = resource.catalog_entry().await?;
            if entry.versions().iter().all(|v| v.schema.secrets().next().is_none()) {
                continue;
            }
            let mut ids = Ids::new(&resource, IdSource::Records, None);
            loop {
                let batch = ids.next_ids(usize::MAX).await?;
                if batch.is_empty() {
                    break;
                }
                for id in batch {
                    report.rotated +=
                        usize::from(resource.rotate(&id, &new).await.map_err(|e| e.context(&resource.what(&id)))?);
                    report.records += 1;
                    progress(report.records);
                }
            }
        }
        Ok(report)
    }
}

impl Resource {
    /// Rotates one record; whether anything was to be done.
    async fn rotate(&self, id: &str, new: &Secrets) -> Result<bool> {
        for attempt in 0..ATTEMPTS {
            let resource = self.inner.resource_for_write(&self.name).await?;
            let Some((object, decoded)) = self.load(id).await? else { return Ok(false) };
            let mut sealed = std::collections::HashMap::new();
            let mut changed = false;
            for field in &decoded.secrets {
                let ciphertext = match new.open(field).await {
                    Ok(_) => field.ciphertext.clone(),
                    Err(_) => {
                        changed = true;
                        new.seal(&field.path, &self.inner.secrets.open(field).await?).await?
                    }
                };
                sealed.insert(field.path.clone(), ciphertext);
            }
            if !changed {
                return Ok(false);
            }
            let rev = self.inner.ulid();
            let stamp = match &decoded.stamp {
                Some(old) => old.next(rev, self.inner.recent().as_deref()),
                None => Stamp::over_unstamped(rev, Default::default()),
            };
            let version = resource.version(&decoded.version).unwrap_or(resource.current());
            let content_type = object.meta.content_type.as_deref().unwrap_or("application/octet-stream");
            let content = decoded.has_content.then_some(Content { body: &object.body, content_type });
            let source =
                Source { id, attributes: decoded.attributes.clone(), stamp: &stamp, kept_secrets: sealed, content };
            let prepared = self.prepare(version, source).await?;
            let outcome = if content.is_some() {
                self.replace_headers(id, &object.meta.etag, &prepared.put).await?
            } else {
                let base = decoded.stamp.as_ref().map_or(UNSTAMPED, |s| s.rev.as_str());
                let precondition = Precondition::Matches(object.meta.etag.clone());
                self.put_decided(id, &prepared.put, precondition, &stamp.rev, Some(base)).await?
            };
            match outcome {
                Outcome::Won(_) => return Ok(true),
                Outcome::Lost => self.inner.back_off(attempt).await,
                Outcome::Undecided(cause) => return Err(Error::undecided("the rotation", cause)),
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{} was changed by others {ATTEMPTS} times in a row", self.what(id)),
        )
        .guide("try again"))
    }
}
