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
