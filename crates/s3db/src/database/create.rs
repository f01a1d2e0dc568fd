//! Creating and dropping resources.

use std::sync::Arc;

use s3db_format::keys;
use s3db_format::resource::{ResourceDefinition, Version};
use s3db_store::List;

use super::{Database, Inner, different_definition, unknown_resource};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// What a drop removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DropReport {
    /// Records.
    pub records: usize,
    /// Index keys, markers and other references.
    pub references: usize,
}

impl Database {
    /// Creates a resource, or returns the one that has an equal definition.
    ///
    /// Requests: GET catalog; LIST of version copies, LIST of records; PUT catalog; PUT of the
    /// version's copy and of a marker per partition. A crash after the catalog's PUT leaves a
    /// resource whose partitions are scanned until `reindex`.
    ///
    /// # Errors
    /// `Invalid` with every problem of the definition; `AlreadyExists` listing the differences.
    pub async fn create_resource(&self, definition: ResourceDefinition) -> Result<Resource> {
        if let Some(allow) = &self.access {
            allow.check(&definition.name, crate::access::Verb::Define)?;
        }
        let name = definition.name.clone();
        let version = definition.version().map_err(|problems| Error::invalid_definition(&name, &problems))?;
        for attribute in version.schema.names_that_equal_keys() {
            tracing::warn!(
                "attribute '{attribute}' has the name of another one's short key; s3db.js would mix them up"
            );
        }
        let inner = &self.inner;
        let catalog = inner.fresh_catalog().await?;
        inner.ensure_sharing().await?;
        if catalog.resource(&name).is_none() {
            inner.create(&name, &version).await?;
        }
        let stored = inner.resource(&name).await?;
        if stored.current().hash != version.hash {
            return Err(different_definition(&name, stored.current(), &version));
        }
        Ok(Resource::new(Arc::clone(inner), &name))
    }

    /// Writes an empty catalog where there is none. Costs one or two requests.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn initialise(&self) -> Result<bool> {
        self.may_all("make the database")?;
        let empty = |catalog: &mut s3db_format::catalog::Catalog| Ok(catalog.rev().is_none().then_some(()));
        if self.inner.head(keys::CATALOG).await?.is_some() {
            return Ok(false);
        }
        Ok(self.inner.change_catalog(empty).await?.is_some())
    }

    /// Removes a resource with all its records. What was begun and not finished is finished.
    ///
    /// Stop its writers first: a process learns of the drop within a minute, and what it writes until
    /// then is left over under the name.
    ///
    /// Requests: DELETE of the markers, PUT of the version copies and of a note that they were dropped,
    /// GET and PUT of the catalog, then
    /// LIST and DELETE of records, references and index keys. After a crash the resource is either
    /// still there and scanned, or gone with objects left over, which calling this again removes.
    ///
    /// # Errors
    /// `NotFound` if there is neither a definition nor an object of this name.
    pub async fn drop_resource(&self, name: &str) -> Result<DropReport> {
        if let Some(allow) = &self.access {
            allow.check(name, crate::access::Verb::Define)?;
        }
        let inner = &self.inner;
        let mut report = DropReport::default();
        let catalog = inner.fresh_catalog().await?;
        let known = catalog.resource(name).cloned();
        report.references += inner.purge(&keys::partition_markers(name)).await?;
        inner.markers.forget();
        if let Some(resource) = &known {
            for version in resource.versions() {
                inner.keep_version_copy(name, version).await?;
            }
            inner.keep_drop(resource).await?;
            inner.change_catalog(|catalog| Ok(catalog.remove(name).then_some(()))).await?;
        }
        report.records = inner.purge(&keys::records(name)).await?;
        report.references += inner.purge(&keys::resource(name)).await? + inner.purge(&keys::index_of(name)).await?;
        inner.delete_plain(&[keys::backfill(name)]).await?;
        if known.is_none() && report == DropReport::default() {
            return Err(unknown_resource(name, &catalog));
        }
        Ok(report)
    }
}

impl Inner {
    async fn create(&self, name: &str, version: &Version) -> Result<()> {
        let floor = self.version_floor(name).await?;
        let left_over = self.list(List { max_keys: 1, ..List::prefix(keys::records(name)) }).await?;
        if !left_over.entries.is_empty() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("records of an earlier resource '{name}' are left over"),
            )
            .guide(format!("finish its removal with `s3db resource drop {name} --yes`")));
        }
        let now = self.now();
        let created = self
            .change_catalog(|catalog| {
                let free = catalog.resource(name).is_none();
                Ok(free.then(|| catalog.add_version(name, version, floor, &now)))
            })
            .await?;
        // Nothing to do where another process was first: it marks its own partitions.
        let Some(created) = created else { return Ok(()) };
        self.keep_version_copy(name, &created).await?;
        let resource = self.resource(name).await?;
        for partition in &created.partitions {
            self.mark_indexed(&resource, partition).await?;
        }
        Ok(())
    }

    /// Deletes everything under a prefix and counts it.
    pub(crate) async fn purge(&self, prefix: &str) -> Result<usize> {
        let mut count = 0;
        loop {
            let page = self.list(List::prefix(prefix)).await?;
            let keys: Vec<String> = page.entries.into_iter().map(|e| e.key).collect();
            if keys.is_empty() {
                return Ok(count);
            }
            self.delete_plain(&keys).await?;
            count += keys.len();
        }
    }
}
