//! The contract of a store.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Probe, Result};

/// An object store.
///
/// Keys are UTF-8 and compare as bytes. Header names are in lower case and values are visible ASCII.
/// Reads see every write that was answered before they were sent.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Reads an object, or a range of its bytes.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object>;

    /// Reads what is known of an object without its body.
    async fn head(&self, key: &str) -> Result<ObjectMeta>;

    /// Writes an object and returns its new ETag.
    ///
    /// # Errors
    /// `Precondition` if it does not hold, `Unknown` if the write may have taken effect.
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String>;

    /// Deletes an object. Deleting what is not there succeeds, unless a precondition was given.
    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()>;

    /// Deletes up to 1,000 objects; those that are not there count as deleted.
    async fn delete_many(&self, keys: &[String]) -> Result<()>;

    /// Lists keys in order, a page at a time.
    async fn list(&self, list: List) -> Result<Page>;

    /// Copies an object within the store, with new headers where they are given.
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> Result<String>;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;

    /// What a probe found out about the server, where one was made.
    fn probe(&self) -> Option<Probe> {
        None
    }

    /// The store's time in milliseconds since 1970. Whatever is due, expired or young is decided by it.
    fn now_ms(&self) -> i64;

    /// Where the store is, without secrets.
    fn location(&self) -> String;
}

/// A store behind a pointer, as wrappers and the database hold it.
pub type Wrapped = Arc<dyn Store>;

/// What an object must be for a write to take place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Anything.
    #[default]
    None,
    /// It must not exist.
    Absent,
    /// It must have this ETag.
    Matches(String),
}

/// An object to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Put {
    /// The bytes.
    pub body: Bytes,
    /// User metadata.
    pub headers: BTreeMap<String, String>,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// The class under which a server keeps and charges it; engines without classes ignore it.
    pub storage_class: Option<String>,
}

/// A copy to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// User metadata that replaces the source's; `None` keeps it.
    pub headers: Option<BTreeMap<String, String>>,
    /// `Content-Type` that replaces the source's.
    pub content_type: Option<String>,
    /// What the source must be.
    pub source: Precondition,
}

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The bytes, or the range that was asked for.
    pub body: Bytes,
    /// What is known of it.
    pub meta: ObjectMeta,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectMeta {
    /// The ETag, without quotes.
    pub etag: String,
    /// Bytes of the whole body.
    pub size: u64,
    /// When it was written, in milliseconds since 1970 by the store's time.
    pub modified_ms: i64,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// User metadata.
    pub headers: BTreeMap<String, String>,
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// Only keys that begin with it.
    pub prefix: String,
    /// Only keys after this one; the first page only.
    pub start_after: Option<String>,
    /// Where the last page ended.
    pub token: Option<String>,
    /// Keys that hold this behind the prefix are rolled up to one common prefix.
    pub delimiter: Option<char>,
    /// At most this many keys, 1,000 at most.
    pub max_keys: usize,
}

impl List {
    /// Pages of 1,000 keys under a prefix.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), max_keys: Self::MAX_KEYS, ..Self::default() }
    }

    /// Keys on a page at most.
    pub const MAX_KEYS: usize = 1000;
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The objects in key order.
    pub entries: Vec<Entry>,
    /// The rolled-up prefixes in order.
    pub prefixes: Vec<String>,
    /// How to get the next page; `None` if this is the last.
    pub next: Option<String>,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The ETag, without quotes.
    pub etag: String,
    /// Bytes of the body.
    pub size: u64,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Conditional writes hold.
    pub compare_and_swap: bool,
    /// Conditional deletes hold.
    pub conditional_delete: bool,
    /// A refused precondition proves that this request did not take effect. Not so where a proxy
    /// may send a request twice.
    pub definite_refusals: bool,
    /// Listings are in byte order.
    pub ordered_listing: bool,
}

/// Cuts a range out of a body, as HTTP does: the end may lie behind the last byte.
pub(crate) fn slice(body: &Bytes, range: Option<Range<u64>>) -> Result<Bytes> {
    let Some(range) = range else { return Ok(body.clone()) };
    let len = body.len() as u64;
    if range.start >= len || range.start >= range.end {
        return Err(crate::StoreError::new(
            crate::ErrorKind::Invalid,
            format!("range {}..{} is outside an object of {len} bytes", range.start, range.end),
        ));
    }
    Ok(body.slice(range.start as usize..range.end.min(len) as usize))
}

/// Rolls a sorted listing up to a page: delimiter, page size and continuation.
pub(crate) fn page_of(entries: impl Iterator<Item = Entry>, list: &List) -> Page {
    let max = list.max_keys.clamp(1, List::MAX_KEYS);
    let mut page = Page::default();
    for entry in entries {
        let rolled = list.delimiter.and_then(|d| roll_up(&entry.key, &list.prefix, d));
        let known = rolled.as_ref().is_some_and(|p| {
            page.prefixes.last() == Some(p) || list.token.as_ref().is_some_and(|t| t.starts_with(p.as_str()))
        });
        if known {
            continue;
        }
        if page.entries.len() + page.prefixes.len() == max {
            let last_key = page.entries.last().map(|e| e.key.clone());
            page.next = last_key.max(page.prefixes.last().cloned());
            return page;
        }
        match rolled {
            Some(prefix) => page.prefixes.push(prefix),
            None => page.entries.push(entry),
        }
    }
    page
}

fn roll_up(key: &str, prefix: &str, delimiter: char) -> Option<String> {
    let rest = key.strip_prefix(prefix)?;
    let (at, found) = rest.match_indices(delimiter).next()?;
    Some(format!("{prefix}{}", rest.get(..at + found.len())?))
}
