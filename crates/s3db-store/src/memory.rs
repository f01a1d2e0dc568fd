//! A store in this process's memory, for tests and for `memory://`.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::{Clock, SystemClock};
use crate::quirks::Quirks;
use crate::store::{page_of, slice};
use crate::{Capabilities, Copy, Entry, List, Object, ObjectMeta, Page, Precondition, Put, Result, Store, StoreError};

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    name: String,
    quirks: Quirks,
    clock: Arc<dyn Clock>,
    objects: Mutex<Objects>,
}

#[derive(Debug, Default, Clone)]
struct Objects {
    by_key: BTreeMap<String, Object>,
    counter: u64,
}

/// The stores that `memory://name` names, shared by everything in the process.
static NAMED: LazyLock<Mutex<HashMap<String, Arc<Memory>>>> = LazyLock::new(Mutex::default);

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::with(Quirks::default(), Arc::new(SystemClock))
    }

    /// An empty store with quirks and a clock of its own.
    pub fn with(quirks: Quirks, clock: Arc<dyn Clock>) -> Self {
        Self { name: String::new(), quirks, clock, objects: Mutex::default() }
    }

    /// The store of this name, made at the first use and kept for the life of the process.
    pub fn named(name: &str) -> Arc<Self> {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Self { name: name.to_owned(), ..Self::new() });
        Arc::clone(named.entry(name.to_owned()).or_insert_with(make))
    }

    /// A copy of everything that is stored, for tests that look at every state.
    pub fn snapshot(&self) -> BTreeMap<String, Object> {
        self.lock().by_key.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Objects {
    fn check(&self, key: &str, precondition: &Precondition) -> Result<()> {
        match (precondition, self.by_key.get(key)) {
            (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
            (Precondition::Matches(etag), Some(o)) if o.meta.etag == *etag => Ok(()),
            (Precondition::Matches(_), None) => Err(StoreError::not_found(key)),
            _ => Err(StoreError::precondition(key)),
        }
    }

    fn find(&self, key: &str) -> Result<&Object> {
        self.by_key.get(key).ok_or_else(|| StoreError::not_found(key))
    }

    fn write(&mut self, key: &str, put: Put, quirks: Quirks, now_ms: i64) -> String {
        self.counter += 1;
        let etag = quirks.etag(self.counter, &put.body);
        let meta = ObjectMeta {
            etag: etag.clone(),
            size: put.body.len() as u64,
            modified_ms: quirks.modified(now_ms),
            content_type: put.content_type,
            headers: put.headers,
        };
        self.by_key.insert(key.to_owned(), Object { body: put.body, meta });
        etag
    }
}

fn entry_of((key, object): (&String, &Object)) -> Entry {
    let meta = &object.meta;
    Entry { key: key.clone(), etag: meta.etag.clone(), size: meta.size, modified_ms: meta.modified_ms }
}

/// A page of a listing in which `/` comes before every other character.
fn page_by_name(by_key: &BTreeMap<String, Object>, list: &List) -> Page {
    let name = |key: &str| key.replace('/', "\0");
    let after = list.token.as_ref().or(list.start_after.as_ref());
    let is_after = |key: &String| {
        after.is_none_or(|after| !(after.ends_with('/') && key.starts_with(after.as_str())) && name(key) > name(after))
    };
    let mut found: Vec<Entry> =
        by_key.iter().filter(|(key, _)| key.starts_with(&list.prefix) && is_after(key)).map(entry_of).collect();
    found.sort_by_key(|entry| name(&entry.key));
    let mut page = page_of(found.into_iter(), list);
    if page.next.is_some() {
        let last = page.entries.last().map(|entry| &entry.key).into_iter().chain(page.prefixes.last());
        page.next = last.max_by_key(|key| name(key)).cloned();
    }
    page
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let object = self.lock().find(key)?.clone();
        let body: Bytes = slice(&object.body, range)?;
        Ok(Object { body, meta: object.meta })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        Ok(self.lock().find(key)?.meta.clone())
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String> {
        let mut objects = self.lock();
        objects.check(key, &precondition)?;
        Ok(objects.write(key, put, self.quirks, self.clock.now_ms()))
    }

    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        let mut objects = self.lock();
        if !self.quirks.unconditional_delete {
            objects.check(key, &precondition)?;
        }
        objects.by_key.remove(key);
        Ok(())
    }

    async fn delete_many(&self, keys: &[String]) -> Result<()> {
        let mut objects = self.lock();
        for key in keys {
            objects.by_key.remove(key);
        }
        Ok(())
    }

    async fn list(&self, list: List) -> Result<Page> {
        let objects = self.lock();
        if self.quirks.lists_by_name {
            return Ok(page_by_name(&objects.by_key, &list));
        }
        let after = list.token.as_ref().or(list.start_after.as_ref()).filter(|a| **a >= list.prefix);
        let from = after.map_or(Bound::Included(&list.prefix), Bound::Excluded);
        let entries = objects
            .by_key
            .range::<String, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&list.prefix))
            .map(entry_of);
        Ok(page_of(entries, &list))
    }

    async fn copy(&self, from: &str, to: &str, copy: Copy) -> Result<String> {
        let mut objects = self.lock();
        objects.check(from, &copy.source)?;
        let source = objects.find(from)?.clone();
        let put = Put {
            body: source.body,
            headers: copy.headers.unwrap_or(source.meta.headers),
            content_type: copy.content_type.or(source.meta.content_type),
            ..Put::default()
        };
        Ok(objects.write(to, put, self.quirks, self.clock.now_ms()))
    }

    fn capabilities(&self) -> Capabilities {
        self.quirks.capabilities()
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn location(&self) -> String {
        format!("memory://{}", self.name)
    }
}
