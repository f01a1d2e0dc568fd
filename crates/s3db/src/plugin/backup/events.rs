//! Events of the plugin.

use serde::Serialize;

use super::ids::BackupType;

/// How far a backup or restore is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What it does: `reading`, `finishing`, `verifying`, `writing`, `comparing`, `deleting`.
    pub phase: String,
    /// Objects that were looked at.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that there are likely to be, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Milliseconds that it is likely to take still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<u64>,
}

/// What happens to backups of this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum BackupEvent {
    /// A backup began.
    BackupStart {
        /// Its id.
        id: String,
        /// What it holds.
        #[serde(rename = "type")]
        kind: BackupType,
    },
    /// A backup goes on.
    BackupProgress {
        /// Its id.
        id: String,
        /// How far it is.
        progress: Progress,
    },
    /// A backup is complete, at some destinations at least.
    BackupComplete {
        /// Its id.
        id: String,
        /// What it holds.
        #[serde(rename = "type")]
        kind: BackupType,
        /// Bytes that were stored.
        size: u64,
        /// Milliseconds.
        duration: u64,
        /// Where it is complete.
        destinations: Vec<String>,
    },
    /// A backup failed, or was cancelled.
    BackupError {
        /// Its id.
        id: String,
        /// What it should have held.
        #[serde(rename = "type")]
        kind: BackupType,
        /// Why.
        error: String,
    },
    /// A restore began to write.
    RestoreStart {
        /// The backup.
        id: String,
        /// Where to.
        target: String,
    },
    /// A restore is done.
    RestoreComplete {
        /// The backup.
        id: String,
        /// Where to.
        target: String,
        /// Objects that were written.
        written: u64,
        /// Milliseconds.
        duration: u64,
    },
    /// Backups were looked through, and those that no rule keeps deleted.
    CleanupComplete {
        /// Backups that are kept.
        kept: usize,
        /// Backups that were deleted.
        deleted: usize,
    },
}
