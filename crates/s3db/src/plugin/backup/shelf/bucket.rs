//! Backups in a bucket, or in any other store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use s3db_store::{ErrorKind as StoreKind, List, Precondition, Put};

use super::{Shelf, Stored};
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};

/// A store that holds backups.
#[derive(Debug)]
pub(in super::super) struct Bucket {
    requests: Arc<Inner>,
    storage_class: Option<String>,
}

impl Bucket {
    pub(in super::super) fn new(requests: Arc<Inner>, storage_class: Option<String>) -> Self {
        Self { requests, storage_class }
    }

    fn body(&self, body: Bytes) -> Put {
        Put { body, storage_class: self.storage_class.clone(), ..Put::default() }
    }
}

#[async_trait]
impl Shelf for Bucket {
    async fn put(&self, path: &str, body: Bytes) -> Result<()> {
        self.requests.put_plain(path, self.body(body)).await
    }

    async fn create(&self, path: &str, body: Bytes) -> Result<bool> {
        let mut last = None;
        for attempt in self.requests.attempts() {
            match self.requests.store.put(path, self.body(body.clone()), Precondition::Absent).await {
                Ok(_) => return Ok(true),
                // Ours may be the one that is there: an answer was lost, or a proxy sent it twice.
                Err(error) if error.kind == StoreKind::Precondition => {
                    let there = self.get(path).await?;
                    return Ok(there.is_some_and(|there| there == body));
                }
                Err(error) if error.is_transient() => {
                    self.requests.slow_down(&error);
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
            self.requests.back_off(attempt).await;
        }
        let error = last.map_or_else(|| Error::new(ErrorKind::Unavailable, "no attempt was made"), Error::from);
        Err(error.context(path))
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.requests.read(path).await?.map(|object| object.body))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self.requests.list(List { token, ..List::prefix(prefix) }).await?;
            found.extend(page.entries.into_iter().map(|entry| Stored { path: entry.key, size: entry.size }));
            token = page.next;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn delete(&self, paths: &[String]) -> Result<()> {
        self.requests.delete_plain(paths).await
    }

    fn now_ms(&self) -> i64 {
        self.requests.store.now_ms()
    }

    fn is_conditional(&self) -> bool {
        self.requests.store.capabilities().compare_and_swap
    }

    fn location(&self) -> String {
        self.requests.store.location()
    }
}
