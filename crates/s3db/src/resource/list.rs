//! Listing records, whole or by partition.
//!
//! Requests for K rows: a LIST per thousand keys, and K GETs side by side. A partition whose index
//! is not known to be complete is answered by reading all rows, with a warning: answers are always
//! right.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::partition::Partition;
use s3db_store::List;
use serde::Serialize;
use serde_json::{Map, Value};

use super::get::Selection;
use super::{Record, Resource};
use crate::error::{Error, ErrorKind, Result};

/// What to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListOptions {
    /// At most this many rows; `None` is all.
    pub limit: Option<usize>,
    /// Only rows behind this id: the `next` of the page before.
    pub after: Option<String>,
    /// Only rows with these values of a partition's leading fields.
    pub partition: Option<(String, Map<String, Value>)>,
    /// Only these fields, as dotted paths; `None` is all.
    pub fields: Option<Vec<String>>,
    /// Leave secrets out; then no passphrase is needed.
    pub omit_secrets: bool,
}

impl ListOptions {
    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Only rows behind this id.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// Only rows with these values of a partition.
    #[must_use]
    pub fn partition(mut self, name: impl Into<String>, values: Value) -> Self {
        let values = values.as_object().cloned().unwrap_or_default();
        self.partition = Some((name.into(), values));
        self
    }

    /// Leaves secrets out.
    #[must_use]
    pub fn omit_secrets(mut self, omit: bool) -> Self {
        self.omit_secrets = omit;
        self
    }

    /// Only these fields.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fields = Some(fields.into_iter().map(Into::into).collect());
        self
    }
}

/// Rows in the order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T = Record> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` if this is the last.
    pub next: Option<String>,
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

/// Where ids come from.
pub(crate) enum Source {
    /// All records.
    Records,
    /// The index of a partition under these leading values.
    Index(Partition, Vec<String>),
    /// All records, filtered by a partition's leading values.
    Scan(Partition, Vec<String>),
}

/// Ids page by page, in order and without doubles.
pub(crate) struct Ids<'a> {
    resource: &'a Resource,
    source: Source,
    prefix: String,
    after: Option<String>,
    token: Option<String>,
    sorted: Option<std::vec::IntoIter<String>>,
    last: Option<String>,
    done: bool,
}

impl Resource {
    /// Lists records in the order of their ids (by bytes).
    ///
    /// Costs max(1, ⌈scanned/1000⌉) + K requests in 1 + ⌈K/64⌉ rounds.
    ///
    /// # Errors
    /// `Invalid` for a partition or field that is not there; an error on one row is an error of the
    /// list, never a row left out.
    pub async fn list(&self, options: &ListOptions) -> Result<Page> {
        let (source, warnings) = self.source(options).await?;
        let mut ids = Ids::new(self, source, options.after.clone());
        let limit = options.limit.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut known = VecDeque::new();
        while items.len() < limit {
            let wanted = limit - items.len();
            if known.is_empty() {
                // One id more than is wanted says whether there is a next page, without reading it.
                known.extend(ids.next_batch(wanted.saturating_add(1)).await?);
            }
            if known.is_empty() {
                break;
            }
            let batch: Vec<String> = known.drain(..wanted.min(known.len())).collect();
            let rows = stream::iter(batch).map(|id| {
                let ids = &ids;
                async move { self.row(&id, ids, options).await }
            });
            let rows: Vec<Option<Record>> = rows.buffered(self.inner.parallelism).try_collect().await?;
            items.extend(rows.into_iter().flatten());
        }
        let more = !known.is_empty() || ids.has_more();
        let next = items.last().filter(|_| more).map(|r| r.id.clone());
        Ok(Page { items, next, warnings })
    }

