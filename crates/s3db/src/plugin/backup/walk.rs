//! Every object under a prefix, in the byte order of keys, whatever the order of the store's listings.
//!
//! Some servers list by names: `a/b` before `a-b`. There each folder is listed by itself, and what comes too
//! early waits until nothing smaller can come.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use s3db_store::{Entry, List};

use crate::database::Inner;
use crate::error::Result;

/// A walk over objects.
pub(super) struct Walk<'a> {
    inner: &'a Inner,
    /// Keys that the walk leaves out, by the beginning that a folder has.
    wanted: &'a (dyn Fn(&str) -> bool + Send + Sync),
    prefix: String,
    state: State,
}

enum State {
    /// Listings are in order.
    Flat { token: Option<String>, done: bool },
    /// They are not: the folders that are open, the innermost last.
    Deep(Vec<Folder>),
}

/// A folder that is being listed.
struct Folder {
    prefix: String,
    token: Option<String>,
    /// Nothing more is to be listed.
    done: bool,
    /// The last name that was listed.
    last: String,
    waiting: BinaryHeap<Reverse<Item>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    /// The key, or the prefix of a folder with its `/`.
    key: String,
    /// `None` for a folder.
    entry: Option<(String, u64, i64)>,
}

impl<'a> Walk<'a> {
    /// A walk over what begins with `prefix`. `wanted` says of a key whether it is to be shown, and of a folder
    /// whether it is worth looking into.
    pub(super) fn new(inner: &'a Inner, prefix: &str, wanted: &'a (dyn Fn(&str) -> bool + Send + Sync)) -> Self {
        let state = if inner.store.capabilities().ordered_listing {
            State::Flat { token: None, done: false }
        } else {
            // The last part of the prefix may be the beginning of a name.
            let folder = prefix.rfind('/').map_or("", |slash| prefix.get(..=slash).unwrap_or_default());
            State::Deep(vec![Folder::new(folder.to_owned())])
        };
        Self { inner, wanted, prefix: prefix.to_owned(), state }
    }

    /// The next objects, a thousand or so; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        match &mut self.state {
            State::Flat { done: true, .. } => Ok(None),
            State::Flat { token, done } => {
                let page = self.inner.list(List { token: token.take(), ..List::prefix(&self.prefix) }).await?;
                *done = page.next.is_none();
                *token = page.next;
                Ok(Some(page.entries.into_iter().filter(|entry| (self.wanted)(&entry.key)).collect()))
            }
            State::Deep(folders) => deep(self.inner, &self.prefix, self.wanted, folders).await,
        }
    }
}

impl Folder {
    fn new(prefix: String) -> Self {
        Self { prefix, token: None, done: false, last: String::new(), waiting: BinaryHeap::new() }
    }

    /// Whether nothing that is still to be listed can be smaller.
    fn is_settled(&self, key: &str) -> bool {
        self.done || key <= self.last.as_str()
    }
}

async fn deep(
    inner: &Inner,
    prefix: &str,
    wanted: &(dyn Fn(&str) -> bool + Send + Sync),
    folders: &mut Vec<Folder>,
) -> Result<Option<Vec<Entry>>> {
    let mut found = VecDeque::new();
    while let Some(folder) = folders.last_mut() {
        let settled = folder.waiting.peek().is_some_and(|Reverse(item)| folder.is_settled(&item.key));
        if settled {
            let Some(Reverse(Item { key, entry })) = folder.waiting.pop() else { continue };
            match entry {
                Some((etag, size, modified_ms)) => found.push_back(Entry { key, etag, size, modified_ms }),
                None => folders.push(Folder::new(key)),
            }
            if found.len() >= List::MAX_KEYS {
                break;
            }
            continue;
        }
        if folder.done {
            folders.pop();
            continue;
        }
        let list = List { token: folder.token.take(), delimiter: Some('/'), ..List::prefix(&folder.prefix) };
        let page = inner.list(list).await?;
        let names = page.entries.iter().map(|e| e.key.as_str());
        let names = names.chain(page.prefixes.iter().map(|p| p.trim_end_matches('/')));
        if let Some(last) = names.max() {
            folder.last = folder.last.as_str().max(last).to_owned();
        }
        let fits = |key: &str| (key.starts_with(prefix) || prefix.starts_with(key)) && wanted(key);
        for key in page.prefixes.into_iter().filter(|key| fits(key)) {
            folder.waiting.push(Reverse(Item { key, entry: None }));
        }
        for entry in page.entries.into_iter().filter(|entry| fits(&entry.key)) {
            let Entry { key, etag, size, modified_ms } = entry;
            folder.waiting.push(Reverse(Item { key, entry: Some((etag, size, modified_ms)) }));
        }
        folder.done = page.next.is_none();
        folder.token = page.next;
    }
    Ok(if found.is_empty() && folders.is_empty() { None } else { Some(found.into()) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use s3db_store::clock::SystemClock;
    use s3db_store::memory::Memory;
    use s3db_store::{Precondition, Put, Quirks, Store};

    use super::*;
    use crate::entropy::SeededEntropy;

    async fn walked(ordered: bool, names: &[String], prefix: &str) -> Vec<String> {
        let quirks = Quirks { lists_by_name: !ordered, ..Quirks::default() };
        let memory = Memory::with(quirks, Arc::new(SystemClock));
        for name in names {
            memory.put(name, Put::default(), Precondition::None).await.unwrap();
        }
        let inner = Inner::over(Arc::new(memory), Arc::new(SystemClock), Arc::new(SeededEntropy::new(1)));
        let mut walk = Walk::new(&inner, prefix, &|_| true);
        let mut keys = Vec::new();
        while let Some(page) = walk.next().await.unwrap() {
            keys.extend(page.into_iter().map(|entry| entry.key));
        }
        keys
    }

    #[tokio::test]
    async fn keys_come_in_byte_order_from_every_store() {
        let mut names: Vec<String> =
            ["r=a/x", "r=a-b/x", "r=a", "r=a/x-1", "r=a/x/y", "r=b", "q", "s/r=x"].map(str::to_owned).into();
        names.extend((0..3000).map(|n| format!("r=many/{n:05}")));
        let mut wanted: Vec<String> = names.iter().filter(|name| name.starts_with("r=")).cloned().collect();
        wanted.sort_unstable();
        for ordered in [true, false] {
            assert_eq!(walked(ordered, &names, "r=").await, wanted, "ordered: {ordered}");
        }
        assert_eq!(walked(false, &names, "s/").await, ["s/r=x"]);
    }
}
