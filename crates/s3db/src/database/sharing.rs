//! Databases that s3db.js works on too.
//!
//! The catalog says so by `_shared`, which s3db.js drops when it rewrites the file; then the next
//! write of ours puts it back, together with the versions that were lost.
//!
//! Requests of the first write: LIST and DELETE of the markers of our own index, GET and PUT of the
//! catalog. A crash between them leaves partitions that are scanned.

use s3db_format::keys;

use super::{Database, Inner};
use crate::error::Result;

impl Inner {
    /// Whether the catalog says that s3db.js works on this database.
    pub(crate) fn is_shared_by_others(&self) -> bool {
        self.catalog.cached().is_some_and(|c| c.is_shared())
    }

    /// Before a write by a connection that keeps references: says in the catalog that the database is
    /// shared. Our own index is no longer kept from then on, so that its markers go first.
    pub(crate) async fn ensure_sharing(&self) -> Result<()> {
        let catalog = self.catalog.cached().unwrap_or_default();
        if !self.is_shared() || catalog.is_shared() || catalog.rev().is_none() && catalog.resources().is_empty() {
            return Ok(());
        }
        self.purge(keys::PARTITION_MARKERS).await?;
        self.markers.forget();
        self.restore_versions().await?;
        self.change_catalog(|catalog| Ok((!catalog.is_shared()).then_some(()))).await?;
        Ok(())
    }
}

impl Database {
    /// Ends the sharing: from now on our own index is kept. Stop s3db.js and all other processes first.
    /// Partitions are scanned until `reindex`; the references stay as they are.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn end_sharing(&self) -> Result<bool> {
        self.may_all("end the sharing")?;
        let inner = &self.inner;
        inner.purge(keys::PARTITION_MARKERS).await?;
        inner.markers.forget();
        let ended = inner.change_catalog_to(false, |catalog| Ok(catalog.is_shared().then_some(()))).await?;
        Ok(ended.is_some())
    }
}
