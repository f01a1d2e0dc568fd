//! Reads that are sent again while the store refuses for now.

use std::future::Future;

use bytes::Bytes;
use s3db_store::{ErrorKind, List, Object, ObjectMeta, Page, Precondition, Put, StoreError};
use serde_json::Value;

use super::Inner;
use crate::error::{Error, Result};

impl Inner {
    /// Reads an object; `None` if it does not exist.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Object>> {
        present(self.again(|| self.store.get(key, None)).await)
    }

    /// Reads an object's metadata; `None` if it does not exist.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        present(self.again(|| self.store.head(key)).await)
    }

    /// Lists a page.
    pub(crate) async fn list(&self, list: List) -> Result<Page> {
        Ok(self.again(|| self.store.list(list.clone())).await?)
    }

    /// Writes an object that nobody else writes, so that repeating it is harmless.
    pub(crate) async fn put_plain(&self, key: &str, put: Put) -> Result<()> {
        match self.again(|| self.store.put(key, put.clone(), Precondition::None)).await {
            // Whether it is there or not makes no difference: nobody reads it yet.
            Err(error) if error.kind == ErrorKind::Unknown => {
                Err(Error::from(StoreError::new(ErrorKind::Unavailable, error.message)))
            }
            other => Ok(other.map(|_| ())?),
        }
    }

    /// Deletes objects whose keys are never used again, in batches.
    pub(crate) async fn delete_plain(&self, keys: &[String]) -> Result<()> {
        for batch in keys.chunks(List::MAX_KEYS) {
            match batch {
                [one] => self.again(|| self.store.delete(one, Precondition::None)).await?,
                many => self.again(|| self.store.delete_many(many)).await?,
            }
        }
        Ok(())
    }

    /// Every key under a prefix, a page at a time.
    pub(crate) async fn keys_under(&self, prefix: &str, mut take: impl FnMut(Vec<String>)) -> Result<()> {
        let mut token = None;
        loop {
            let page = self.list(List { token, ..List::prefix(prefix) }).await?;
            take(page.entries.into_iter().map(|e| e.key).collect());
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// The folders right under a prefix.
    pub(crate) async fn folders_under(&self, prefix: &str) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        let mut token = None;
        loop {
            let list = List { token, delimiter: Some('/'), ..List::prefix(prefix) };
            let page = self.list(list).await?;
            folders.extend(page.prefixes);
            token = page.next;
            if token.is_none() {
                return Ok(folders);
            }
        }
    }

    /// Sends fewer requests at once if the store refused one for now.
    pub(crate) fn slow_down(&self, error: &StoreError) {
        if error.kind == ErrorKind::Throttled {
            self.throttle.refused(self.clock.monotonic());
        }
    }

    pub(crate) async fn again<T, F>(&self, request: impl Fn() -> F) -> std::result::Result<T, StoreError>
    where
        F: Future<Output = std::result::Result<T, StoreError>>,
    {
        let mut last = None;
        for attempt in self.attempts() {
            match request().await {
                Err(error) if error.is_transient() => {
                    self.slow_down(&error);
                    last = Some(error);
                }
                other => {
                    self.throttle.answered();
                    return other;
                }
            }
            self.back_off(attempt).await;
        }
        Err(last.unwrap_or_else(|| StoreError::new(ErrorKind::Unavailable, "no attempt was made")))
    }
}

/// An object of ours that holds JSON.
pub(crate) fn json_object(value: &Value) -> Put {
    Put { body: Bytes::from(value.to_string()), content_type: Some("application/json".into()), ..Put::default() }
}

fn present<T>(result: std::result::Result<T, StoreError>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind == ErrorKind::Unknown => {
            Err(Error::from(StoreError::new(ErrorKind::Unavailable, error.message)))
        }
        Err(error) => Err(Error::from(error)),
    }
}
