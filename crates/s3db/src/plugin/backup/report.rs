//! What a backup came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ids::BackupType;
use super::manifest::Counts;
use super::rows::BackupStatus;
use super::sink::Contents;

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// Its id.
    pub id: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// What was asked for, where that could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_type: Option<BackupType>,
    /// Why it could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of it.
    pub status: BackupStatus,
    /// The backup that it builds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Bytes that each destination stores, at most.
    pub size: u64,
    /// Bytes of the bodies and headers that it holds.
    pub logical_size: u64,
    /// Milliseconds.
    pub duration: u64,
    /// When it began, by the database's time, RFC 3339.
    pub started_at: String,
    /// The database's id.
    pub source: String,
    /// Objects.
    pub counts: Counts,
    /// The same by resource; the catalog and definitions stand under the empty name.
    pub resources: BTreeMap<String, Contents>,
    /// What became of it at each destination.
    pub destinations: Vec<DestinationReport>,
    /// What is strange, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What became of a backup at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationReport {
    /// `filesystem` or `s3`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is, without secrets.
    pub location: String,
    /// The backup's folder there.
    pub path: String,
    /// `completed` or `failed`; `skipped` where an earlier one was enough.
    pub status: String,
    /// Bytes that are stored.
    pub size: u64,
    /// Files that are stored.
    pub files: u64,
    /// The SHA-256 of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
