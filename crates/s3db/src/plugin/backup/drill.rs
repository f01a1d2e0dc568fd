//! A drill: a restore into a scratch database, compared object by object, and removed again.

use std::path::PathBuf;
use std::sync::Arc;

use s3db_store::local::{Local, LocalOptions};
use serde::Serialize;

use super::archive::blocking;
use super::progress::Told;
use super::restore::RestoreOptions;
use super::{Core, shown};
use crate::database::Database;
use crate::entropy::make_ulid;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;

/// The folder of scratch databases.
const TEMP_DIR: &str = "./tmp/backups";

/// What a drill came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    /// The backup, and what it builds on.
    pub backups: Vec<String>,
    /// Files that were read.
    pub files: u64,
    /// Objects that were restored and compared.
    pub objects: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Records that were read as records.
    pub records: u64,
}

impl Core {
    /// Restores a backup into a scratch database, and reads every record there.
    pub(super) async fn drill(&self, id: &str, progress: Told<'_>) -> Result<DrillReport> {
        let folder = self.scratch()?;
        let drilled = Box::pin(self.drill_in(&folder, id, progress)).await;
        let gone = folder.clone();
        let removed = blocking(move || {
            std::fs::remove_dir_all(&gone).map_err(|e| {
                Error::new(ErrorKind::Unavailable, format!("cannot remove the scratch database {}: {e}", shown(&gone)))
            })
        });
        let removed = removed.await;
        // The folder above goes too if nothing else is in it.
        if let Some(above) = folder.parent() {
            let _others = std::fs::remove_dir(above);
        }
        let report = drilled?;
        removed.map(|()| report)
    }

    fn scratch(&self) -> Result<PathBuf> {
        let inner = &self.db()?.inner;
        let above = self.settings.temp_dir.clone().unwrap_or_else(|| PathBuf::from(TEMP_DIR));
        Ok(self.folder.join(above).join(format!("drill-{}", make_ulid(&*inner.entropy, inner.clock.now_ms()))))
    }

    async fn drill_in(&self, folder: &std::path::Path, id: &str, progress: Told<'_>) -> Result<DrillReport> {
        let inner = &self.db()?.inner;
        let (path, clock) = (folder.to_owned(), Arc::clone(&inner.clock));
        let options = LocalOptions { create: true, clock, ..LocalOptions::default() };
        let store = blocking(move || {
            std::fs::create_dir_all(&path).map_err(|e| {
                Error::new(ErrorKind::Unavailable, format!("cannot make the scratch folder {}: {e}", shown(&path)))
                    .guide("name another one by tempDir")
            })?;
            Ok(Local::open(&path, options)?)
        })
        .await?;
        let scratch = Database::builder("memory://")
            .store(Arc::new(store))
            .clock(Arc::clone(&inner.clock))
            .entropy(Arc::clone(&inner.entropy))
            .shared(inner.is_shared())
            .connect()
            .await?;
        let options = RestoreOptions { pause: Some(true), ..RestoreOptions::default() };
        let restored = Box::pin(self.restore_locked(&scratch, id, &options, progress)).await?;
        let mut report = DrillReport {
            backups: restored.backups,
            files: restored.files,
            objects: restored.compared,
            bytes: restored.bytes,
            records: 0,
        };
        for name in scratch.resource_names().await? {
            let resource = scratch.resource(&name).await?;
            report.records += resource.count_where(&Query::all()).await? as u64;
        }
        Ok(report)
    }
}
