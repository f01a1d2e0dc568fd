//! Reading the rows of a query: side by side, in order, and no more of them than are needed.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use s3db_format::record::Decoded;
use serde_json::{Map, Value};

use super::ids::{Entry, Ids};
use super::{Meta, Record, Resource};
use crate::error::Result;
use crate::query::Query;
use crate::query::filter::Row as FilterRow;
use crate::query::order::{Order, Position};
use crate::query::plan::Plan;

/// Entries that are known before they are read.
const AHEAD: usize = 1_000;

/// A row that passed, and where it stands in the order.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) position: Position,
}

/// How rows are read and what of them is wanted.
#[derive(Debug)]
pub(super) struct Reading {
    resource: Resource,
    pub(super) plan: Plan,
    fields: Option<Vec<String>>,
    omit_secrets: bool,
    from_keys: bool,
}

impl Reading {
    pub(super) fn new(resource: &Resource, plan: Plan, query: &Query) -> Self {
        let from_keys = plan.rows_from_keys(query);
        let (fields, omit_secrets) = (query.fields.clone(), query.omit_secrets);
        Self { resource: resource.clone(), plan, fields, omit_secrets, from_keys }
    }

    /// Whether every row is looked at, or the keys are exact by themselves.
    pub(super) fn is_exact(&self) -> bool {
        self.plan.is_exact(self.from_keys)
    }

    /// Whether entries can be counted as rows without reading them.
    pub(super) fn every_entry_is_a_row(&self) -> bool {
        self.from_keys || self.plan.keys_suffice && self.plan.keys_are_exact() && !self.resource.inner.is_shared()
    }

    pub(super) fn parallel(&self) -> usize {
        self.resource.inner.parallel()
    }

    /// Reads a row and compares it with the partition and the filter, so that a stale key never yields
    /// a row. Where the keys suffice, nothing is read.
    pub(super) async fn row(&self, entry: Entry) -> Result<Option<Row>> {
        if self.from_keys {
            return Ok(Some(self.row_of_key(entry)));
        }
        let Some((object, mut decoded)) = self.resource.load(&entry.id).await? else { return Ok(None) };
        if !self.takes(&entry.id, &mut decoded).await? {
            return Ok(None);
        }
        let meta = Meta::of(&object, &decoded);
        let position = self.plan.order.position(&entry.id, &decoded.attributes);
        let revealed = self.resource.inner.secrets.reveal(&mut decoded, &|path| self.wants(path)).await;
        revealed.map_err(|e| e.context(&self.resource.what(&entry.id)))?;
        let attributes = match &self.fields {
            Some(fields) => project(&decoded.attributes, fields),
            None => decoded.attributes,
        };
        Ok(Some(Row { record: Record { id: entry.id, attributes, meta }, position }))
    }

    /// Whether a record lies in the partition and passes the filter. Secrets that the filter asks for are
    /// decrypted, and then those that are wanted too.
    pub(super) async fn takes(&self, id: &str, decoded: &mut Decoded) -> Result<bool> {
        if let Some((partition, wanted)) = &self.plan.within {
            let found = partition.values(&decoded.attributes, &decoded.version);
            if found.is_none_or(|found| !found.starts_with(wanted)) {
                return Ok(false);
            }
        }
        let Some(filter) = &self.plan.filter else { return Ok(true) };
        let context = |error: crate::Error| error.context(&self.resource.what(id));
        if decoded.secrets.iter().any(|field| self.asks(&field.path)) {
            let needed = |path: &str| self.asks(path) || self.wants(path);
            self.resource.inner.secrets.reveal(decoded, &needed).await.map_err(context)?;
        }
        let id = Value::String(id.to_owned());
        filter.takes(FilterRow { id: &id, attributes: &decoded.attributes }).map_err(context)
    }

    fn row_of_key(&self, entry: Entry) -> Row {
        let attributes = self.plan.values_of(&entry.values, self.fields.as_deref().unwrap_or_default());
        let position = Position { ranks: Vec::new(), id: entry.id.clone() };
        Row { record: Record { id: entry.id, attributes, meta: Meta::unread() }, position }
    }

    /// Whether the filter asks for a secret.
    fn asks(&self, path: &str) -> bool {
        self.plan.filter.as_ref().is_some_and(|filter| filter.paths().iter().any(|asked| covers(asked, path)))
    }

    fn wants(&self, path: &str) -> bool {
        let named = self.fields.as_ref().is_none_or(|fields| fields.iter().any(|field| covers(field, path)));
        !self.omit_secrets && named
    }
}

/// The rows of a query in the order of their ids, either way.
pub(super) struct Rows {
    reading: Arc<Reading>,
    listing: Listing,
    known: VecDeque<Entry>,
    under_way: FuturesOrdered<BoxFuture<'static, Result<Option<Row>>>>,
    /// Rows that are still wanted.
    left: usize,
    /// Entries that are listed at a time.
    page: usize,
    seen: usize,
    passed: usize,
}