    /// Lists ids. Those of a partition come from its index alone and may include a move in flight;
    /// those of the whole resource are exact. Costs a LIST per thousand keys.
    ///
    /// # Errors
    /// As [`Resource::list`].
    pub async fn list_ids(&self, options: &ListOptions) -> Result<Page<String>> {
        let (source, warnings) = self.source(options).await?;
        if matches!(source, Source::Scan(..)) {
            let rows = self.list(options).await?;
            return Ok(Page { items: rows.items.into_iter().map(|r| r.id).collect(), next: rows.next, warnings });
        }
        let mut ids = Ids::new(self, source, options.after.clone());
        let limit = options.limit.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        while items.len() <= limit {
            let batch = ids.next_batch((limit - items.len()).saturating_add(1)).await?;
            if batch.is_empty() {
                break;
            }
            items.extend(batch);
        }
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { next: items.last().filter(|_| more).cloned(), items, warnings })
    }

    /// A page by number with the count of all rows. Costs the count and the ids before the page.
    ///
    /// # Errors
    /// `Invalid` for a page of no rows; otherwise as [`Resource::list`].
    pub async fn page(&self, number: usize, size: usize, options: &ListOptions) -> Result<NumberedPage> {
        if size == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a page has at least one row").guide("give a size of 1 or more"));
        }
        let all = ListOptions { limit: None, after: None, ..options.clone() };
        let ids = self.list_ids(&all).await?.items;
        let start = number.saturating_mul(size).min(ids.len());
        let end = start.saturating_add(size).min(ids.len());
        let after = start.checked_sub(1).and_then(|at| ids.get(at)).cloned();
        let items = match end - start {
            0 => Vec::new(),
            rows => self.list(&ListOptions { limit: Some(rows), after, ..options.clone() }).await?.items,
        };
        Ok(NumberedPage {
            items,
            total_items: ids.len(),
            page: number,
            page_size: size,
            total_pages: ids.len().div_ceil(size),
            has_more: end < ids.len(),
        })
    }

    /// Where the ids of a list come from, with a warning where a partition must be scanned.
    pub(super) async fn source(&self, options: &ListOptions) -> Result<(Source, Vec<String>)> {
        let resource = self.inner.resource(&self.name).await?;
        for field in options.fields.iter().flatten() {
            check_field(&resource, field)?;
        }
        let Some((name, values)) = &options.partition else { return Ok((Source::Records, Vec::new())) };
        let partition = resource.partition(name).ok_or_else(|| unknown_partition(&resource, name))?;
        let values = partition.given_values(values).map_err(|field| wrong_field(partition, &field))?;
        if self.inner.is_indexed(&resource, partition).await? {
            return Ok((Source::Index(partition.clone(), values), Vec::new()));
        }
        let warning = format!(
            "partition '{name}' has no complete index, so all rows are read; build it with `s3db resource reindex {}`",
            self.name
        );
        tracing::warn!("{warning}");
        Ok((Source::Scan(partition.clone(), values), vec![warning]))
    }

    /// Reads a row and compares it with the partition: a stale key never yields a row.
    async fn row(&self, id: &str, ids: &Ids<'_>, options: &ListOptions) -> Result<Option<Record>> {
        let selection = Selection { fields: options.fields.as_deref(), omit_secrets: options.omit_secrets };
        self.find_where(id, selection, &|decoded| match &ids.source {
            Source::Records => true,
            Source::Index(partition, wanted) | Source::Scan(partition, wanted) => {
                let found = partition.values(&decoded.attributes, &decoded.version);
                found.is_some_and(|found| found.starts_with(wanted))
            }
        })
        .await
    }
}

impl<'a> Ids<'a> {
    pub(crate) fn new(resource: &'a Resource, source: Source, after: Option<String>) -> Self {
        let prefix = match &source {
            Source::Index(partition, values) => resource.inner.keeper.prefix(partition, resource.name(), values),
            Source::Records | Source::Scan(..) => keys::records(resource.name()),
        };
        Self { resource, source, prefix, after, token: None, sorted: None, last: None, done: false }
    }

    /// The next ids, about as many as are wanted; empty at the end.
    pub(crate) async fn next_batch(&mut self, wanted: usize) -> Result<Vec<String>> {
        match &self.source {
            _ if self.sorted.is_some() => self.next_sorted(wanted).await,
            Source::Index(partition, values) if values.len() == partition.fields().len() => {
                self.next_page(wanted).await
            }
            Source::Index(..) => self.next_sorted(wanted).await,
            Source::Records | Source::Scan(..) => self.next_page(wanted).await,
        }
    }

    /// Whether there may be ids behind those that were returned.
    fn has_more(&self) -> bool {
        match &self.sorted {
            Some(rest) => rest.len() > 0,
            None => !self.done,
        }
    }

    async fn next_page(&mut self, wanted: usize) -> Result<Vec<String>> {
        let by_names = self.walks_by_names();
        if by_names && self.is_out_of_order().await? {
            return self.next_sorted(wanted).await;
        }
        while !self.done {
            let after = self.after.take();
            let list = List {
                start_after: after.as_ref().map(|id| self.key_after(id)),
                token: self.token.take(),
                delimiter: by_names.then_some('/'),
                max_keys: wanted.clamp(1, List::MAX_KEYS),
                ..List::prefix(self.prefix.clone())
            };
            let page = self.resource.inner.list(list).await?;
            if !page.prefixes.is_empty() {
                self.after = self.last.clone().or(after);
                return self.next_sorted(wanted).await;
            }
            self.token = page.next;
            self.done = self.token.is_none();
            let mut ids = Vec::new();
            for entry in page.entries {
                let id = self.id_of(&entry.key);
                if id.is_some() && id != self.last {
                    self.last.clone_from(&id);
                    ids.extend(id);
                }
            }
            if !ids.is_empty() {
                return Ok(ids);
            }
        }
        Ok(Vec::new())
    }

