//! The partition index: keys that say which rows share a value.
//!
//! Keys are put before the record and deleted only by the exact revision that was put or read, so in
//! every reachable state the current key of a record exists. What a crash leaves is a stale key,
//! which readers see through by looking at the row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::partition::Partition;
use s3db_format::record::Decoded;
use s3db_format::resource::hash_json;
use s3db_format::revision::Stamp;
use s3db_store::{Object, Put};
use serde_json::{Value, json};

use super::Resource;
use super::delete::Gone;
use super::ids::Entry;
use super::keeper::{Keeper, Landed, Placed, Plan, Stage};
use crate::database::{Inner, json_object};
use crate::error::{Error, Result};

/// How long a marker that was seen is believed.
const MARKER_FRESH: Duration = Duration::from_secs(60);

/// Partitions whose index is known to be complete, by resource, partition and definition.
#[derive(Debug, Default)]
pub(crate) struct Markers(Mutex<HashMap<(String, String, String), Duration>>);

impl Markers {
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn seen_at(&self, key: &(String, String, String)) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn saw(&self, key: (String, String, String), at: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, at);
    }
}

/// Keeps our own index.
#[derive(Debug)]
pub(crate) struct IndexKeeper;

#[async_trait]
impl Keeper for IndexKeeper {
    fn plan(
        &self,
        resource: &catalog::Resource,
        id: &str,
        old: Option<(Placed<'_>, Option<&Stamp>)>,
        new: Placed<'_>,
        stamp: &mut Stamp,
    ) -> Result<Plan> {
        let mut plan = Plan::default();
        for partition in resource.partitions() {
            let before = old.and_then(|(row, stamp)| Some((partition.values(row.attributes, row.version)?, stamp)));
            let after = partition.values(new.attributes, new.version);
            if let (Some((before, _)), Some(after)) = (&before, &after)
                && before == after
            {
                continue;
            }
            if let Some((values, stamp)) = before {
                plan.delete.push(index_key(resource, partition, &values, id, stamp));
            }
            match after {
                Some(values) => {
                    stamp.index.insert(partition.name.clone(), stamp.rev.clone());
                    let key = index_key(resource, partition, &values, id, Some(stamp));
                    check_length(partition, &key)?;
                    plan.put.push(key);
                }
                None => {
                    stamp.index.remove(&partition.name);
                }
            }
        }
        Ok(plan)
    }

    fn keys_of(&self, resource: &catalog::Resource, id: &str, row: Placed<'_>, stamp: Option<&Stamp>) -> Vec<String> {
        let placed = resource.partitions().iter().filter_map(|p| Some((p, p.values(row.attributes, row.version)?)));
        placed.map(|(partition, values)| index_key(resource, partition, &values, id, stamp)).collect()
    }

    async fn before(&self, resource: &Resource, plan: &Plan, _stage: Stage) -> Result<()> {
        let put = resource.inner.put_keys(&plan.put).await;
        if put.is_err() {
            resource.inner.drop_keys(&plan.put).await;
        }
        put
    }

    async fn after(&self, resource: &Resource, _id: &str, plan: &Plan, _stage: Stage, _put: &Landed<'_>) -> Result<()> {
        resource.inner.drop_keys(&plan.delete).await;
        Ok(())
    }

    async fn undo(&self, resource: &Resource, _id: &str, plan: &Plan, _stage: Stage) -> Result<()> {
        resource.inner.drop_keys(&plan.put).await;
        Ok(())
    }

    async fn delete(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        id: &str,
        object: &Object,
        decoded: &Decoded,
    ) -> Result<Gone> {
        let gone = resource.remove(id, object, decoded).await?;
        if gone == Gone::Yes {
            let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
            resource.inner.drop_keys(&self.keys_of(entry, id, placed, decoded.stamp.as_ref())).await;
        }
        Ok(gone)
    }

    async fn mend(&self, resource: &Resource, _id: &str, key: &str, wanted: bool) -> Result<()> {
        let keys = [key.to_owned()];
        if wanted { resource.inner.put_keys(&keys).await } else { resource.inner.delete_plain(&keys).await }
    }

    fn left_over_after_ms(&self) -> i64 {
        3_600_000
    }

    fn prefix(&self, partition: &Partition, resource: &str, values: &[String]) -> String {
        partition.index_prefix(resource, values)
    }

    fn entry_in(&self, partition: &Partition, resource: &str, key: &str) -> Option<Entry> {
        partition.parse_index_key(resource, key).map(|entry| Entry { id: entry.id, values: entry.values })
    }

    fn key_behind(&self, partition: &Partition, resource: &str, values: &[String], id: &str) -> String {
        // Behind every revision of that id.
        partition.index_key(resource, values, id, "~")
    }

    fn mark(&self) -> Option<&'static str> {
        None
    }
}

