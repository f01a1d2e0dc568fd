//! Changing the definition of a resource.
//!
//! Requests: GET catalog, LIST of version copies, PUT catalog, PUT of the version's copy. Where a
//! partition goes or changes, DELETE of its marker a minute before, so that nobody still trusts an
//! index that nobody keeps any more; and DELETE of its keys afterwards. A crash before the catalog's
//! PUT leaves partitions that are scanned until `reindex`; one after it leaves index keys and a version
//! without its copy, which `doctor` mends.

use std::time::Duration;

use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::partition::Partition;
use s3db_format::resource::Version;
use s3db_format::update::ResourceUpdate;

use super::{Database, Inner, unknown_resource};
use crate::error::{Error, ErrorKind, Result};

/// How long a marker may be believed by those who saw it, and a little more.
const MARKER_GONE: Duration = Duration::from_secs(65);

/// What a change of a definition came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateReport {
    /// The version that is written from now on.
    pub version: String,
    /// Whether it is a new one.
    pub changed: bool,
    /// The partitions whose index is not complete: they are scanned until [`crate::Resource::reindex`].
    pub to_index: Vec<String>,
}

impl Database {
    /// Changes the definition of a resource as a new version: attributes are appended or changed in
    /// place, records of older versions are read by theirs. What several processes change at once all
    /// survives. A change that changes nothing is none.
    ///
    /// A new partition is scanned until [`crate::Resource::reindex`] has built its index; one that goes
    /// or changes takes a minute, in which readers forget that its index was complete.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// use s3db::{Database, ResourceDefinition, ResourceUpdate};
    /// let db = Database::connect("memory://update").await?;
    /// db.create_resource(ResourceDefinition::new("users").attribute("name", "string")).await?;
    /// let report = db.update_resource("users", ResourceUpdate::new().attribute("age", "number|optional")).await?;
    /// assert_eq!(report.version, "v1");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound`; `Invalid` with every problem of the new definition; `Unsupported` for a resource that
    /// is read-only.
    pub async fn update_resource(&self, name: &str, update: impl Into<ResourceUpdate>) -> Result<UpdateReport> {
        if let Some(allow) = &self.access {
            allow.check(name, crate::access::Verb::Define)?;
        }
        let update = update.into();
        let inner = &self.inner;
        inner.fresh_catalog().await?;
        inner.ensure_sharing().await?;
        let floor = inner.version_floor(name).await?;
        let going = inner.forget_partitions(name, &update).await?;
        let now = inner.now();
        let added = inner
            .change_catalog(|catalog| {
                let stored = catalog.resource(name).cloned().ok_or_else(|| unknown_resource(name, catalog))?;
                super::refuse_read_only(&stored)?;
                let version = updated(&stored, &update)?;
                if is_same(&version, stored.current()) {
                    return Ok(None);
                }
                // One that another process added meanwhile, and that would go with this change.
                if going_partitions(&stored, &version).iter().any(|p| !going.contains(p)) {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("the partitions of '{name}' were changed meanwhile"),
                    )
                    .guide("try again; nothing was changed"));
                }
                Ok(Some(catalog.add_version(name, &version, floor, &now)))
            })
            .await?;
        if let Some(version) = &added {
            inner.keep_version_copy(name, version).await?;
            for partition in going.iter().filter(|partition| !version.partitions.contains(partition)) {
                inner.purge(&inner.keeper.prefix(partition, name, &[])).await?;
            }
        }
        let stored = inner.resource(name).await?;
        let mut to_index = Vec::new();
        for partition in stored.partitions() {
            if !inner.is_indexed(&stored, partition).await? {
                to_index.push(partition.name.clone());
            }
        }
        Ok(UpdateReport { version: stored.current().name.clone(), changed: added.is_some(), to_index })
    }
}

impl Inner {
    /// Takes the markers of partitions away that go or change, and waits until nobody believes them.
    async fn forget_partitions(&self, name: &str, update: &ResourceUpdate) -> Result<Vec<Partition>> {
        let stored = self.resource(name).await?;
        super::refuse_read_only(&stored)?;
        let version = updated(&stored, update)?;
        let going = going_partitions(&stored, &version);
        loop {
            let mut found = Vec::new();
            for partition in &going {
                let marker = keys::partition_marker(name, &partition.name);
                found.extend(self.head(&marker).await?.map(|_| marker));
            }
            if found.is_empty() {
                self.markers.forget();
                return Ok(going);
            }
            self.delete_plain(&found).await?;
            self.clock.sleep(MARKER_GONE).await;
        }
    }
}

fn updated(stored: &catalog::Resource, update: &ResourceUpdate) -> Result<Version> {
    update.apply(&stored.name, stored.current()).map_err(|problems| Error::invalid_definition(&stored.name, &problems))
}

/// The partitions of a resource that a version does not have, or has otherwise, or with fields of
/// another type.
fn going_partitions(stored: &catalog::Resource, version: &Version) -> Vec<Partition> {
    let stays = |p: &&Partition| {
        let same_types = stored.partition_types(p, Some(version)) == stored.partition_types(p, None);
        version.partitions.contains(p) && same_types
    };
    stored.partitions().iter().filter(|p| !stays(p)).cloned().collect()
}

/// Equal in all that is stored.
fn is_same(a: &Version, b: &Version) -> bool {
    a.hash == b.hash && a.paranoid == b.paranoid && a.id_size == b.id_size
}
