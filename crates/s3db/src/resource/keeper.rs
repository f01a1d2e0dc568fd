//! Who keeps the partitions of a database: an index of our own, or the references of s3db.js.

use std::fmt::Debug;

use async_trait::async_trait;
use s3db_format::catalog;
use s3db_format::partition::Partition;
use s3db_format::record::{self, Decoded, StoredObject};
use s3db_format::revision::Stamp;
use s3db_store::Object;
use serde_json::{Map, Value};

use super::Resource;
use super::delete::Gone;
use super::ids::Entry;
use crate::database::Inner;
use crate::error::Result;

/// A record in the view of its partitions.
#[derive(Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) attributes: &'a Map<String, Value>,
    pub(crate) version: &'a str,
}

/// The keys that a write adds and removes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) put: Vec<String>,
    pub(crate) delete: Vec<String>,
}

/// Which write a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Insert,
    Update,
}

/// A record as it was put.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landed<'a> {
    pub(crate) etag: &'a str,
    pub(crate) rev: &'a str,
}

/// Keeps the keys by which partitions find their rows.
#[async_trait]
pub(crate) trait Keeper: Send + Sync + Debug {
    /// Plans a write. `stamp` is that of the new record; where the keys carry revisions, it is brought
    /// up to date.
    fn plan(
        &self,
        resource: &catalog::Resource,
        id: &str,
        old: Option<(Placed<'_>, Option<&Stamp>)>,
        new: Placed<'_>,
        stamp: &mut Stamp,
    ) -> Result<Plan>;

    /// The keys of a record as it is.
    fn keys_of(&self, resource: &catalog::Resource, id: &str, row: Placed<'_>, stamp: Option<&Stamp>) -> Vec<String>;

    /// What is to be done before the record is put.
    async fn before(&self, resource: &Resource, plan: &Plan, stage: Stage) -> Result<()>;

    /// What is to be done after the record was put.
    async fn after(&self, resource: &Resource, id: &str, plan: &Plan, stage: Stage, put: &Landed<'_>) -> Result<()>;

    /// What is to be done after the record was not put.
    async fn undo(&self, resource: &Resource, id: &str, plan: &Plan, stage: Stage) -> Result<()>;

    /// Deletes a record that was read, and its keys.
    async fn delete(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        id: &str,
        object: &Object,
        decoded: &Decoded,
    ) -> Result<Gone>;

    /// Makes a key be there or not, unless the record says otherwise by now.
    async fn mend(&self, resource: &Resource, id: &str, key: &str, wanted: bool) -> Result<()>;

    /// How old a key that fits no record must be before it counts as left over, by the store's time.
    fn left_over_after_ms(&self) -> i64;

    /// The prefix of the keys under leading values.
    fn prefix(&self, partition: &Partition, resource: &str, values: &[String]) -> String;

    /// What a key says.
    fn entry_in(&self, partition: &Partition, resource: &str, key: &str) -> Option<Entry>;

    /// A key behind all those of an id, under all values.
    fn key_behind(&self, partition: &Partition, resource: &str, values: &[String], id: &str) -> String;

    /// What a marker says beside the partition's fields, so that it counts for this keeper only.
    fn mark(&self) -> Option<&'static str>;
}

impl Inner {
    /// The keys that a record has as it is stored.
    pub(crate) fn keys_of_stored(
        &self,
        resource: &catalog::Resource,
        id: &str,
        stored: StoredObject<'_>,
    ) -> Result<Vec<String>> {
        let decoded = record::decode(resource, stored)?;
        if decoded.deleted {
            return Ok(Vec::new());
        }
        let row = Placed { attributes: &decoded.attributes, version: &decoded.version };
        Ok(self.keeper.keys_of(resource, id, row, decoded.stamp.as_ref()))
    }
}
