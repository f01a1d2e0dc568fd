//! What a database is and holds.

use s3db_store::Probe;
use serde::Serialize;

use super::Database;
use crate::error::Result;

/// The answer of [`Database::status`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where it is, without secrets.
    pub url: String,
    /// Whether writes are safe against each other.
    pub compare_and_swap: bool,
    /// Whether deletes are safe against each other.
    pub conditional_delete: bool,
    /// Whether listings come in byte order.
    pub ordered_listing: bool,
    /// What a probe found out about the server; absent for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// How far this machine's clock is ahead of the server's, in milliseconds; absent for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// Whether a passphrase was given.
    pub passphrase: bool,
    /// Since when timers, actions and jobs are paused, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The resources.
    pub resources: Vec<ResourceStatus>,
    /// Entries of the catalog that are no usable resource.
    pub unusable: Vec<String>,
}

/// One resource in a [`Status`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// The version that is written.
    pub version: String,
    /// Where values are stored.
    pub behavior: &'static str,
    /// Records.
    pub records: usize,
    /// Partitions with whether their index is complete.
    pub partitions: Vec<PartitionStatus>,
    /// Why it is read-only, if it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_only: Vec<String>,
}

/// One partition in a [`Status`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Its name.
    pub name: String,
    /// Whether it is answered from its index; otherwise rows are scanned.
    pub indexed: bool,
}

impl Database {
    /// Looks at the database. Costs a GET, per resource a LIST per thousand records, and a GET per
    /// partition.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn status(&self) -> Result<Status> {
        let catalog = self.inner.fresh_catalog().await?;
        let capabilities = self.inner.store.capabilities();
        let probe = self.inner.store.probe();
        let mut resources = Vec::new();
        for (name, entry) in catalog.resources() {
            let mut partitions = Vec::new();
            for partition in entry.partitions() {
                let indexed = self.inner.is_indexed(entry, partition).await?;
                partitions.push(PartitionStatus { name: partition.name.clone(), indexed });
            }
            resources.push(ResourceStatus {
                name: name.clone(),
                version: entry.current().name.clone(),
                behavior: entry.current().behavior.word(),
                records: self.resource(name).await?.count().await?,
                partitions,
                read_only: entry.problems().iter().map(ToString::to_string).collect(),
            });
        }
        Ok(Status {
            url: self.location(),
            compare_and_swap: capabilities.compare_and_swap,
            conditional_delete: capabilities.conditional_delete,
            ordered_listing: capabilities.ordered_listing,
            clock_ahead_ms: probe.as_ref().map(|_| self.inner.clock.now_ms() - self.inner.store.now_ms()),
            probe,
            passphrase: self.inner.secrets.has_passphrase(),
            paused: catalog.paused().map(str::to_owned),
            resources,
            unusable: catalog.unusable().into_iter().map(str::to_owned).collect(),
        })
    }
}
