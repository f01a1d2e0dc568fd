//! Where the ids of a list come from: the records' own keys, a partition's index, or the caller.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::partition::{Partition, is_escaped_in_ids};
use s3db_store::List;
use serde_json::{Map, Value};

use super::Resource;
use crate::error::{Error, ErrorKind, Result};

/// Where ids come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// All records.
    Records,
    /// These ids, in order, whether they exist or not.
    Ids(Vec<String>),
    /// The index of a partition under leading values, as many in each.
    Index {
        /// The partition.
        partition: Partition,
        /// Leading values.
        prefixes: Vec<Vec<String>>,
    },
}

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The row's id.
    pub(crate) id: String,
    /// The texts of the partition's fields, where the key is one of our index.
    pub(crate) values: Vec<String>,
}

/// Ids page by page, in order and without doubles.
#[derive(Debug)]
pub(crate) struct Ids {
    resource: Resource,
    source: Source,
    prefixes: Vec<String>,
    after: Option<String>,
    token: Option<String>,
    sorted: Option<std::vec::IntoIter<Entry>>,
    last: Option<String>,
    /// Whether a page was listed already.
    continues: bool,
    done: bool,
}

impl Ids {
    pub(crate) fn new(resource: &Resource, source: Source, after: Option<String>) -> Self {
        let prefixes = match &source {
            Source::Index { partition, prefixes } => {
                let keeper = resource.inner.keeper;
                prefixes.iter().map(|values| keeper.prefix(partition, resource.name(), values)).collect()
            }
            Source::Records => vec![keys::records(resource.name())],
            Source::Ids(_) => Vec::new(),
        };
        Self {
            resource: resource.clone(),
            source,
            prefixes,
            after,
            token: None,
            sorted: None,
            last: None,
            continues: false,
            done: false,
        }
    }

    /// The next ids, about as many as are wanted; empty at the end.
    pub(crate) async fn next_ids(&mut self, wanted: usize) -> Result<Vec<String>> {
        Ok(self.next_batch(wanted).await?.into_iter().map(|entry| entry.id).collect())
    }

    /// The next entries, about as many as are wanted; empty at the end.
    pub(crate) async fn next_batch(&mut self, wanted: usize) -> Result<Vec<Entry>> {
        match &self.source {
            _ if self.sorted.is_some() => self.next_sorted(wanted).await,
            Source::Index { partition, prefixes } => {
                // Under fewer values than the partition has fields keys are not in the order of ids.
                let by_id = prefixes.iter().all(|values| values.len() == partition.fields().len());
                match prefixes.len() {
                    1 if by_id => self.next_page(wanted).await,
                    _ => self.next_sorted(wanted).await,
                }
            }
            Source::Ids(_) => self.next_sorted(wanted).await,
            Source::Records => self.next_page(wanted).await,
        }
    }

    /// Whether there may be ids behind those that were returned.
    pub(super) fn has_more(&self) -> bool {
        match &self.sorted {
            Some(rest) => rest.len() > 0,
            None => !self.done,
        }
    }

    /// Every entry that is left, greatest id first.
    pub(super) async fn into_descending(mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        loop {
            let batch = self.next_batch(usize::MAX).await?;
            if batch.is_empty() {
                entries.reverse();
                return Ok(entries);
            }
            entries.extend(batch);
        }
    }

