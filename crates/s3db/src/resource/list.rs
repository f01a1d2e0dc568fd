//! Listing records: whole, by partition, by filter, in any order.
//!
//! Requests for K rows: a LIST per thousand keys that are looked at, and a GET per row that is read,
//! side by side. A partition whose index is not known to be complete is answered by reading all rows,
//! with a warning: answers are always right.

use std::sync::Arc;

use futures::{Stream, stream};
use serde::Serialize;

use super::rows::{Reading, Row, Rows};
use super::sorted::Sorted;
use super::{Record, Resource};
use crate::access::Verb;
use crate::error::{Error, ErrorKind, Result};
use crate::query::order::{Order, Position, cursor};
use crate::query::plan::Plan;
use crate::query::{OrderBy, Query};

/// Rows in the order that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T = Record> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` if this is the last.
    pub next: Option<String>,
    /// Whether every row was looked at. `false` where the keys of a partition answered alone: they may
    /// include a row that is moving, or one that a crash left; [`Query::exact`] reads the rows.
    pub exact: bool,
    /// What the caller should know, such as a partition that had to be scanned.
    pub warnings: Vec<String>,
}

/// A page by number, as s3db.js counts them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NumberedPage<T = Record> {
    /// The rows.
    pub items: Vec<T>,
    /// Rows in all.
    pub total_items: usize,
    /// The page's number, from 0.
    pub page: usize,
    /// Rows on a page.
    pub page_size: usize,
    /// Pages in all.
    pub total_pages: usize,
    /// Whether there is a page behind this one.
    pub has_more: bool,
}

/// The rows of a query, one after another: the first are there before the last are read, and no more
/// are held than are read side by side. An order other than by id holds the sort values of all rows,
/// or the first rows where there is a limit.
pub struct Records {
    rows: Source,
    order_by: Vec<OrderBy>,
    last: Option<Position>,
    exact: bool,
    warnings: Vec<String>,
}

enum Source {
    Direct(Box<Rows>),
    Sorted(Sorted),
}

impl Resource {
    /// The records that a query asks for, one page of them.
    ///
    /// Costs max(1, ⌈scanned/1000⌉) + K requests in 1 + ⌈K/64⌉ rounds for K rows; a filter that no
    /// partition answers reads every row.
    ///
    /// # Errors
    /// `Invalid` for a filter, partition, field, order or cursor that cannot be; an error on one row
    /// is an error of the list, never a row left out.
    pub async fn list(&self, query: &Query) -> Result<Page> {
        self.may(Verb::Read)?;
        let mut records = self.stream(query).await?;
        let mut items = Vec::new();
        while let Some(record) = records.next().await? {
            items.push(record);
        }
        let next = records.cursor().filter(|_| !items.is_empty());
        Ok(Page { items, next, exact: records.exact, warnings: records.warnings })
    }

    /// Every record that a filter takes, in the order of their ids. For more of it, or all of it
    /// bit by bit, see [`Resource::list`] and [`Resource::stream`].
    ///
    /// # Errors
    /// As [`Resource::list`].
    pub async fn query(&self, filter: serde_json::Value) -> Result<Vec<Record>> {
        Ok(self.list(&Query::filter(filter)).await?.items)
    }

    /// The records that a query asks for, one after another.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// # use s3db::{Database, Query, ResourceDefinition};
    /// # let db = Database::connect("memory://streams").await?;
    /// # let users = db.create_resource(ResourceDefinition::new("users").attribute("name", "string")).await?;
    /// # users.insert(serde_json::json!({"name": "Ana"})).await?;
    /// let mut rows = users.stream(&Query::all()).await?;
    /// while let Some(user) = rows.next().await? {
    ///     println!("{}", user.attributes["name"]);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Resource::list`]; those of a row come when its turn comes.
    pub async fn stream(&self, query: &Query) -> Result<Records> {
        self.may(Verb::Read)?;
        let plan = Plan::of(&self.inner, &self.name, query).await?;
        let warnings = plan.warnings.clone();
        let sorted = matches!(plan.order, Order::Fields(_));
        let reading = Arc::new(Reading::new(self, plan, query));
        let rows = if sorted {
            Source::Sorted(Sorted::collect(Arc::clone(&reading), query).await?)
        } else {
            Source::Direct(Box::new(self.direct(Arc::clone(&reading), query).await?))
        };
        Ok(Records { rows, order_by: query.order_by.clone(), last: None, exact: reading.is_exact(), warnings })
    }

