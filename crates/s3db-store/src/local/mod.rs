//! A store in one local directory: SQLite for keys, headers and small bodies, files for large ones.
//!
//! Safe for several processes at once; survives `kill -9` and power loss (WAL, `synchronous=FULL`).
//! One writer thread commits what arrives together in one transaction, and no answer of a group
//! leaves before its commit. Reads are short transactions of their own on a few connections.

mod bodies;
mod open;
mod pool;
mod read;
mod turn;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::{Clock, SystemClock};
use crate::quirks::Quirks;
use crate::{
    Capabilities, Copy, ErrorKind, List, Object, ObjectMeta, Page, Precondition, Put, Result, Store, StoreError,
};

use bodies::Bodies;
use pool::Pool;
use read::Readers;
use write::{Change, Writer};

/// How a directory is opened.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Make the directory and the store in it if they are not there.
    pub create: bool,
    /// What real servers do that this one need not.
    pub quirks: Quirks,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { create: true, quirks: Quirks::default(), clock: Arc::new(SystemClock) }
    }
}

/// A store in a directory.
#[derive(Debug)]
pub struct Local {
    directory: PathBuf,
    quirks: Quirks,
    clock: Arc<dyn Clock>,
    bodies: Bodies,
    readers: Readers,
    pool: Pool,
    writer: Writer,
}

impl Local {
    /// Opens the store in a directory.
    ///
    /// # Errors
    /// The directory or the store is missing and `create` is off, the permissions do not allow it,
    /// it lies on a network file system, or the file is damaged.
    pub fn open(directory: &Path, options: LocalOptions) -> Result<Self> {
        let connection = open::open(directory, options.create)?;
        let bodies = Bodies::open(directory)?;
        let writer = Writer::start(connection, directory, bodies.clone(), options.quirks, Arc::clone(&options.clock))?;
        Ok(Self {
            directory: directory.to_owned(),
            quirks: options.quirks,
            clock: options.clock,
            readers: Readers::new(directory),
            pool: Pool::default(),
            bodies,
            writer,
        })
    }

    /// Whether a directory holds a store.
    pub fn exists(directory: &Path) -> bool {
        open::file_in(directory).is_file()
    }
}

#[async_trait]
impl Store for Local {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let (readers, bodies, key) = (self.readers.clone(), self.bodies.clone(), key.to_owned());
        self.pool.run(move || readers.get(&bodies, &key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let (readers, key) = (self.readers.clone(), key.to_owned());
        self.pool.run(move || readers.head(&key)).await
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String> {
        check_key(key)?;
        let etag_of_body = self.quirks.etag_is_digest.then(|| self.quirks.etag(0, &put.body));
        let (bodies, key) = (self.bodies.clone(), key.to_owned());
        let body = if put.body.len() > bodies::INLINE_BYTES {
            let bytes = put.body.clone();
            let file = self.pool.run(move || bodies.write(&bytes)).await?;
            write::Body::File { name: file, size: put.body.len() as u64 }
        } else {
            write::Body::Inline(put.body)
        };
        let change =
            Change::Put { key, body, etag_of_body, headers: put.headers, content_type: put.content_type, precondition };
        self.writer.send(change).await
    }

    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        let precondition = if self.quirks.unconditional_delete { Precondition::None } else { precondition };
        self.writer.send(Change::Delete { keys: vec![key.to_owned()], precondition }).await.map(|_| ())
    }

    async fn delete_many(&self, keys: &[String]) -> Result<()> {
        self.writer.send(Change::Delete { keys: keys.to_vec(), precondition: Precondition::None }).await.map(|_| ())
    }

    async fn list(&self, list: List) -> Result<Page> {
        let readers = self.readers.clone();
        self.pool.run(move || readers.list(&list)).await
    }

    async fn copy(&self, from: &str, to: &str, copy: Copy) -> Result<String> {
        check_key(to)?;
        let source = self.get(from, None).await?;
        let etag = match &copy.source {
            Precondition::Matches(etag) if *etag != source.meta.etag => return Err(StoreError::precondition(from)),
            _ => source.meta.etag,
        };
        let put = Put {
            body: source.body,
            headers: copy.headers.unwrap_or(source.meta.headers),
            content_type: copy.content_type.or(source.meta.content_type),
            ..Put::default()
        };
        // A copy onto itself is decided by what is there when it commits.
        let precondition = if from == to { Precondition::Matches(etag) } else { Precondition::None };
        self.put(to, put, precondition).await
    }

    fn capabilities(&self) -> Capabilities {
        self.quirks.capabilities()
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn location(&self) -> String {
        format!("file:{}", self.directory.display())
    }
}

fn check_key(key: &str) -> Result<()> {
    const MAX: usize = 1024;
    if key.is_empty() || key.len() > MAX {
        return Err(StoreError::new(
            ErrorKind::Invalid,
            format!("a key of {} bytes; it must have 1 to {MAX}", key.len()),
        ));
    }
    Ok(())
}

/// What an error of SQLite means.
fn sqlite_error(error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    let kind = match error.sqlite_error_code() {
        Some(Code::DiskFull) => ErrorKind::Full,
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::SystemIoFailure | Code::CannotOpen) => {
            ErrorKind::Unavailable
        }
        Some(Code::PermissionDenied | Code::ReadOnly | Code::AuthorizationForStatementDenied) => ErrorKind::Denied,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("the store's file: {error}"))
}

/// What an error of the file system means.
fn file_error(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("cannot {what} {}: {error}", path.display()))
}