    /// Some servers list by names, a directory's content where its name is: `a`, `a/b`, `a-b`. Then
    /// ids are in the order of their bytes as long as none holds a `/`, which only old buckets have.
    fn walks_by_names(&self) -> bool {
        // Our index keys escape ids; references of s3db.js do not.
        let by_id = matches!(self.source, Source::Records | Source::Scan(..)) || self.resource.inner.is_shared();
        by_id && !self.resource.inner.store.capabilities().ordered_listing
    }

    /// Whether ids with a `/` are behind the cursor in bytes and before it by name: those that begin
    /// as it does up to a character that comes before `/`.
    async fn is_out_of_order(&self) -> Result<bool> {
        let Some(after) = self.after.as_deref().filter(|_| self.token.is_none()) else { return Ok(false) };
        if after.contains('/') {
            return Ok(true);
        }
        let before_slash = after.match_indices(|c: char| c < '/').filter(|(at, _)| *at > 0);
        let prefixes: Vec<String> =
            before_slash.filter_map(|(at, _)| Some(format!("{}{}/", self.prefix, after.get(..at)?))).collect();
        let looks = stream::iter(prefixes).map(|prefix| async move {
            let page = self.resource.inner.list(List { max_keys: 1, ..List::prefix(prefix) }).await?;
            Ok::<_, Error>(!page.entries.is_empty())
        });
        let found: Vec<bool> = looks.buffered(self.resource.inner.parallelism).try_collect().await?;
        Ok(found.contains(&true))
    }

    /// Under fewer values than the partition has fields keys are not in the order of ids.
    async fn next_sorted(&mut self, wanted: usize) -> Result<Vec<String>> {
        let mut rest = match self.sorted.take() {
            Some(rest) => rest,
            None => self.all_sorted().await?.into_iter(),
        };
        let batch = rest.by_ref().take(wanted.min(List::MAX_KEYS)).collect();
        self.sorted = Some(rest);
        Ok(batch)
    }

    async fn all_sorted(&mut self) -> Result<Vec<String>> {
        let after = self.after.take();
        let mut ids = Vec::new();
        let prefix = self.prefix.clone();
        let this = &*self;
        this.resource
            .inner
            .keys_under(&prefix, |keys| ids.extend(keys.iter().filter_map(|key| this.id_of(key))))
            .await?;
        ids.sort();
        ids.dedup();
        ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
        Ok(ids)
    }

    fn id_of(&self, key: &str) -> Option<String> {
        match &self.source {
            Source::Index(partition, _) => self.resource.inner.keeper.id_in(partition, self.resource.name(), key),
            Source::Records | Source::Scan(..) => keys::record_id(self.resource.name(), key).map(str::to_owned),
        }
    }

    fn key_after(&self, id: &str) -> String {
        match &self.source {
            Source::Index(partition, values) => {
                self.resource.inner.keeper.key_behind(partition, self.resource.name(), values, id)
            }
            Source::Records | Source::Scan(..) => keys::record(self.resource.name(), id),
        }
    }
}

/// A field that no version of the definition ever had is a typing error.
fn check_field(resource: &catalog::Resource, field: &str) -> Result<()> {
    if field == "id" || resource.versions().iter().any(|v| v.schema.admits(field)) {
        return Ok(());
    }
    let known = resource.current().schema.paths().iter().map(|m| m.path.as_str());
    let hint = s3db_format::error::did_you_mean(field, known.clone())
        .unwrap_or_else(|| format!("fields: {}", known.collect::<Vec<_>>().join(", ")));
    Err(Error::new(ErrorKind::Invalid, format!("resource '{}' has no field '{field}'", resource.name)).guide(hint))
}

fn unknown_partition(resource: &Arc<catalog::Resource>, name: &str) -> Error {
    let names: Vec<&str> = resource.partitions().iter().map(|p| p.name.as_str()).collect();
    let hint =
        s3db_format::error::did_you_mean(name, names.iter().copied()).unwrap_or_else(|| match names.as_slice() {
            [] => "the resource has no partitions".to_owned(),
            names => format!("partitions: {}", names.join(", ")),
        });
    Error::new(ErrorKind::NotFound, format!("resource '{}' has no partition '{name}'", resource.name)).guide(hint)
}

fn wrong_field(partition: &Partition, field: &str) -> Error {
    let fields: Vec<&str> = partition.fields().iter().map(|(path, _)| path.as_str()).collect();
    let message = if fields.contains(&field) {
        format!("partition '{}' needs a value for '{field}' before the others", partition.name)
    } else {
        format!("partition '{}' has no field '{field}'", partition.name)
    };
    Error::new(ErrorKind::Invalid, message)
        .guide(format!("give values for its fields in this order: {}", fields.join(", ")))
}
