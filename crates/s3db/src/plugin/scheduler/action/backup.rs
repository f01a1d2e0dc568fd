//! `backup` and `cleanup_backups`: the backups of this connection.

use std::time::Duration;

use serde_json::{Value, json};

use crate::database::Database;
use crate::error::ErrorKind;
use crate::plugin::action::Fields;
use crate::plugin::backup::{BackupPlugin, BackupReport, BackupStatus, BackupType};

/// How long another backup is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_secs(10);

/// Makes a backup, after the one that is being made: two schedules may meet.
async fn make(db: &Database, backups: &BackupPlugin, kind: BackupType) -> crate::Result<BackupReport> {
    let clock = &db.inner.clock;
    let begun = clock.monotonic();
    loop {
        match backups.backup(kind).await {
            Err(error) if error.kind() == ErrorKind::Busy && clock.monotonic().saturating_sub(begun) < PATIENCE => {
                clock.sleep(LOOK).await;
            }
            made => return made,
        }
    }
}

/// A backup to be made, or a clean-up.
#[derive(Debug)]
pub(in super::super) enum BackupAction {
    /// Makes one of this type.
    Make(BackupType),
    /// Deletes what the retention does not keep.
    CleanUp,
}

impl BackupAction {
    pub(super) fn compile_backup(fields: &mut Fields<'_>) -> Option<Self> {
        fields.only(&["type"]);
        let Some(given) = fields.get("type").cloned() else { return Some(Self::Make(BackupType::Full)) };
        let kind = given.as_str().and_then(|text| text.parse().ok());
        if kind.is_none() {
            fields
                .problem("type", format!("{given} is no type of backup; types are full, incremental and differential"));
        }
        kind.map(Self::Make)
    }

    pub(super) fn compile_cleanup(fields: &mut Fields<'_>) -> Option<Self> {
        fields.only(&[]);
        Some(Self::CleanUp)
    }

    pub(super) async fn run(&self, db: &Database) -> Result<Value, String> {
        let told = |error: crate::Error| match error.guidance() {
            Some(guidance) => format!("{error}; {guidance}"),
            None => error.to_string(),
        };
        let backups = db.plugin::<BackupPlugin>().map_err(told)?;
        match self {
            Self::Make(kind) => {
                let report = make(db, &backups, *kind).await.map_err(told)?;
                if report.status != BackupStatus::Completed {
                    return Err(format!("backup {} is {}", report.id, report.status.as_str()));
                }
                Ok(json!({ "id": report.id, "type": report.kind, "size": report.size }))
            }
            Self::CleanUp => {
                let report = backups.cleanup(false).await.map_err(told)?;
                Ok(json!({ "kept": report.kept, "deleted": report.deleted }))
            }
        }
    }
}
