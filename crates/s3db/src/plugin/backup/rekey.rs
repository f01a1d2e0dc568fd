//! Other keys for backups that are there: only `keys/` is touched.

use bytes::Bytes;
use serde::Serialize;

use super::archive::{Archive, blocking};
use super::keys::{KEY_LIST, KeyFile, KeyList};
use super::sealed::seal;
use super::survey::Copy;
use super::turn::{self, LEASE};
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::LeaseOptions;

/// What a change of keys came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RekeyReport {
    /// Backups that the recipients of the settings open from now on, and nobody else.
    pub rekeyed: Vec<String>,
    /// Backups that are not encrypted.
    pub plain: Vec<String>,
}

impl BackupPlugin {
    /// Encrypts the keys of a backup, or of all of this database, to the recipients and the passphrase of the
    /// settings, and to nobody else. What is stored of the backup stays as it is.
    ///
    /// Costs a read of its keys, and a PUT for each file of keys, at each place.
    ///
    /// # Errors
    /// `Integrity` if no key that was given opens it; `Invalid` without encryption in the settings; `NotFound`.
    pub async fn rekey(&self, id: Option<&str>) -> Result<RekeyReport> {
        let core = &self.core;
        if core.from.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "these backups are only read")
                .guide("change keys with the destinations of s3db.toml"));
        }
        // Two that change the same keys would each remove what the other wrote.
        let owner = LeaseOptions::new(turn::owner("rekey")).at_once();
        let lease = core.db()?.lease(LEASE, &owner).await?;
        let changed = lease.hold(Box::pin(core.rekey(id))).await;
        turn::release(lease).await;
        changed?
    }
}

impl Core {
    async fn rekey(&self, id: Option<&str>) -> Result<RekeyReport> {
        let core = self;
        let mut copies = Vec::new();
        match id {
            Some(id) => copies = core.own_copies(id).await?,
            None => {
                let source = core.source().await?;
                for survey in core.surveys().await? {
                    copies.extend(
                        survey.complete.into_iter().filter(|copy| Some(&copy.manifest.source) == source.as_ref()),
                    );
                }
            }
        }
        // All are opened before the first one is changed.
        for copy in &copies {
            copy.open(core).await?.codec()?;
        }
        let mut report = RekeyReport::default();
        for copy in &copies {
            core.rekey_copy(copy, &mut report).await?;
        }
        Ok(report)
    }

    async fn rekey_copy(&self, copy: &Copy, report: &mut RekeyReport) -> Result<()> {
        let archive = copy.open(self).await?;
        let id = copy.manifest.id.clone();
        if archive.manifest.encryption.is_none() {
            report.plain.push(id);
            return Ok(());
        }
        let Some(key) = archive.codec()?.key.clone() else { return Ok(()) };
        let Some(recipients) = self.recipients.clone() else {
            return Err(Error::new(ErrorKind::Invalid, "the settings name nobody to encrypt to")
                .guide("set encryption.recipients, recipientFiles, passphraseFile or passphraseEnv"));
        };
        let old = archive.key_list().await?;
        let first = next_number(&archive);
        let files: Vec<(KeyFile, Vec<u8>)> = blocking(move || recipients.wrap(&key, first)).await?;
        let whole = |path: &str| format!("{}{path}", copy.standing.folder);
        // New files first, then the list that names them, then the old ones go: at every moment the list fits.
        let list = KeyList { files: files.iter().map(|(file, _)| file.clone()).collect() };
        for (file, bytes) in files {
            let (path, bytes) = (whole(&file.path), Bytes::from(bytes));
            let made = copy.place.shelf.create(&path, bytes.clone()).await?;
            if !made || copy.place.shelf.get(&path).await? != Some(bytes) {
                return Err(
                    archive.damaged(&file.path, "it is not what was written; the old keys still open the backup")
                );
            }
        }
        copy.place.shelf.put(&whole(KEY_LIST), Bytes::from(seal(&list)?)).await?;
        let gone: Vec<String> = old.files.iter().map(|file| whole(&file.path)).collect();
        copy.place.shelf.delete(&gone).await?;
        if !report.rekeyed.contains(&id) {
            report.rekeyed.push(id);
        }
        Ok(())
    }
}

/// A number that no file of keys has had.
fn next_number(archive: &Archive) -> usize {
    let numbers = archive
        .standing
        .files
        .keys()
        .filter_map(|path| path.strip_prefix("keys/")?.strip_suffix(".age")?.parse::<usize>().ok());
    numbers.max().unwrap_or_default() + 1
}