enum Listing {
    Ready(Box<Ids>),
    Busy(BoxFuture<'static, (Box<Ids>, Result<Vec<Entry>>)>),
    Failed,
    Done,
}

impl Rows {
    /// The rows of a plan behind an id, at most so many.
    pub(super) async fn new(reading: Arc<Reading>, after: Option<String>, limit: usize) -> Result<Self> {
        let resource = &reading.resource;
        let mut known = VecDeque::new();
        let listing = match reading.plan.order {
            Order::IdDescending => {
                let ids = Ids::new(resource, reading.plan.source.clone(), None).into_descending().await?;
                known.extend(ids.into_iter().filter(|entry| after.as_ref().is_none_or(|after| entry.id < *after)));
                Listing::Done
            }
            Order::Id | Order::Fields(_) => {
                Listing::Ready(Box::new(Ids::new(resource, reading.plan.source.clone(), after)))
            }
        };
        let reads_all_it_lists = reading.plan.filter.is_none();
        // One entry more than is wanted says whether there is a next page, without reading it.
        let page = if reads_all_it_lists { limit.saturating_add(1) } else { usize::MAX };
        Ok(Self { reading, listing, known, under_way: FuturesOrdered::new(), left: limit, page, seen: 0, passed: 0 })
    }

    /// Leaves out entries without reading them: only where every entry is a row.
    pub(super) async fn skip_entries(&mut self, mut count: usize) -> Result<()> {
        self.page = self.page.saturating_add(count);
        while count > 0 {
            if self.known.is_empty() && !self.list_now().await? {
                return Ok(());
            }
            let skipped = count.min(self.known.len());
            self.known.drain(..skipped);
            count -= skipped;
        }
        Ok(())
    }

    /// The next row. Dropping this future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Row>> {
        while self.left > 0 {
            self.begin_reads();
            self.begin_listing();
            let is_listing = matches!(self.listing, Listing::Busy(_));
            if self.under_way.is_empty() && !is_listing {
                return Ok(None);
            }
            let listing = async {
                match &mut self.listing {
                    Listing::Busy(listing) => listing.await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(row) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.seen += 1;
                    if let Some(row) = row? {
                        self.passed += 1;
                        self.left -= 1;
                        return Ok(Some(row));
                    }
                }
                (ids, batch) = listing, if is_listing => self.listed(ids, batch)?,
            }
        }
        Ok(None)
    }

    /// Whether there may be rows behind those that were returned.
    pub(super) fn has_more(&self) -> bool {
        let unlisted = match &self.listing {
            Listing::Ready(ids) => ids.has_more(),
            Listing::Busy(_) => true,
            Listing::Failed | Listing::Done => false,
        };
        unlisted || !self.known.is_empty() || !self.under_way.is_empty()
    }

    /// As many reads as are expected to give the rows that are left: all that passed so far say how
    /// many rows one in so many is.
    fn begin_reads(&mut self) {
        let one_in = (self.seen + 1).div_ceil(self.passed + 1);
        let bound = self.left.saturating_mul(one_in).min(self.reading.parallel());
        while self.under_way.len() < bound
            && let Some(entry) = self.known.pop_front()
        {
            let reading = Arc::clone(&self.reading);
            self.under_way.push_back(async move { reading.row(entry).await }.boxed());
        }
    }

    fn begin_listing(&mut self) {
        let enough = self.known.len() + self.under_way.len() >= self.left.min(AHEAD);
        if enough {
            return;
        }
        self.listing = match std::mem::replace(&mut self.listing, Listing::Done) {
            Listing::Ready(mut ids) if ids.has_more() => {
                let page = self.page;
                Listing::Busy(
                    async move {
                        let batch = ids.next_batch(page).await;
                        (ids, batch)
                    }
                    .boxed(),
                )
            }
            other => other,
        };
    }

    fn listed(&mut self, ids: Box<Ids>, batch: Result<Vec<Entry>>) -> Result<()> {
        self.listing = Listing::Failed;
        let batch = batch?;
        self.listing = if batch.is_empty() { Listing::Done } else { Listing::Ready(ids) };
        self.known.extend(batch);
        Ok(())
    }

    async fn list_now(&mut self) -> Result<bool> {
        let Listing::Ready(ids) = &mut self.listing else { return Ok(false) };
        self.known.extend(ids.next_batch(self.page).await?);
        Ok(!self.known.is_empty())
    }
}

/// Whether asking for a field asks for a path: the field itself, a parent, or a child.
fn covers(field: &str, path: &str) -> bool {
    let inside = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
    inside(path, field) || inside(field, path)
}

fn project(attributes: &Map<String, Value>, fields: &[String]) -> Map<String, Value> {
    let mut projected = Map::new();
    for field in fields {
        if let Some(value) = s3db_format::partition::get_path(attributes, field) {
            s3db_format::record::set_path(&mut projected, field, value.clone());
        }
    }
    projected
}
