//! `delete` and `prune`: entities go, with their history.
//!
//! Requests: GET and DELETE of the row, with its index key; DELETE of the log rows and due keys. A crash
//! leaves log rows of an entity that is gone; the same call removes them.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::due;
use super::entity::Entity;
use super::ids::{Names, log_row};
use super::load::is_foreign;
use super::{Core, StateMachinePlugin};
use crate::error::{ErrorKind, Result};
use crate::resource::{Record, Resource, UpdateOptions};

/// Times that a delete is tried again because the entity changed.
const ATTEMPTS: u32 = 16;

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// Entities.
    pub deleted: usize,
    /// Their log rows.
    pub rows: usize,
    /// Entities that would be removed, in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_delete: Option<usize>,
}

impl StateMachinePlugin {
    /// Removes an entity with its history. Returns how many log rows went.
    ///
    /// Costs a GET and a DELETE for the row, a LIST and a GET for each log row that is found, also those of
    /// entities whose names begin alike, and a DELETE per thousand.
    ///
    /// # Errors
    /// `NotFound` if there is neither an entity nor a log row of it.
    pub async fn delete_entity(&self, machine: &str, entity: &str) -> Result<usize> {
        let names = Names::new(machine, entity)?;
        let (existed, rows) = self.core.delete(&names, &|_| true).await?;
        if !existed && rows == 0 {
            return Err(self.core.no_entity(&names).await);
        }
        Ok(rows)
    }

    /// Removes the entities of a machine that came into a final state `older_than` ago, with their history.
    ///
    /// # Errors
    /// The first entity that cannot be removed; those before it are gone.
    pub async fn prune(&self, machine: &str, older_than: Duration, dry_run: bool) -> Result<PruneReport> {
        let since_ms = self.core.instant_before(older_than);
        let done = self.entities(machine, Some(older_than)).await?.into_iter().filter(|entity| entity.done);
        let done: Vec<String> = done.map(|entity| entity.entity).collect();
        if dry_run {
            return Ok(PruneReport { would_delete: Some(done.len()), ..PruneReport::default() });
        }
        let mut report = PruneReport::default();
        for entity in done {
            let names = Names::new(machine, &entity)?;
            // One that was deleted and begun anew meanwhile is another.
            let (existed, rows) = self.core.delete(&names, &|entity| entity.is_done_since(since_ms)).await?;
            report.deleted += usize::from(existed);
            report.rows += rows;
        }
        Ok(report)
    }
}

impl Core {
    /// Whether there was an entity, and how many log rows of it there were.
    async fn delete(&self, names: &Names, only_if: &(dyn Fn(&Entity) -> bool + Sync)) -> Result<(bool, usize)> {
        let slot = self.warm.slot(names);
        let mut place = slot.lock().await;
        *place = None;
        let Some(version) = self.delete_row(names, only_if).await? else { return Ok((false, 0)) };
        let mut rows = 0;
        if let Some(log) = self.log().await? {
            let found = self.log_rows(&log, names).await?;
            let mut ids: Vec<String> = found.iter().map(|record| record.id.clone()).collect();
            let known = version.into_iter().flat_map(|version| (0..=version).map(|v| log_row(&names.row(), v)));
            ids.extend(known);
            ids.sort();
            ids.dedup();
            for batch in ids.chunks(1000) {
                rows += log.delete_many(batch).await?.deleted;
            }
        }
        drop(place);
        self.warm.forget(names);
        Ok((version.is_some(), rows))
    }

    /// Removes the row of an entity; returns its version, if there was one. `None` if it is not to go.
    async fn delete_row(
        &self,
        names: &Names,
        only_if: &(dyn Fn(&Entity) -> bool + Sync),
    ) -> Result<Option<Option<u64>>> {
        for attempt in 0..ATTEMPTS {
            let Some(seen) = self.load(names).await? else { return Ok(Some(None)) };
            if !only_if(&seen.entity) {
                return Ok(None);
            }
            let states = self.states_to_write().await?;
            let options = UpdateOptions { expected_rev: Some(seen.snapshot.rev().to_owned()) };
            match states.delete_with(seen.snapshot.id(), &options).await {
                Ok(()) => {
                    self.drop_due(&due::all(&seen.entity)).await;
                    return Ok(Some(Some(seen.entity.version.unwrap_or_default())));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(None)),
                Err(error) if error.kind() == ErrorKind::Conflict => self.db()?.inner.back_off(attempt).await,
                Err(error) => return Err(error),
            }
        }
        Err(self.too_often(names))
    }

    /// The log rows of an entity, whatever versions they have.
    async fn log_rows(&self, log: &Resource, names: &Names) -> Result<Vec<Record>> {
        let mut prefixes = vec![format!("{}_", names.row())];
        if is_foreign(log).await? {
            prefixes.extend([format!("{}_", names.plain()), format!("{}_", names.escaped())]);
        }
        prefixes.sort();
        prefixes.dedup();
        let mut rows = Vec::new();
        for prefix in prefixes {
            for record in super::history::rows_with_prefix(log, &prefix).await? {
                let of = |name: &str, value: &str| record.attributes.get(name).and_then(Value::as_str) == Some(value);
                if of("machineId", &names.machine) && of("entityId", &names.entity) {
                    rows.push(record);
                }
            }
        }
        Ok(rows)
    }
}