/// The key of a row under the revision that its stamp names.
fn index_key(
    resource: &catalog::Resource,
    partition: &Partition,
    values: &[String],
    id: &str,
    stamp: Option<&Stamp>,
) -> String {
    let revision = stamp.map_or(s3db_format::revision::UNSTAMPED, |s| s.index_revision(&partition.name));
    partition.index_key(&resource.name, values, id, revision)
}

/// Refuses a key that no store could hold, before anything is written.
pub(super) fn check_length(partition: &Partition, key: &str) -> Result<()> {
    let fields: Vec<&str> = partition.fields().iter().map(|(path, _)| path.as_str()).collect();
    keys::check_key(0, key, &fields.join(", "))
        .map_err(|e| Error::from(e).context(&format!("partition '{}'", partition.name)))
}

impl Inner {
    /// Puts keys side by side. Repeating a request is harmless.
    pub(crate) async fn put_keys(&self, keys: &[String]) -> Result<()> {
        let puts = stream::iter(keys.to_vec()).map(|key| async move { self.put_plain(&key, Put::default()).await });
        puts.buffer_unordered(self.parallel()).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Deletes index keys that no record needs. A failure leaves stale keys, which harm nobody: it
    /// is logged and not returned, because the write itself stands.
    pub(crate) async fn drop_keys(&self, keys: &[String]) {
        if let Err(error) = self.delete_plain(keys).await {
            tracing::warn!(%error, count = keys.len(), "stale index keys are left over; `doctor` removes them");
        }
    }

    /// Whether a partition's index is complete. Costs a GET, once a minute.
    pub(crate) async fn is_indexed(&self, resource: &catalog::Resource, partition: &Partition) -> Result<bool> {
        if !self.is_shared() && self.is_shared_by_others() {
            // Nobody keeps the index there.
            return Ok(false);
        }
        let hash = self.marker_hash(resource, partition);
        let key = (resource.name.clone(), partition.name.clone(), hash.clone());
        let now = self.clock.monotonic();
        if self.markers.seen_at(&key).is_some_and(|at| now.saturating_sub(at) < MARKER_FRESH) {
            return Ok(true);
        }
        let Some(object) = self.read(&keys::partition_marker(&resource.name, &partition.name)).await? else {
            return Ok(false);
        };
        let marker: Value = serde_json::from_slice(&object.body).unwrap_or_default();
        let complete = marker.get("hash").and_then(Value::as_str) == Some(hash.as_str());
        if complete {
            self.markers.saw(key, now);
        }
        Ok(complete)
    }

    /// Marks a partition's index as complete.
    pub(crate) async fn mark_indexed(&self, resource: &catalog::Resource, partition: &Partition) -> Result<()> {
        let body = json!({ "hash": self.marker_hash(resource, partition), "completedAt": self.now() });
        let put = json_object(&body);
        self.put_plain(&keys::partition_marker(&resource.name, &partition.name), put).await
    }

    /// A marker counts for the very fields, rules and keeper that it was made for, and since the version
    /// that brought them: one that was removed and added again has another. So has one whose fields got
    /// another type, because a plan for the old one would miss rows.
    pub(super) fn marker_hash(&self, resource: &catalog::Resource, partition: &Partition) -> String {
        let since = resource.partition_since(partition).map(|version| version.name.as_str());
        let types = resource.partition_types(partition, None);
        hash_json(&json!([self.keeper.mark(), since, partition.fields(), types]))
    }
}
