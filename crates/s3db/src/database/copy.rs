//! Copying raw objects from one store to another: how a bucket moves, and how an old bucket becomes
//! a directory.
//!
//! Objects first, the catalog last: a copy that was cut off has no catalog and is refused nowhere,
//! it is simply run again. Disposable objects (`s3db/tmp/`, `cache/`) and the database's own id stay
//! behind, so partitions of the copy are scanned until `resource reindex`.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog::Catalog;
use s3db_format::keys;
use s3db_store::{List, Precondition, Put, Store};
use serde::Serialize;

use super::Database;
use crate::error::{Error, ErrorKind, Result};

/// What to copy.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// Only these resources; empty is everything.
    pub resources: Vec<String>,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CopyReport {
    /// Objects, the catalog included.
    pub objects: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Database {
    /// Copies this database's objects into an empty one. `progress` is told the objects so far.
    ///
    /// Costs a LIST per thousand objects, and a GET and a PUT per object.
    ///
    /// # Errors
    /// `AlreadyExists` if the target has a catalog; `NotFound` for a resource that is not here.
    pub async fn copy_to(
        &self,
        target: &Database,
        options: &CopyOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<CopyReport> {
        self.may_all("copy the database")?;
        let (from, to) = (&self.inner, &target.inner);
        if to.head(keys::CATALOG).await?.is_some() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("the target {} already holds a database", target.location()),
            )
            .guide("copy into an empty directory; nothing was written"));
        }
        let catalog = from.fresh_catalog().await?;
        for name in &options.resources {
            if catalog.resource(name).is_none() {
                return Err(super::unknown_resource(name, &catalog));
            }
        }
        let catalog_bytes = self.catalog_for(options).await?;
        let mut report = CopyReport::default();
        let mut token = None;
        loop {
            let page = from.list(List { token, ..List::prefix("") }).await?;
            let chosen: Vec<String> =
                page.entries.into_iter().map(|e| e.key).filter(|key| is_copied(key, options)).collect();
            let copies = stream::iter(chosen).map(|key| async move { copy_one(&*from.store, &*to.store, &key).await });
            let sizes: Vec<u64> = copies.buffer_unordered(from.parallel()).try_collect().await?;
            report.objects += sizes.len() as u64;
            report.bytes += sizes.iter().sum::<u64>();
            progress(report.objects);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        if let Some(bytes) = catalog_bytes {
            report.objects += 1;
            report.bytes += bytes.len() as u64;
            let put = Put { body: bytes, content_type: Some("application/json".into()), ..Put::default() };
            to.store.put(keys::CATALOG, put, Precondition::Absent).await?;
        }
        to.fresh_catalog().await?;
        progress(report.objects);
        Ok(report)
    }

    /// The catalog to write at the end: byte for byte, or with the chosen resources only.
    async fn catalog_for(&self, options: &CopyOptions) -> Result<Option<Bytes>> {
        let Some(object) = self.inner.read(keys::CATALOG).await? else { return Ok(None) };
        if options.resources.is_empty() {
            return Ok(Some(object.body));
        }
        let mut catalog = Catalog::parse(&object.body)?;
        let names: Vec<String> = catalog.resources().keys().cloned().collect();
        for name in names.iter().filter(|n| !options.resources.contains(n)) {
            catalog.remove(name);
        }
        Ok(Some(Bytes::from(catalog.to_bytes(&self.inner.ulid(), &self.inner.now()))))
    }
}

fn is_copied(key: &str, options: &CopyOptions) -> bool {
    if key == keys::CATALOG || key == keys::DATABASE_ID || key.starts_with(keys::TMP) || key.starts_with("cache/") {
        return false;
    }
    options.resources.is_empty()
        || options
            .resources
            .iter()
            .any(|name| key.starts_with(&keys::resource(name)) || key.starts_with(&keys::versions_of(name)))
}

async fn copy_one(from: &dyn Store, to: &dyn Store, key: &str) -> Result<u64> {
    let object = from.get(key, None).await?;
    let size = object.meta.size;
    let put = Put {
        body: object.body,
        headers: object.meta.headers,
        content_type: object.meta.content_type,
        ..Put::default()
    };
    to.put(key, put, Precondition::None).await?;
    Ok(size)
}