    async fn direct(&self, reading: Arc<Reading>, query: &Query) -> Result<Rows> {
        let after = reading.plan.after.as_ref().map(|position| position.id.clone());
        let limit = query.limit.unwrap_or(usize::MAX);
        if query.offset > 0 && limit > 0 && !reading.every_entry_is_a_row() {
            let mut rows = Rows::new(reading, after, limit.saturating_add(query.offset)).await?;
            for _ in 0..query.offset {
                rows.next().await?;
            }
            return Ok(rows);
        }
        let mut rows = Rows::new(reading, after, limit).await?;
        rows.skip_entries(query.offset).await?;
        Ok(rows)
    }

    /// Lists ids. Those of a partition come from its index alone and may include a move in flight,
    /// unless the query is exact; those of the whole resource always are. Costs a LIST per thousand
    /// keys.
    ///
    /// # Errors
    /// As [`Resource::list`].
    pub async fn list_ids(&self, query: &Query) -> Result<Page<String>> {
        self.may(Verb::Read)?;
        let page = self.list(&Query { fields: Some(Vec::new()), ..query.clone() }).await?;
        let items = page.items.into_iter().map(|record| record.id).collect();
        Ok(Page { items, next: page.next, exact: page.exact, warnings: page.warnings })
    }

    /// A page by number with the count of all rows. Costs the count and the ids before the page.
    ///
    /// # Errors
    /// `Invalid` for a page of no rows; otherwise as [`Resource::list`].
    pub async fn page(&self, number: usize, size: usize, query: &Query) -> Result<NumberedPage> {
        self.may(Verb::Read)?;
        if size == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a page has at least one row").guide("give a size of 1 or more"));
        }
        let all = Query { limit: None, after: None, offset: 0, ..query.clone() };
        let start = number.saturating_mul(size);
        let (items, total_items) = match query.order_by.is_empty() {
            true => self.page_by_id(start, size, &all).await?,
            false => self.page_by_rows(start, size, &all).await?,
        };
        Ok(NumberedPage {
            items,
            total_items,
            page: number,
            page_size: size,
            total_pages: total_items.div_ceil(size),
            has_more: start.saturating_add(size) < total_items,
        })
    }

    async fn page_by_id(&self, start: usize, size: usize, all: &Query) -> Result<(Vec<Record>, usize)> {
        let ids = self.list_ids(all).await?.items;
        if start >= ids.len() {
            return Ok((Vec::new(), ids.len()));
        }
        let after = start.checked_sub(1).and_then(|at| ids.get(at)).cloned();
        let wanted = Query { limit: Some(size.min(ids.len() - start)), after, ..all.clone() };
        Ok((self.list(&wanted).await?.items, ids.len()))
    }

    async fn page_by_rows(&self, start: usize, size: usize, all: &Query) -> Result<(Vec<Record>, usize)> {
        let mut records = self.stream(all).await?;
        let (mut items, mut total) = (Vec::new(), 0);
        while let Some(record) = records.next().await? {
            if total >= start && items.len() < size {
                items.push(record);
            }
            total += 1;
        }
        Ok((items, total))
    }
}

impl Records {
    /// The next record; `None` at the end. Dropping this future loses nothing.
    ///
    /// # Errors
    /// A record that cannot be read; it is never left out.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        let row = match &mut self.rows {
            Source::Direct(rows) => rows.next().await?,
            Source::Sorted(rows) => rows.next().await?,
        };
        Ok(row.map(|Row { record, position }| {
            self.last = Some(position);
            record
        }))
    }

    /// The cursor behind the last record that was returned; `None` if none can follow.
    pub fn cursor(&self) -> Option<String> {
        let more = match &self.rows {
            Source::Direct(rows) => rows.has_more(),
            Source::Sorted(rows) => rows.has_more(),
        };
        self.last.as_ref().filter(|_| more).map(|position| cursor(&self.order_by, position))
    }

    /// Whether every row is looked at: see [`Page::exact`].
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// What the caller should know, such as a partition that has to be scanned.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The records as a stream that ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Record>> + Send {
        stream::try_unfold(self, |mut records| async move { Ok(records.next().await?.map(|record| (record, records))) })
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("last", &self.last).finish_non_exhaustive()
    }
}
