//! A complete backup, opened for reading. Every file is checked against its digest before it is used.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::Codec;
use super::keys::{Identities, KEY_LIST, KeyList};
use super::limiter::Limiter;
use super::manifest::{self, CONTENTS, FileEntry, FileKind, Found, MANIFEST, Manifest};
use super::sealed::{sha256, unseal};
use super::shelf::{Place, Standing};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a file at most, packed or not: a line of an object of 8 MiB, each of its bytes escaped, and more.
const FILE_BYTES: u64 = 128 << 20;

/// A complete backup at a place.
#[derive(Debug)]
pub(super) struct Archive {
    place: Place,
    pub(super) standing: Standing,
    pub(super) manifest: Manifest,
    /// `None`: it is encrypted, and no key that was given opens it.
    codec: Option<Codec>,
    limiter: Option<Arc<Limiter>>,
}

/// Reads the manifest of a backup, with all files that it lists; `None` if it is not complete.
pub(super) async fn read_manifest(place: &Place, standing: &Standing) -> Result<Option<Manifest>> {
    let Some(bytes) = place.shelf.get(&format!("{}{MANIFEST}", standing.folder)).await? else { return Ok(None) };
    let Found::Complete(mut manifest) = manifest::read(&bytes, &standing.id)? else { return Ok(None) };
    let damaged = |path: &str, why: &str| damaged_at(place, &standing.id, path, why);
    let lists: Vec<FileEntry> = manifest.of_kind(FileKind::Files).cloned().collect();
    for list in lists {
        check_entry(&list).map_err(|why| damaged(MANIFEST, &why))?;
        let stored = place.shelf.get(&format!("{}{}", standing.folder, list.path)).await?;
        let stored = stored.ok_or_else(|| damaged(&list.path, "it is missing"))?;
        if sha256(&stored) != list.sha256 {
            return Err(damaged(&list.path, "its digest does not fit"));
        }
        for line in stored.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            manifest.files.push(serde_json::from_slice(line).map_err(|e| damaged(&list.path, &e.to_string()))?);
        }
    }
    for file in &manifest.files {
        check_entry(file).map_err(|why| damaged(MANIFEST, &why))?;
    }
    let paths: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    if paths.len() < manifest.files.len() {
        return Err(damaged(MANIFEST, "it lists a file twice"));
    }
    Ok(Some(*manifest))
}

/// What is wrong with an entry, before any file is read by it.
fn check_entry(file: &FileEntry) -> std::result::Result<(), String> {
    if !is_inside(&file.path) {
        return Err(format!("it lists '{}', which is no file of a backup", file.path));
    }
    if file.bytes > FILE_BYTES || file.size > FILE_BYTES {
        return Err(format!("it says that {} is larger than any file is", file.path));
    }
    Ok(())
}

fn damaged_at(place: &Place, id: &str, path: &str, why: &str) -> Error {
    Error::new(ErrorKind::Integrity, format!("{path} of backup '{id}' at {}: {why}", place.location()))
        .guide("restore from another copy or another backup, and see `s3db backup verify`")
        .detail(serde_json::json!({ "backup": id, "file": path, "problem": why }))
}

