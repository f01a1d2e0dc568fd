//! Where backups stand: a folder, or a bucket of any S3 server.

mod bucket;
mod folder;
mod place;

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

pub(super) use bucket::Bucket;
pub(super) use folder::Folder;
pub(super) use place::{Place, Standing, Tools, real, refuse_overlaps};

/// A file that stands somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// Its path, `/` between its parts.
    pub(super) path: String,
    pub(super) size: u64,
}

/// A place that keeps files by path.
#[async_trait]
pub(super) trait Shelf: Send + Sync + Debug {
    /// Writes a file, in place of one that is there. When it returns, the file is durable.
    async fn put(&self, path: &str, body: Bytes) -> Result<()>;

    /// Writes a file if there is none. `false`: another one is there.
    async fn create(&self, path: &str, body: Bytes) -> Result<bool>;

    /// Reads a file; `None` if it is not there.
    async fn get(&self, path: &str) -> Result<Option<Bytes>>;

    /// Every file whose path begins so, in no order.
    async fn list(&self, prefix: &str) -> Result<Vec<Stored>>;

    /// Deletes files; those that are not there count as deleted.
    async fn delete(&self, paths: &[String]) -> Result<()>;

    /// Removes empty folders below a path, where there are folders.
    async fn tidy(&self, _folder: &str) -> Result<()> {
        Ok(())
    }

    /// Its time, in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Whether of several [`Shelf::create`] of one path only one succeeds.
    fn is_conditional(&self) -> bool;

    /// Where it is, without secrets.
    fn location(&self) -> String;
}