    async fn next_page(&mut self, wanted: usize) -> Result<Vec<Entry>> {
        let by_names = self.walks_by_names();
        if self.is_out_of_order().await? {
            return self.next_sorted(wanted).await;
        }
        while !self.done {
            let after = self.after.take();
            let list = List {
                start_after: after.as_ref().map(|id| self.key_after(id)),
                token: self.token.take(),
                delimiter: by_names.then_some('/'),
                max_keys: wanted.clamp(1, List::MAX_KEYS),
                ..List::prefix(self.prefix())
            };
            let page = self.resource.inner.list(list).await?;
            if !page.prefixes.is_empty() || page.entries.iter().any(|object| self.lies_elsewhere(&object.key)) {
                self.after = self.last.clone().or(after);
                return self.next_sorted(wanted).await;
            }
            let is_first = !std::mem::replace(&mut self.continues, true);
            self.token = page.next;
            self.done = self.token.is_none();
            if self.done && !is_first {
                self.confirm_index().await?;
            }
            let mut entries = Vec::new();
            for object in page.entries {
                let entry = self.entry_of(&object.key);
                if let Some(entry) = entry.filter(|entry| Some(&entry.id) != self.last.as_ref()) {
                    self.last = Some(entry.id.clone());
                    entries.push(entry);
                }
            }
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    }

    fn prefix(&self) -> String {
        self.prefixes.first().cloned().unwrap_or_default()
    }

    /// Some servers list by names, a directory's content where its name is: `a`, `a/b`, `a-b`. Then
    /// ids are in the order of their bytes as long as none holds a `/`, which only old buckets have.
    fn walks_by_names(&self) -> bool {
        // Our index keys escape ids; references of s3db.js do not.
        let by_id = matches!(self.source, Source::Records) || self.resource.inner.is_shared();
        by_id && !self.resource.inner.store.capabilities().ordered_listing
    }

    /// Whether our index key of an id is not where the id is in the order of bytes: its characters that
    /// are escaped come first there.
    fn lies_elsewhere(&self, key: &str) -> bool {
        let escapes = matches!(self.source, Source::Index { .. }) && !self.resource.inner.is_shared();
        escapes && self.entry_of(key).is_some_and(|entry| entry.id.contains(is_escaped_in_ids))
    }

    /// Whether ids are behind the cursor in bytes, and their keys before its key. In an index, and where
    /// keys are listed by names, these are ids with a `/` that begin as the cursor does up to a
    /// character that comes before it; only old buckets have such.
    async fn is_out_of_order(&self) -> Result<bool> {
        let Some(after) = self.after.as_deref().filter(|_| self.token.is_none()) else { return Ok(false) };
        let (slash, lies_elsewhere) = match &self.source {
            _ if self.walks_by_names() => ("/", after.contains('/')),
            Source::Index { .. } if !self.resource.inner.is_shared() => ("%2F", after.contains(is_escaped_in_ids)),
            _ => return Ok(false),
        };
        if lies_elsewhere {
            return Ok(true);
        }
        let before_slash = after.match_indices(|c: char| c < '/').filter(|(at, _)| *at > 0);
        let prefix = self.prefix();
        let prefixes: Vec<String> =
            before_slash.filter_map(|(at, _)| Some(format!("{prefix}{}{slash}", after.get(..at)?))).collect();
        let looks = stream::iter(prefixes).map(|prefix| async move {
            let page = self.resource.inner.list(List { max_keys: 1, ..List::prefix(prefix) }).await?;
            Ok::<_, Error>(!page.entries.is_empty())
        });
        let found: Vec<bool> = looks.buffered(self.resource.inner.parallel()).try_collect().await?;
        Ok(found.contains(&true))
    }

    async fn next_sorted(&mut self, wanted: usize) -> Result<Vec<Entry>> {
        let mut rest = match self.sorted.take() {
            Some(rest) => rest,
            None => self.all_sorted().await?.into_iter(),
        };
        let batch = rest.by_ref().take(wanted.min(List::MAX_KEYS)).collect();
        self.sorted = Some(rest);
        Ok(batch)
    }

    async fn all_sorted(&mut self) -> Result<Vec<Entry>> {
        let after = self.after.take();
        let mut entries = match &self.source {
            Source::Ids(ids) => ids.iter().map(|id| Entry { id: id.clone(), values: Vec::new() }).collect(),
            Source::Records | Source::Index { .. } => self.all_listed().await?,
        };
        entries.sort();
        entries.dedup_by(|later, earlier| later.id == earlier.id);
        entries.retain(|entry| after.as_ref().is_none_or(|after| entry.id > *after));
        Ok(entries)
    }

    async fn all_listed(&self) -> Result<Vec<Entry>> {
        let inner = &self.resource.inner;
        let lists = stream::iter(self.prefixes.clone()).map(|prefix| async move {
            let mut entries = Vec::new();
            let take = |keys: Vec<String>| entries.extend(keys.iter().filter_map(|key| self.entry_of(key)));
            inner.keys_under(&prefix, take).await?;
            Ok::<_, Error>(entries)
        });
        let lists: Vec<Vec<Entry>> = lists.buffered(inner.parallel()).try_collect().await?;
        if lists.iter().any(|list| list.len() >= List::MAX_KEYS) {
            self.confirm_index().await?;
        }
        Ok(lists.concat())
    }

    /// A partition that goes loses its marker a minute before its keys. If it is still there, nothing was
    /// taken away between the pages of a listing.
    async fn confirm_index(&self) -> Result<()> {
        let (resource, inner) = (&self.resource, &self.resource.inner);
        let Source::Index { partition, .. } = &self.source else { return Ok(()) };
        let marker = keys::partition_marker(resource.name(), &partition.name);
        if inner.is_shared() || inner.head(&marker).await?.is_some() {
            return Ok(());
        }
        let message =
            format!("partition '{}' of resource '{}' was changed while it was read", partition.name, resource.name());
        Err(Error::new(ErrorKind::Conflict, message).guide("run the query again"))
    }

    fn entry_of(&self, key: &str) -> Option<Entry> {
        match &self.source {
            Source::Index { partition, .. } => {
                self.resource.inner.keeper.entry_in(partition, self.resource.name(), key)
            }
            Source::Records | Source::Ids(_) => {
                let id = keys::record_id(self.resource.name(), key)?.to_owned();
                Some(Entry { id, values: Vec::new() })
            }
        }
    }

    fn key_after(&self, id: &str) -> String {
        match &self.source {
            Source::Index { partition, prefixes } => {
                let values = prefixes.first().map_or(&[][..], Vec::as_slice);
                self.resource.inner.keeper.key_behind(partition, self.resource.name(), values, id)
            }
            Source::Records | Source::Ids(_) => keys::record(self.resource.name(), id),
        }
    }
}

/// The partition that a caller names, and the texts of its values.
pub(crate) fn named_partition<'a>(
    resource: &'a Arc<catalog::Resource>,
    name: &str,
    values: &Map<String, Value>,
) -> Result<(&'a Partition, Vec<String>)> {
    let partition = resource.partition(name).ok_or_else(|| unknown_partition(resource, name))?;
    let values = partition.given_values(values).map_err(|field| wrong_field(partition, &field))?;
    Ok((partition, values))
}

/// A field that no version of the definition ever had is a typing error.
pub(crate) fn check_field(resource: &catalog::Resource, field: &str) -> Result<()> {
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
