//! A server that takes only so many requests at once: reading slows down instead of being refused over
//! and over, and every row is read.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use s3db::store::memory::Memory;
use s3db::store::{
    Capabilities, Copy, ErrorKind, List, Object, ObjectMeta, Page, Precondition, Put, Result as StoreResult, Store,
    StoreError,
};
use s3db::{Database, OnError, Query, ResourceDefinition};
use serde_json::json;

/// Refuses reads beyond so many at once; an answer takes 20 ms, a refusal 5.
#[derive(Debug)]
struct Crowded {
    store: Memory,
    most: usize,
    inside: AtomicUsize,
    refused: AtomicUsize,
}

#[expect(clippy::disallowed_methods, reason = "the runtime's clock is paused: this waits for nothing")]
async fn wait(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[async_trait]
impl Store for Crowded {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Object> {
        if self.inside.fetch_add(1, Ordering::SeqCst) >= self.most {
            self.inside.fetch_sub(1, Ordering::SeqCst);
            self.refused.fetch_add(1, Ordering::SeqCst);
            wait(5).await;
            return Err(StoreError::new(ErrorKind::Throttled, "slow down"));
        }
        wait(20).await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.store.get(key, range).await
    }
    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.store.head(key).await
    }
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> StoreResult<String> {
        self.store.put(key, put, precondition).await
    }
    async fn delete(&self, key: &str, precondition: Precondition) -> StoreResult<()> {
        self.store.delete(key, precondition).await
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.store.delete_many(keys).await
    }
    async fn list(&self, list: List) -> StoreResult<Page> {
        self.store.list(list).await
    }
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> StoreResult<String> {
        self.store.copy(from, to, copy).await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.store.now_ms()
    }
    fn location(&self) -> String {
        self.store.location()
    }
}

/// Time that stands still unless it is waited for.
#[derive(Debug)]
struct Paused(tokio::time::Instant);

impl s3db::store::clock::Clock for Paused {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, pause: Duration) -> s3db::store::clock::Sleep<'_> {
        Box::pin(wait(u64::try_from(pause.as_millis()).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn reading_slows_down_where_the_server_refuses() {
    const ROWS: usize = 3_000;
    let inside = AtomicUsize::new(0);
    let store = Arc::new(Crowded { store: Memory::new(), most: 8, inside, refused: AtomicUsize::new(0) });
    let clock = Arc::new(Paused(tokio::time::Instant::now()));
    let db = Database::builder("memory://").store(store.clone()).clock(clock).connect().await.unwrap();
    let r = db.create_resource(ResourceDefinition::new("r").attribute("n", "number")).await.unwrap();
    let rows = (0..ROWS).map(|n| json!({"id": format!("r{n:05}"), "n": n})).collect();
    assert_eq!(r.insert_many(rows, OnError::Stop).await.failed.len(), 0);
    let begun = tokio::time::Instant::now();
    assert_eq!(r.list(&Query::all()).await.unwrap().items.len(), ROWS);
    let (refused, took) = (store.refused.load(Ordering::SeqCst), begun.elapsed());
    println!("{refused} of {} requests were refused, {took:?}", ROWS + refused);
    // 64 at once all the time were refused 5,399 times here and took 17 s.
    assert!(refused < ROWS / 5, "{refused} refusals");
    // Eight at once, 20 ms each, are 7.5 s.
    assert!(took < Duration::from_secs(12), "{took:?}");
}
