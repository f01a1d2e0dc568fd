//! Backups that were not finished: marked, and swept.
//!
//! The mark is the manifest itself, created as `aborted` if nothing stands in its place. The writer of a backup
//! creates the manifest in the same way, so that exactly one of the two succeeds: what is swept can never become
//! complete.

use bytes::Bytes;
use serde_json::json;

use super::Core;
use super::ids::is_id;
use super::manifest::{self, BEGUN, Begun, FORMAT, Found, MANIFEST, VERSION};
use super::rows::{BackupStatus, text};
use super::sealed::{seal, unseal};
use super::shelf::{Place, Standing};
use super::survey::Survey;
use crate::error::Result;
use crate::query::Query;

/// Rows of backups that stand nowhere that are looked at.
const LOOKED_AT: usize = 100;
/// The mark of a swept backup stays so long, for a writer that was taken for dead and is not.
const MARK_MS: i64 = 24 * 3_600_000;

impl Core {
    /// Sweeps what unfinished backups of a database left at a place, but not the one that runs.
    pub(super) async fn sweep_unfinished(
        &self,
        place: &Place,
        survey: &Survey,
        source: &str,
        running: Option<&str>,
    ) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for standing in &survey.unfinished {
            if running.is_some_and(|running| running.contains(stamp(&standing.id))) {
                continue;
            }
            if self.give_up(place, standing, Some(source)).await? {
                swept.push(standing.id.clone());
            }
        }
        Ok(swept)
    }

    /// Marks an unfinished backup and removes its files; `false` if it is left alone: it is complete by now, or
    /// is not ours.
    pub(super) async fn give_up(&self, place: &Place, standing: &Standing, source: Option<&str>) -> Result<bool> {
        let shelf = &place.shelf;
        let whole = |file: &str| format!("{}{file}", standing.folder);
        let now_ms = shelf.now_ms();
        if standing.has_manifest() {
            // It was marked before; what landed since is removed, and the mark when it is old.
            let Some(mark) = self.read_mark(place, standing).await? else { return Ok(false) };
            let member = |name: &str| mark.get(name).cloned().unwrap_or_default();
            let other = member("source").as_str().is_some_and(|theirs| source.is_some_and(|own| own != theirs));
            if other {
                return Ok(false);
            }
            let old = member("atMs").as_i64().is_some_and(|at_ms| now_ms - at_ms > MARK_MS);
            let files = standing.files.keys().filter(|file| old || file.as_str() != MANIFEST).map(|file| whole(file));
            let files: Vec<String> = files.collect();
            let swept = !files.is_empty();
            shelf.delete(&files).await?;
            shelf.tidy(&standing.folder).await?;
            return Ok(swept);
        }
        let begun = match shelf.get(&whole(BEGUN)).await? {
            Some(bytes) => unseal::<Begun>(&bytes, BEGUN).ok(),
            None => None,
        };
        let known_source = begun.as_ref().map(|begun| begun.source.as_str());
        if source.is_some() && known_source != source {
            return Ok(false);
        }
        let begun_ms = begun.as_ref().map_or(i64::MAX, |begun| begun.at_ms);
        if !shelf.is_conditional() && source.is_some() && now_ms.saturating_sub(begun_ms) < MARK_MS {
            return Ok(false);
        }
        let mark = json!({
            "format": FORMAT, "version": VERSION, "id": standing.id, "status": "aborted", "source": known_source, "atMs": now_ms,
        });
        if !shelf.create(&whole(MANIFEST), Bytes::from(seal(&mark)?)).await? {
            let there = shelf.get(&whole(MANIFEST)).await?.unwrap_or_default();
            if matches!(manifest::read(&there, &standing.id), Ok(Found::Complete(_))) {
                return Ok(false);
            }
        }
        let files: Vec<String> =
            shelf.list(&standing.folder).await?.into_iter().map(|s| s.path).filter(|p| *p != whole(MANIFEST)).collect();
        shelf.delete(&files).await?;
        shelf.tidy(&standing.folder).await?;
        self.tell(&format!("the unfinished backup '{}' at {} was swept", standing.id, place.location()));
        Ok(true)
    }

    async fn read_mark(&self, place: &Place, standing: &Standing) -> Result<Option<serde_json::Value>> {
        let bytes = place.shelf.get(&format!("{}{MANIFEST}", standing.folder)).await?;
        bytes.map(|bytes| unseal(&bytes, MANIFEST)).transpose()
    }

    /// Corrects the rows of backups whose processes died. Costs a LIST, and a GET for each of the newest rows whose
    /// backup stands nowhere, and for the newest that stands.
    pub(super) async fn correct_rows(&self, running: Option<&str>, standing: &[&Survey]) -> Result<Vec<String>> {
        let Some(rows) = self.rows().await? else { return Ok(Vec::new()) };
        let mut ids = rows.list_ids(&Query::all()).await?.items;
        let newest = |id: &String| standing.iter().any(|s| s.complete.first().is_some_and(|c| c.manifest.id == *id));
        let stands = |id: &String| standing.iter().find_map(|survey| survey.find(id));
        ids.retain(|id| is_id(id) && (newest(id) || stands(id).is_none()));
        ids.sort_by(|a, b| b.rsplit('_').nth(1).cmp(&a.rsplit('_').nth(1)));
        let mut corrected = Vec::new();
        for id in ids.into_iter().take(LOOKED_AT) {
            if running.is_some_and(|running| running.contains(stamp(&id))) {
                continue;
            }
            let Some(row) = rows.find(&id).await? else { continue };
            if text(&row.attributes, "status") != BackupStatus::InProgress.as_str() {
                continue;
            }
            let change = match stands(&id) {
                Some(copy) => json!({
                    "status": BackupStatus::Completed, "phase": null, "size": copy.manifest.size,
                    "logicalSize": copy.manifest.counts.bytes, "counts": copy.manifest.counts,
                }),
                None => json!({
                    "status": BackupStatus::Failed, "phase": null, "error": "the process ended before the backup did",
                }),
            };
            rows.update(&id, change).await?;
            corrected.push(id);
        }
        Ok(corrected)
    }

    /// Who holds the lease of backups now.
    pub(super) async fn lease_holder(&self) -> Result<Option<String>> {
        let inner = &self.db()?.inner;
        let Some((record, _)) = inner.read_lease(super::turn::LEASE).await? else { return Ok(None) };
        let young = record.is_young(inner.store.now_ms());
        Ok(record.owner.filter(|_| young))
    }

    /// Whether a backup is being made now, in any process.
    pub(super) async fn is_running(&self, id: &str) -> Result<bool> {
        Ok(self.lease_holder().await?.is_some_and(|holder| holder.contains(stamp(id))))
    }
}

/// The part of an id that says which run made it: the owner of the lease holds it too.
pub(super) fn stamp(id: &str) -> &str {
    id.rsplit('_').next().unwrap_or(id)
}
