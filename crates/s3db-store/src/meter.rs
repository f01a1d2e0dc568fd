//! Counts requests. Requests are money and time, so their number per operation is part of the
//! contract and under test.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::{Capabilities, Copy, List, Object, ObjectMeta, Page, Precondition, Probe, Put, Result, Store, Wrapped};

/// A store that counts what goes through it.
#[derive(Debug)]
pub struct Meter {
    inner: Wrapped,
    counters: Arc<Counters>,
}

/// The running counts of a [`Meter`].
#[derive(Debug, Default)]
pub struct Counters {
    get: AtomicU64,
    head: AtomicU64,
    put: AtomicU64,
    delete: AtomicU64,
    list: AtomicU64,
    copy: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads of objects.
    pub get: u64,
    /// Reads of metadata.
    pub head: u64,
    /// Writes.
    pub put: u64,
    /// Deletes; a batch counts once.
    pub delete: u64,
    /// Pages of listings.
    pub list: u64,
    /// Copies.
    pub copy: u64,
    /// Bytes of bodies read.
    pub bytes_read: u64,
    /// Bytes of bodies written.
    pub bytes_written: u64,
}

impl Counts {
    /// All requests together.
    pub fn total(&self) -> u64 {
        self.get + self.head + self.put + self.delete + self.list + self.copy
    }
}

impl std::ops::Sub for Counts {
    type Output = Counts;

    fn sub(self, before: Counts) -> Counts {
        Counts {
            get: self.get - before.get,
            head: self.head - before.head,
            put: self.put - before.put,
            delete: self.delete - before.delete,
            list: self.list - before.list,
            copy: self.copy - before.copy,
            bytes_read: self.bytes_read - before.bytes_read,
            bytes_written: self.bytes_written - before.bytes_written,
        }
    }
}

impl Counters {
    /// The counts so far.
    pub fn read(&self) -> Counts {
        let load = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Counts {
            get: load(&self.get),
            head: load(&self.head),
            put: load(&self.put),
            delete: load(&self.delete),
            list: load(&self.list),
            copy: load(&self.copy),
            bytes_read: load(&self.bytes_read),
            bytes_written: load(&self.bytes_written),
        }
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

impl Meter {
    /// Wraps a store.
    pub fn new(inner: Wrapped) -> Self {
        Self::counting(inner, Arc::default())
    }

    /// Counts what goes through a store into counters that are there.
    pub fn counting(inner: Wrapped, counters: Arc<Counters>) -> Self {
        Self { inner, counters }
    }

    /// The counters, shared with this store.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

#[async_trait]
impl Store for Meter {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        add(&self.counters.get, 1);
        let object = self.inner.get(key, range).await?;
        add(&self.counters.bytes_read, object.body.len());
        Ok(object)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        add(&self.counters.head, 1);
        self.inner.head(key).await
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String> {
        add(&self.counters.put, 1);
        add(&self.counters.bytes_written, put.body.len());
        self.inner.put(key, put, precondition).await
    }

    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        add(&self.counters.delete, 1);
        self.inner.delete(key, precondition).await
    }

    async fn delete_many(&self, keys: &[String]) -> Result<()> {
        add(&self.counters.delete, 1);
        self.inner.delete_many(keys).await
    }

    async fn list(&self, list: List) -> Result<Page> {
        add(&self.counters.list, 1);
        self.inner.list(list).await
    }

    async fn copy(&self, from: &str, to: &str, copy: Copy) -> Result<String> {
        add(&self.counters.copy, 1);
        self.inner.copy(from, to, copy).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn probe(&self) -> Option<Probe> {
        self.inner.probe()
    }

    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