impl Archive {
    /// Opens a backup.
    ///
    /// # Errors
    /// `NotFound` if it is not complete; `Integrity` for a manifest or a list of keys that is damaged.
    pub(super) async fn open(
        place: &Place,
        standing: &Standing,
        identities: &Identities,
        limiter: Option<Arc<Limiter>>,
    ) -> Result<Self> {
        let Some(manifest) = read_manifest(place, standing).await? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("backup '{}' at {} is not complete", standing.id, place.location()),
            )
            .guide("it was cut off or given up; `s3db backup list` shows those that are complete"));
        };
        let mut archive = Self { place: place.clone(), standing: standing.clone(), manifest, codec: None, limiter };
        archive.codec = archive.find_codec(identities).await?;
        Ok(archive)
    }

    async fn find_codec(&self, identities: &Identities) -> Result<Option<Codec>> {
        let compression = self.manifest.compression;
        let Some(encryption) = &self.manifest.encryption else { return Ok(Some(Codec { compression, key: None })) };
        let public = &encryption.recipient;
        if let Some(key) = identities.known(public) {
            return Ok(Some(Codec { compression, key: Some(key) }));
        }
        for (kind, stored) in self.key_files().await? {
            let (identities, public) = (identities.clone(), public.clone());
            let opened = blocking(move || Ok(identities.open(&kind, &stored, &public))).await?;
            if let Some(key) = opened {
                return Ok(Some(Codec { compression, key: Some(key) }));
            }
        }
        Ok(None)
    }

    /// The files that hold this backup's key: kinds and bytes.
    pub(super) async fn key_files(&self) -> Result<Vec<(String, Bytes)>> {
        let mut files = Vec::new();
        for file in self.key_list().await?.files {
            let stored = self.get(&file.path).await?;
            if stored.len() as u64 != file.size || sha256(&stored) != file.sha256 {
                return Err(self.damaged(&file.path, "its digest does not fit"));
            }
            files.push((file.kind, stored));
        }
        Ok(files)
    }

    pub(super) async fn key_list(&self) -> Result<KeyList> {
        let bytes = self.get(KEY_LIST).await?;
        let list: KeyList = unseal(&bytes, &format!("{} of {}", KEY_LIST, self.manifest.id))?;
        match list.files.iter().all(|file| file.path.starts_with("keys/") && is_inside(&file.path)) {
            true => Ok(list),
            false => Err(self.damaged(KEY_LIST, "it lists a file that holds no key of a backup")),
        }
    }

    /// Whether its files can be read.
    pub(super) fn is_open(&self) -> bool {
        self.codec.is_some()
    }

    /// How its files are made.
    ///
    /// # Errors
    /// `Integrity`: it is encrypted, and no key that was given opens it.
    pub(super) fn codec(&self) -> Result<&Codec> {
        self.codec.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Integrity,
                format!("backup '{}' is encrypted, and none of the keys that were given opens it", self.manifest.id),
            )
            .guide("give its key by --identity FILE, or its passphrase by S3DB_BACKUP_PASSPHRASE; nothing was written")
        })
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        let whole = format!("{}{path}", self.standing.folder);
        self.place.shelf.get(&whole).await?.ok_or_else(|| self.damaged(path, "it is missing"))
    }

    /// A file as it is stored, checked against its digest.
    pub(super) async fn read_stored(&self, file: &FileEntry) -> Result<Bytes> {
        if let Some(limiter) = &self.limiter {
            limiter.pass(file.size).await;
        }
        let stored = self.get(&file.path).await?;
        if stored.len() as u64 != file.size {
            return Err(self.damaged(&file.path, &format!("it has {} bytes instead of {}", stored.len(), file.size)));
        }
        let (digest, stored) = blocking(move || Ok((sha256(&stored), stored))).await?;
        if digest != file.sha256 {
            return Err(self.damaged(&file.path, "its digest does not fit"));
        }
        Ok(stored)
    }

    /// What a file holds.
    pub(super) async fn read(&self, file: &FileEntry) -> Result<Bytes> {
        let codec = self.codec()?.clone();
        let stored = self.read_stored(file).await?;
        let size = file.bytes;
        let plain = blocking(move || codec.decode(&stored, size)).await;
        plain.map(Bytes::from).map_err(|e| self.damaged(&file.path, &e.to_string()))
    }

    /// An error of one of its files.
    pub(super) fn damaged(&self, path: &str, why: &str) -> Error {
        damaged_at(&self.place, &self.manifest.id, path, why)
    }
}

/// Whether a path is one of a file of a backup: in one of its folders, and nowhere else.
fn is_inside(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\\');
    let folders = ["segments", "index", "objects", "files", "keys"];
    match path.split_once('/') {
        None => path.starts_with(CONTENTS),
        Some((folder, name)) => folders.contains(&folder) && !name.contains('/') && plain(name),
    }
}

/// Runs what takes long without waiting for anything.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::new(ErrorKind::Internal, format!("work on a backup ended: {e}")))?
}
