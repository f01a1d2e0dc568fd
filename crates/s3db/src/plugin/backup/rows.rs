//! Rows about backups. They are hints for people and queries: what a manifest says counts.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Core;
use super::ids::BackupType;
use crate::error::{ErrorKind, Result};
use crate::plugin::rows::{Shape, ready};
use crate::resource::Resource;

/// The documented name of the resource.
pub(super) const METADATA: &str = "backup_metadata";

/// The attributes: s3db.js's, and ours behind them.
const ATTRIBUTES: [(&str, &str); 19] = [
    ("id", "string|required"),
    ("type", "string|required"),
    ("timestamp", "number|required"),
    ("resources", "json|required"),
    ("destinations", "json|required"),
    ("size", "number|default:0"),
    ("compressed", "boolean|default:false"),
    ("encrypted", "boolean|default:false"),
    ("checksum", "string|default:null"),
    ("status", "string|required"),
    ("error", "string|default:null"),
    ("duration", "number|default:0"),
    ("createdAt", "string|required"),
    ("parent", "string|optional"),
    ("logicalSize", "number|optional"),
    ("phase", "string|optional"),
    ("counts", "json|optional"),
    ("manifest", "json|optional"),
    ("source", "string|optional"),
];
/// How many of them are s3db.js's: a resource without these is something else.
const KNOWN: usize = 13;

/// What became of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupStatus {
    /// It is being made.
    InProgress,
    /// It is complete wherever it had to be.
    Completed,
    /// It is complete at some destinations, and not at others.
    Partial,
    /// It is complete nowhere.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl BackupStatus {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::InProgress, Self::Completed, Self::Partial, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// A row that begins.
pub(super) fn first_row(
    id: &str,
    kind: BackupType,
    source: &str,
    at_ms: i64,
    encrypted: bool,
    compressed: bool,
) -> Value {
    let at = s3db_format::date::rfc3339(at_ms);
    json!({
        "id": id,
        "type": kind,
        "timestamp": at_ms,
        "resources": [],
        "destinations": [],
        "compressed": compressed,
        "encrypted": encrypted,
        "status": BackupStatus::InProgress,
        "createdAt": at.get(..10).unwrap_or_default(),
        "phase": "starting",
        "source": source,
    })
}

impl Core {
    pub(super) fn metadata_name(&self) -> &str {
        self.settings.backup_metadata_resource.as_deref().unwrap_or(METADATA)
    }

    /// The resource of rows; `None` where there is none yet.
    pub(super) async fn rows(&self) -> Result<Option<Resource>> {
        match self.db()?.resource(self.metadata_name()).await {
            Ok(resource) => Ok(Some(resource)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The resource of rows, made or extended where it has to be.
    pub(super) async fn rows_to_write(&self) -> Result<Resource> {
        let shape = Shape {
            name: self.metadata_name(),
            attributes: &ATTRIBUTES,
            known: KNOWN,
            what: "one of backups",
            setting: "backupMetadataResource",
        };
        ready(self.db()?, self.rows().await?, &shape).await
    }

    /// Changes a row. It is a hint, so an error is logged and not returned.
    pub(super) async fn note(&self, rows: &Resource, id: &str, change: Value) {
        if let Err(error) = rows.update(id, change).await {
            tracing::warn!(target: "s3db::backup", %error, "the row of backup '{id}' was not changed");
        }
    }
}

/// A text of a row.
pub(super) fn text<'a>(row: &'a Map<String, Value>, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}
