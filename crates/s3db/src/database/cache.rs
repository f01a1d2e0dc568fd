//! The catalog: cached for reading, changed by compare-and-swap with merge.
//!
//! A change is a function of the catalog as it is now. It is applied to a fresh copy and put with
//! `If-Match`; whoever loses reads again and applies it to what the winner wrote, so that changes of
//! several processes all survive. After a read error nothing is ever written.
//!
//! Requests of a change: GET `s3db.json`; PUT `s3db.json`. A crash between them leaves nothing.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use s3db_format::catalog::Catalog;
use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, Precondition, Put};

use super::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Writers look at the catalog again after this time.
const FRESH: Duration = Duration::from_secs(60);
/// Times that a change is merged again after losing.
const MERGES: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct CatalogCache(RwLock<Option<Cached>>);

#[derive(Debug, Clone)]
struct Cached {
    catalog: Arc<Catalog>,
    etag: Option<String>,
    read_at: Duration,
}

impl CatalogCache {
    pub(super) fn cached(&self) -> Option<Arc<Catalog>> {
        self.read().map(|c| c.catalog)
    }

    fn read(&self) -> Option<Cached> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, cached: Cached) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(cached);
    }
}

impl Inner {
    /// Reads the catalog from the store. A database without one is empty.
    pub(crate) async fn fresh_catalog(&self) -> Result<Arc<Catalog>> {
        let read_at = self.clock.monotonic();
        let (catalog, etag) = match self.read(keys::CATALOG).await? {
            Some(object) => (Catalog::parse(&object.body)?, Some(object.meta.etag)),
            None => (Catalog::default(), None),
        };
        let catalog = Arc::new(catalog);
        self.catalog.set(Cached { catalog: Arc::clone(&catalog), etag, read_at });
        Ok(catalog)
    }

    /// Reads the catalog again if it was read more than a minute ago.
    pub(crate) async fn revalidate_catalog(&self) -> Result<()> {
        let age = self.catalog.read().map(|c| self.clock.monotonic().saturating_sub(c.read_at));
        if age.is_none_or(|age| age > FRESH) {
            self.fresh_catalog().await?;
        }
        Ok(())
    }

    /// Changes the catalog. `change` returns `None` if nothing is to be written.
    pub(crate) async fn change_catalog<T>(
        &self,
        change: impl Fn(&mut Catalog) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let checked = |catalog: &mut Catalog| {
            self.refuse_other_keeper()?;
            change(catalog)
        };
        self.change_catalog_to(self.is_shared(), checked).await
    }

    /// Changes the catalog, and says in it whether s3db.js works on the database too.
    pub(super) async fn change_catalog_to<T>(
        &self,
        shared: bool,
        change: impl Fn(&mut Catalog) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut last = None;
        for attempt in 0..MERGES {
            self.fresh_catalog().await?;
            let Some(base) = self.catalog.read() else { continue };
            let mut catalog = Catalog::clone(&base.catalog);
            let Some(result) = change(&mut catalog)? else { return Ok(None) };
            catalog.set_shared(shared);
            let bytes = catalog.to_bytes(&self.ulid(), &self.now());
            let catalog = Arc::new(Catalog::parse(&bytes)?);
            let put = Put { body: Bytes::from(bytes), content_type: Some("application/json".into()), ..Put::default() };
            let precondition = base.etag.map_or(Precondition::Absent, Precondition::Matches);
            match self.store.put(keys::CATALOG, put, precondition).await {
                Ok(etag) => {
                    self.catalog.set(Cached { catalog, etag: Some(etag), read_at: self.clock.monotonic() });
                    return Ok(Some(result));
                }
                // Lost, or not known: a change says by itself whether it is there already.
                Err(error)
                    if error.is_transient() || matches!(error.kind, StoreKind::Precondition | StoreKind::NotFound) =>
                {
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
            self.back_off(attempt).await;
        }
        match last {
            Some(error) if error.kind == StoreKind::Unknown => {
                Err(Error::undecided("the change of the catalog", Some(error)))
            }
            _ => Err(Error::new(
                ErrorKind::Conflict,
                format!("the catalog was changed by others {MERGES} times in a row"),
            )
            .guide("try again")),
        }
    }
}
