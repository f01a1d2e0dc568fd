//! `delete` and `prune`: entities go, with their history.
//!
//! Requests: GET of the row; LIST and GETs of its log rows; DELETE of the row, with its index and due keys; a GET
//! and a DELETE for each log row. A crash
//! leaves log rows of an entity that is gone; the same call removes them.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use super::due;
use super::entity::Entity;
use super::ids::Names;
use super::load::is_foreign;
use super::warm::Seen;
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
    /// entities whose names begin alike, and a GET and a DELETE for each that goes.
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
        let current = self.core.current(machine).await?;
        // A row of s3db.js does not say whether it is done.
        let is_done = |entity: &Entity| match entity.version {
            Some(_) => entity.done,
            None => current.state(&entity.state).is_some_and(|state| current.is_final(state)),
        };
        for entity in done {
            let names = Names::new(machine, &entity)?;
            // One that was deleted and begun anew meanwhile is another.
            let (existed, rows) =
                self.core.delete(&names, &|entity| is_done(entity) && entity.is_since(since_ms)).await?;
            report.deleted += usize::from(existed);
            report.rows += rows;
        }
        Ok(report)
    }
}

impl Core {
    /// Whether there was an entity, and how many log rows of it were removed.
    ///
    /// The rows are looked up before the entity goes, and each is removed only as it was found: another process
    /// may begin the entity anew meanwhile, and its rows are none of this one's.
    async fn delete(&self, names: &Names, only_if: &(dyn Fn(&Entity) -> bool + Sync)) -> Result<(bool, usize)> {
        let slot = self.warm.slot(names);
        let mut place = slot.lock().await;
        *place = None;
        for attempt in 0..ATTEMPTS {
            let seen = self.load(names).await?;
            if seen.as_ref().is_some_and(|seen| !only_if(&seen.entity)) {
                return Ok((false, 0));
            }
            let rows = match self.log().await? {
                Some(log) => self.log_rows(&log, names).await?,
                None => Vec::new(),
            };
            let existed = match seen {
                None => false,
                Some(seen) => match self.delete_row(&seen).await? {
                    Some(existed) => existed,
                    None => {
                        self.db()?.inner.back_off(attempt).await;
                        continue;
                    }
                },
            };
            let removed = self.delete_rows(rows).await?;
            drop(place);
            self.warm.forget(names);
            return Ok((existed, removed));
        }
        Err(self.too_often(names))
    }

    /// Removes the row of an entity as it was seen; `None` if it was changed since.
    async fn delete_row(&self, seen: &Seen) -> Result<Option<bool>> {
        let states = self.states_to_write().await?;
        let options = UpdateOptions { expected_rev: Some(seen.snapshot.rev().to_owned()) };
        match states.delete_with(seen.snapshot.id(), &options).await {
            Ok(()) => {
                self.drop_due(&due::all(&seen.entity)).await;
                Ok(Some(true))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(false)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete_rows(&self, rows: Vec<Record>) -> Result<usize> {
        let Some(log) = self.log().await? else { return Ok(0) };
        let log = &log;
        let deletes = stream::iter(rows).map(|row| async move {
            let options = UpdateOptions { expected_rev: Some(row.meta.rev) };
            match log.delete_with(&row.id, &options).await {
                Ok(()) => Ok(1),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => Ok(0),
                Err(error) => Err(error),
            }
        });
        let removed: Vec<usize> = deletes.buffer_unordered(self.db()?.inner.parallel()).try_collect().await?;
        Ok(removed.into_iter().sum())
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
