//! The history of an entity: its log rows, newest first, by their ids, so that none can be left out.

use serde_json::Value;

use super::entity::Entity;
use super::ids::Names;
use super::load::is_foreign;
use super::log::{HistoryRow, Log, gap};
use super::warm::Seen;
use super::{Core, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;
use crate::resource::Resource;

/// Rows that are read side by side.
const TOGETHER: u64 = 16;

/// Which part of a history is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryOptions {
    /// At most this many rows; `None` is all.
    pub limit: Option<usize>,
    /// Leave out this many of the newest rows.
    pub offset: usize,
    /// Only rows behind this cursor: the `next` of the page before.
    pub cursor: Option<String>,
}

/// A part of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// The rows, newest first.
    pub items: Vec<HistoryRow>,
    /// The cursor of the next page; `None` if this is the last.
    pub next: Option<String>,
}

impl StateMachinePlugin {
    /// The transitions of an entity, newest first, without a gap. Rows that s3db.js wrote come behind ours.
    ///
    /// Costs a GET for the entity and one for each row.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` if a row is missing that must be there; `Unsupported` where transitions are not
    /// logged.
    pub async fn get_transition_history(
        &self,
        machine: &str,
        entity: &str,
        options: &HistoryOptions,
    ) -> Result<HistoryPage> {
        let names = Names::new(machine, entity)?;
        self.core.history(&names, options).await
    }
}

impl Core {
    async fn history(&self, names: &Names, options: &HistoryOptions) -> Result<HistoryPage> {
        if !self.options.persist_transitions {
            return Err(Error::new(ErrorKind::Unsupported, "transitions are not logged: persistTransitions is false")
                .guide("set it to true to have a history from then on"));
        }
        let seen = self.load_known(names).await?;
        let version = seen.entity.version.unwrap_or_default();
        let newest = match &options.cursor {
            None => version,
            Some(cursor) => parse_cursor(cursor)?.min(version + 1).saturating_sub(1),
        };
        let offset = u64::try_from(options.offset).unwrap_or(u64::MAX);
        let first = newest.saturating_sub(offset);
        let limit = options.limit.unwrap_or(usize::MAX);
        let own = usize::try_from(first).unwrap_or(usize::MAX).min(limit);
        let last = first.saturating_sub(u64::try_from(own).unwrap_or(u64::MAX));
        let mut items = self.rows_between(names, &seen, last, first).await?;
        if items.len() == limit {
            let next = (last > 0 || self.has_older(names, &seen).await?).then(|| format!("v{}", last + 1));
            return Ok(HistoryPage { items, next: next.filter(|_| limit > 0) });
        }
        let skip = usize::try_from(offset.saturating_sub(newest)).unwrap_or(usize::MAX);
        let older = self.older_rows(names, &seen).await?;
        items.extend(older.into_iter().skip(skip).take(limit - items.len()));
        Ok(HistoryPage { items, next: None })
    }

    /// The rows of the versions `last + 1` to `first`, newest first.
    async fn rows_between(&self, names: &Names, seen: &Seen, last: u64, first: u64) -> Result<Vec<HistoryRow>> {
        let Some(resource) = self.log().await? else {
            return match own_row(&seen.entity, first).filter(|_| first > last) {
                Some(row) if first == last + 1 => Ok(vec![row]),
                _ if first == last => Ok(Vec::new()),
                _ => Err(gap(names, first)),
            };
        };
        let mut rows = Vec::new();
        let mut next = first;
        while next > last {
            let end = last.max(next.saturating_sub(TOGETHER));
            let versions: Vec<u64> = (end + 1..=next).rev().collect();
            let log = Log { resource: &resource, names, row: seen.snapshot.id() };
            let read = futures::future::try_join_all(versions.iter().map(|version| log.read(*version))).await?;
            for (version, found) in versions.into_iter().zip(read) {
                // The entity carries its last transition, which may not be logged yet, or have replaced a row
                // of the same version.
                let found = own_row(&seen.entity, version).or(found);
                rows.push(found.ok_or_else(|| gap(names, version))?);
            }
            next = end;
        }
        Ok(rows)
    }

    async fn has_older(&self, names: &Names, seen: &Seen) -> Result<bool> {
        Ok(!self.older_rows(names, seen).await?.is_empty())
    }

    /// The rows that s3db.js wrote for an entity, newest first: their ids end in a millisecond.
    async fn older_rows(&self, names: &Names, seen: &Seen) -> Result<Vec<HistoryRow>> {
        let Some(log) = self.log().await? else { return Ok(Vec::new()) };
        if seen.snapshot.id() != names.plain() || !is_foreign(&log).await? {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for record in rows_with_prefix(&log, &format!("{}_", names.plain())).await? {
            let of = |name: &str, value: &str| record.attributes.get(name).and_then(Value::as_str) == Some(value);
            let row = HistoryRow::read(&record);
            if row.version.is_none() && of("machineId", &names.machine) && of("entityId", &names.entity) {
                rows.push(row);
            }
        }
        rows.reverse();
        Ok(rows)
    }
}

/// The records whose ids begin so, in the order of their ids.
pub(super) async fn rows_with_prefix(resource: &Resource, prefix: &str) -> Result<Vec<crate::resource::Record>> {
    let mut records = resource.stream(&Query::all().after(prefix)).await?;
    let mut found = Vec::new();
    while let Some(record) = records.next().await? {
        if !record.id.starts_with(prefix) {
            break;
        }
        found.push(record);
    }
    Ok(found)
}

/// The row of the transition that the entity carries.
fn own_row(entity: &Entity, version: u64) -> Option<HistoryRow> {
    let transition = entity.outbox.transition.as_ref().filter(|t| t.version == version)?;
    Some(HistoryRow::of(transition, entity))
}

/// `v7`: rows below version 7.
fn parse_cursor(cursor: &str) -> Result<u64> {
    cursor.strip_prefix('v').and_then(|n| n.parse().ok()).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("'{cursor}' is no cursor of a history"))
            .guide("give the `next` of the page before")
    })
}
