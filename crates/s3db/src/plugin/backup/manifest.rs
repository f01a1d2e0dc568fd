//! `manifest.json`: what a backup is, written last. A backup is complete if, and only if, it is there.

use serde::{Deserialize, Serialize};

use super::ids::BackupType;
use super::sealed::unseal;
use super::settings::Compression;
use crate::error::{Error, ErrorKind, Result};

pub(super) const MANIFEST: &str = "manifest.json";
/// What says that a backup was begun.
pub(super) const BEGUN: &str = "begun.json";
/// What says that a backup is being deleted.
pub(super) const DELETING: &str = "deleting.json";
/// What says that a backup is never to be deleted.
pub(super) const PINNED: &str = "pinned.json";
/// What says when a backup was verified.
pub(super) const VERIFIED: &str = "verified.json";
/// What the backup holds, by resource.
pub(super) const CONTENTS: &str = "contents.json";
/// The word by which the format is known.
pub(super) const FORMAT: &str = "s3db-backup";
/// The version of the format that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
/// Files that a manifest lists itself; more are listed in files of their own.
pub(super) const LISTED: usize = 2000;
/// Bytes of a manifest at most.
pub(super) const MANIFEST_BYTES: usize = 1 << 20;

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `s3db-backup`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The backup's id.
    pub id: String,
    /// `completed`; `aborted` where an unfinished backup was given up.
    pub status: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// What was asked for, where that could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_type: Option<BackupType>,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the database.
    pub source: String,
    /// The backup that it builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its place in the order of this database's backups: clocks may go back, this number does not.
    pub sequence: u64,
    /// When it began, by the database's time, RFC 3339.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
    /// How its files are compressed.
    pub compression: Compression,
    /// How its files are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// The digest of which resources were asked for.
    pub scope: String,
    /// Whether it holds the whole database.
    pub whole: bool,
    /// What it holds.
    pub counts: Counts,
    /// Bytes that are stored, without this file and the keys.
    pub size: u64,
    /// Its files, those of each kind in the order of keys.
    pub files: Vec<FileEntry>,
}

/// How files are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encryption {
    /// `age`.
    pub format: String,
    /// The public key of this backup; `keys/` holds the secret one.
    pub recipient: String,
}

/// How much a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Objects of the database, with those that only the parents hold.
    pub objects: u64,
    /// Objects that this backup holds itself.
    pub stored: u64,
    /// Objects that are no longer there, as against the parent.
    pub deleted: u64,
    /// Bytes of the bodies and headers that it holds itself.
    pub bytes: u64,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Lines of objects.
    Segment,
    /// Lines of the index.
    Index,
    /// A part of a large object.
    Object,
    /// What the backup holds, by resource.
    Contents,
    /// Lines that list more files.
    Files,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Its path in the backup.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Its number among those of its kind.
    pub number: usize,
    /// Bytes that are stored.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: String,
    /// Bytes when unpacked.
    pub bytes: u64,
    /// Lines, where it has lines.
    pub lines: u64,
}

/// What says that a backup was begun, before its first file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Begun {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: BackupType,
    pub(super) source: String,
    /// By the destination's time.
    pub(super) at_ms: i64,
}

/// A manifest, or what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Complete(Box<Manifest>),
    /// An unfinished backup was given up.
    Aborted,
}

/// Reads a manifest.
///
/// # Errors
/// `Integrity` for one that is damaged or of another backup; `Unsupported` for one of a newer program.
pub(super) fn read(bytes: &[u8], id: &str) -> Result<Found> {
    let what = format!("the manifest of {id}");
    let document: serde_json::Value = unseal(bytes, &what)?;
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if text("format") != FORMAT {
        return Err(Error::new(ErrorKind::Integrity, format!("{what} is none of s3db")));
    }
    let version = document.get("version").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if version > u64::from(VERSION) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{what} has version {version}, this program knows {VERSION}"),
        )
        .guide("use a newer s3db"));
    }
    if text("id") != id {
        return Err(Error::new(ErrorKind::Integrity, format!("{what} is that of '{}'", text("id")))
            .guide("it was swapped with another backup's; restore from another copy"));
    }
    if text("status") == "aborted" {
        return Ok(Found::Aborted);
    }
    let manifest = serde_json::from_value(document)
        .map_err(|e| Error::new(ErrorKind::Integrity, format!("{what} is damaged: {e}")))?;
    Ok(Found::Complete(Box::new(manifest)))
}

impl Manifest {
    /// Its files of a kind, in the order of keys.
    pub(super) fn of_kind(&self, kind: FileKind) -> impl Iterator<Item = &FileEntry> {
        self.files.iter().filter(move |file| file.kind == kind)
    }

    /// When it began, in milliseconds since 1970.
    pub(super) fn started_ms(&self) -> i64 {
        s3db_format::date::instant(&self.started_at).unwrap_or_default()
    }
}
