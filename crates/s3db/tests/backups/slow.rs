//! A store whose every request takes a while.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use s3db::store::{
    Capabilities, Copy, List, Object, ObjectMeta, Page, Precondition, Put, Result as StoreResult, Store,
};

#[derive(Debug)]
pub(crate) struct Slow {
    inner: Arc<dyn Store>,
    each: Duration,
}

impl Slow {
    pub(crate) fn new(inner: Arc<dyn Store>, each: Duration) -> Self {
        Self { inner, each }
    }

    #[expect(clippy::disallowed_methods, reason = "the runtime's clock is paused")]
    async fn wait(&self) {
        tokio::time::sleep(self.each).await;
    }
}

#[async_trait::async_trait]
impl Store for Slow {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Object> {
        self.wait().await;
        self.inner.get(key, range).await
    }
    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.wait().await;
        self.inner.head(key).await
    }
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> StoreResult<String> {
        self.wait().await;
        self.inner.put(key, put, precondition).await
    }
    async fn delete(&self, key: &str, precondition: Precondition) -> StoreResult<()> {
        self.wait().await;
        self.inner.delete(key, precondition).await
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.wait().await;
        self.inner.delete_many(keys).await
    }
    async fn list(&self, list: List) -> StoreResult<Page> {
        self.wait().await;
        self.inner.list(list).await
    }
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> StoreResult<String> {
        self.wait().await;
        self.inner.copy(from, to, copy).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

/// A store in which objects appear when a prefix is listed for the first time.
#[derive(Debug)]
pub(crate) struct Ambush {
    inner: Arc<dyn Store>,
    prefix: &'static str,
    waiting: std::sync::Mutex<Vec<(String, Object)>>,
}

impl Ambush {
    pub(crate) fn new(inner: Arc<dyn Store>, prefix: &'static str, waiting: Vec<(String, Object)>) -> Self {
        Self { inner, prefix, waiting: std::sync::Mutex::new(waiting) }
    }
}

#[async_trait::async_trait]
impl Store for Ambush {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Object> {
        self.inner.get(key, range).await
    }
    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.inner.head(key).await
    }
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> StoreResult<String> {
        self.inner.put(key, put, precondition).await
    }
    async fn delete(&self, key: &str, precondition: Precondition) -> StoreResult<()> {
        self.inner.delete(key, precondition).await
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.inner.delete_many(keys).await
    }
    async fn list(&self, list: List) -> StoreResult<Page> {
        let page = self.inner.list(list.clone()).await?;
        if list.prefix == self.prefix {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
            for (key, object) in waiting {
                let put = Put { body: object.body, ..Put::default() };
                self.inner.put(&key, put, Precondition::None).await?;
            }
        }
        Ok(page)
    }
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> StoreResult<String> {
        self.inner.copy(from, to, copy).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}
