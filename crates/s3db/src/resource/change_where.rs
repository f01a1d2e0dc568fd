//! Updating and deleting the rows that a filter takes.
//!
//! Requests: a LIST per thousand keys that are looked at, then for each row a GET, and what an update
//! or a delete of it takes. The row that is written is the row that passed: if another writer changes
//! it in between, it is read and compared again. A crash leaves some rows changed and the others not.

use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ids::Ids;
use super::rows::Reading;
use super::update::{Attempt, Base, MERGES};
use super::{Resource, object};
use crate::access::Verb;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;
use crate::query::plan::Plan;
use crate::resource::delete::Gone;

/// Failures that are kept with their reason.
const KEPT_FAILURES: usize = 1_000;

/// What a change of several rows did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChangeReport {
    /// Rows that were changed or deleted.
    pub changed: usize,
    /// Rows that could not be; they are as they were.
    pub failures: usize,
    /// The first thousand of them.
    pub failed: Vec<RowFailure>,
}

/// A row that could not be changed.
#[derive(Debug, Clone)]
pub struct RowFailure {
    /// Its id.
    pub id: String,
    /// Why.
    pub error: Error,
}

impl Serialize for RowFailure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let error = self.error.to_json();
        json!({ "id": self.id, "error": error.get("error") }).serialize(serializer)
    }
}

/// What is done to a row.
enum Change {
    Merge(Map<String, Value>),
    Delete,
}

impl Resource {
    /// Merges a patch into every record that a query takes, each by compare-and-swap: what another
    /// writer changes meanwhile is compared again and never overwritten. `progress` is told the rows
    /// changed so far. Costs a GET per row that is looked at, and a PUT per row that is changed, with
    /// what its partitions take.
    ///
    /// # Errors
    /// As [`Resource::list`]; `Invalid` for a query with a limit, an offset, an order or a cursor, and
    /// for a patch that names an id. What is wrong with one row is in the report.
    pub async fn update_where(
        &self,
        query: &Query,
        patch: Value,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<ChangeReport> {
        self.may(Verb::Update)?;
        let patch = object(patch)?;
        if patch.contains_key("id") {
            return Err(Error::new(ErrorKind::Invalid, "an id cannot be changed")
                .guide("leave 'id' out of the patch; nothing was written"));
        }
        self.change_where(query, &Change::Merge(patch), progress).await
    }

    /// Deletes every record that a query takes, each only as it was when it was compared, where the
    /// server has conditional deletes. Costs a GET per row that is looked at, and one or two requests
    /// more per row that is deleted.
    ///
    /// # Errors
    /// As [`Resource::update_where`].
    pub async fn delete_where(&self, query: &Query, progress: &(dyn Fn(usize) + Sync)) -> Result<ChangeReport> {
        self.may(Verb::Delete)?;
        self.change_where(query, &Change::Delete, progress).await
    }

    async fn change_where(
        &self,
        query: &Query,
        change: &Change,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<ChangeReport> {
        refuse_part(query)?;
        self.inner.resource_for_write(&self.name).await?;
        let whole = Query { fields: None, omit_secrets: false, ..query.clone() };
        let reading = Reading::new(self, Plan::of(&self.inner, &self.name, &whole).await?, &whole);
        let mut ids = Ids::new(self, reading.plan.source.clone(), None);
        let mut report = ChangeReport::default();
        loop {
            let batch = ids.next_ids(usize::MAX).await?;
            if batch.is_empty() {
                return Ok(report);
            }
            let changes = stream::iter(batch).map(|id| {
                let reading = &reading;
                async move {
                    let changed = self.change_one(reading, &id, change).await;
                    (id, changed)
                }
            });
            let mut changes = std::pin::pin!(changes.buffer_unordered(self.inner.parallel()));
            while let Some((id, changed)) = changes.next().await {
                match changed {
                    Ok(changed) => report.changed += usize::from(changed),
                    Err(error) => report.fail(id, error),
                }
                progress(report.changed);
            }
        }
    }

    /// Changes a row if it still passes; whether it did.
    async fn change_one(&self, reading: &Reading, id: &str, change: &Change) -> Result<bool> {
        for attempt in 0..MERGES {
            let resource = self.inner.resource_for_write(&self.name).await?;
            let lost = match change {
                Change::Merge(patch) => {
                    let Some(mut base) = self.base(id).await? else { return Ok(false) };
                    if !reading.takes(id, Base::decoded(&mut base)).await? {
                        return Ok(false);
                    }
                    matches!(self.attempt_merge(id, &resource, &base, patch).await?, Attempt::Lost)
                }
                Change::Delete => {
                    let Some((object, mut decoded)) = self.load(id).await? else { return Ok(false) };
                    if !reading.takes(id, &mut decoded).await? {
                        return Ok(false);
                    }
                    match self.attempt_delete(&resource, id, &object, decoded).await? {
                        Gone::Missing => return Ok(false),
                        gone => gone == Gone::Changed,
                    }
                }
            };
            if !lost {
                return Ok(true);
            }
            self.inner.back_off(attempt).await;
        }
        Err(self.changed_too_often(id, MERGES))
    }
}

impl ChangeReport {
    fn fail(&mut self, id: String, error: Error) {
        self.failures += 1;
        if self.failed.len() < KEPT_FAILURES {
            self.failed.push(RowFailure { id, error });
        }
    }
}

/// A change is for all rows that a filter takes: part of them would be another part each time.
fn refuse_part(query: &Query) -> Result<()> {
    let given = [
        ("limit", query.limit.is_some()),
        ("offset", query.offset > 0),
        ("orderBy", !query.order_by.is_empty()),
        ("after", query.after.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Error::new(ErrorKind::Invalid, format!("{name}: a change by filter takes all rows that match"))
                .guide("leave it out, or list the ids and change them one by one; nothing was written"))
        }
    }
}
