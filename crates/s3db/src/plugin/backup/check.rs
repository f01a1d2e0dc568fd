//! What crashes left of backups and restores, for `doctor`.

use s3db_format::keys;

use super::Core;
use crate::doctor::{Finding, FindingKind, Findings};
use crate::error::Result;
use crate::query::Query;

impl Core {
    pub(super) async fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = Findings::default();
        let inner = &self.db()?.inner;
        if inner.head(keys::RESTORE).await?.is_some() {
            findings.add(FindingKind::UnfinishedRestore, None, keys::RESTORE.to_owned(), false);
        }
        if let Some(rows) = self.rows().await? {
            let holder = self.lease_holder().await?;
            let open = Query::filter(serde_json::json!({ "status": "in_progress" }));
            let mut dead = Vec::new();
            for row in rows.list(&open).await?.items {
                let runs = holder.as_deref().is_some_and(|holder| holder.contains(super::unfinished::stamp(&row.id)));
                if !runs && super::ids::is_id(&row.id) {
                    dead.push(row.id);
                }
            }
            if repair && !dead.is_empty() {
                // Without a destination nobody knows what stands; the row is a hint in any case.
                let surveys = match self.surveys().await {
                    Ok(surveys) => surveys,
                    Err(error) => {
                        tracing::debug!(target: "s3db::backup", %error, "rows are corrected without a look at backups");
                        Vec::new()
                    }
                };
                self.correct_rows(holder.as_deref(), &surveys.iter().collect::<Vec<_>>()).await?;
            }
            for id in dead {
                findings.add(FindingKind::UnfinishedBackup, Some(rows.name()), id, repair);
            }
        }
        Ok(findings.report().findings)
    }
}
