//! Reads: short transactions on a few connections.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::bodies::Bodies;
use super::{open, sqlite_error};
use crate::store::{page_of, slice};
use crate::{Entry, ErrorKind, List, Object, ObjectMeta, Page, Result, StoreError};

/// Idle connections that are kept: one for each thread that reads.
const KEPT: usize = 8;
/// Times that a body is looked for again after its file was replaced under the reader.
const BODY_ATTEMPTS: usize = 100;

#[derive(Debug, Clone)]
pub(super) struct Readers {
    directory: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

struct Found {
    meta: ObjectMeta,
    file: Option<String>,
    body: Option<Vec<u8>>,
}

impl Readers {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: Arc::new(directory.to_owned()), idle: Arc::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open::connect(&self.directory, true)?,
        };
        let result = work(&connection).map_err(|e| sqlite_error(&e));
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(connection);
        }
        result
    }

    fn find(&self, key: &str) -> Result<Found> {
        const SQL: &str = "SELECT etag, size, modified, content_type, headers, file, body FROM objects WHERE key = ?1";
        let found = self.with(|c| {
            let read = |row: &Row<'_>| Ok(Found { meta: meta_of(row)?, file: row.get(5)?, body: row.get(6)? });
            c.prepare_cached(SQL)?.query_row([key], read).optional()
        })?;
        found.ok_or_else(|| StoreError::not_found(key))
    }

    pub(super) fn get(&self, bodies: &Bodies, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        for _ in 0..BODY_ATTEMPTS {
            let found = self.find(key)?;
            let body = match (found.file, found.body) {
                (None, body) => Bytes::from(body.unwrap_or_default()),
                (Some(file), _) => match bodies.read(&file) {
                    Ok(body) => body,
                    // Replaced between the row and the file: the row now names another one.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(super::file_error("read", Path::new(&file), &e)),
                },
            };
            if body.len() as u64 != found.meta.size {
                let message = format!("object '{key}' has {} bytes, its row says {}", body.len(), found.meta.size);
                return Err(StoreError::new(ErrorKind::Corrupt, message));
            }
            return Ok(Object { body: slice(&body, range)?, meta: found.meta });
        }
        Err(StoreError::new(ErrorKind::Corrupt, format!("the body of object '{key}' is missing")))
    }

    pub(super) fn head(&self, key: &str) -> Result<ObjectMeta> {
        const SQL: &str = "SELECT etag, size, modified, content_type, headers FROM objects WHERE key = ?1";
        let found = self.with(|c| c.prepare_cached(SQL)?.query_row([key], meta_of).optional())?;
        found.ok_or_else(|| StoreError::not_found(key))
    }

    /// One page. With a delimiter the scan jumps over what is rolled up.
    pub(super) fn list(&self, list: &List) -> Result<Page> {
        const AFTER: &str =
            "SELECT key, etag, size, modified FROM objects WHERE key > ?1 AND key >= ?2 ORDER BY key LIMIT ?3";
        let batch = list.max_keys.clamp(1, List::MAX_KEYS) + 1;
        let mut after = list.token.clone().or_else(|| list.start_after.clone()).unwrap_or_default();
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let found: Vec<Entry> = self.with(|c| {
                let mut statement = c.prepare_cached(AFTER)?;
                let rows = statement.query_map(rusqlite::params![after, list.prefix, batch], entry_of)?;
                rows.collect()
            })?;
            let read = found.len();
            if let Some(last) = found.last() {
                after.clone_from(&last.key);
            }
            let inside = found.into_iter().filter(|e| e.key.starts_with(&list.prefix));
            let before = entries.len();
            entries.extend(inside);
            let ended = read < batch || entries.len() - before < read;
            let page = page_of(entries.iter().cloned(), list);
            if ended || page.next.is_some() {
                return Ok(page);
            }
            if let Some(rolled) = page.prefixes.last().filter(|p| after.starts_with(p.as_str())) {
                after = format!("{rolled}\u{10ffff}");
            }
        }
    }
}

fn meta_of(row: &Row<'_>) -> rusqlite::Result<ObjectMeta> {
    let headers: String = row.get(4)?;
    let headers: BTreeMap<String, String> = serde_json::from_str(&headers)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, Box::new(e)))?;
    Ok(ObjectMeta {
        etag: row.get(0)?,
        size: row.get(1)?,
        modified_ms: row.get(2)?,
        content_type: row.get(3)?,
        headers,
    })
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, etag: row.get(1)?, size: row.get(2)?, modified_ms: row.get(3)? })
}
