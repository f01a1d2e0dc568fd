//! The partition index: keys that say which rows share a value.
//!
//! Keys are put before the record and deleted only by the exact revision that was put or read, so in
//! every reachable state the current key of a record exists. What a crash leaves is a stale key,
//! which readers see through by looking at the row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::partition::Partition;
use s3db_format::resource::hash_json;
use s3db_format::revision::Stamp;
use s3db_store::Put;
use serde_json::{Map, Value, json};

use crate::database::Inner;
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

/// The index keys that a write adds and removes.
#[derive(Debug, Default)]
pub(super) struct IndexPlan {
    pub(super) put: Vec<String>,
    pub(super) delete: Vec<String>,
}

/// A record in the view of its partitions.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) attributes: &'a Map<String, Value>,
    pub(super) version: &'a str,
}

impl IndexPlan {
    /// Plans a write. `stamp` is that of the new record; its index revisions are brought up to date.
    pub(super) fn new(
        resource: &catalog::Resource,
        id: &str,
        old: Option<(Placed<'_>, Option<&Stamp>)>,
        new: Placed<'_>,
        stamp: &mut Stamp,
    ) -> Result<Self> {
        let mut plan = Self::default();
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

    /// The keys of a record that ends, or that is to be indexed.
    pub(super) fn end(resource: &catalog::Resource, id: &str, row: Placed<'_>, stamp: Option<&Stamp>) -> Vec<String> {
        let placed = resource.partitions().iter().filter_map(|p| Some((p, p.values(row.attributes, row.version)?)));
        placed.map(|(partition, values)| index_key(resource, partition, &values, id, stamp)).collect()
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
fn check_length(partition: &Partition, key: &str) -> Result<()> {
    let fields: Vec<&str> = partition.fields().iter().map(|(path, _)| path.as_str()).collect();
    keys::check_key(0, key, &fields.join(", "))
        .map_err(|e| Error::from(e).context(&format!("partition '{}'", partition.name)))
}

impl Inner {
    /// Puts index keys side by side. Each key is fresh, so a repeated request is harmless.
    pub(super) async fn put_index(&self, keys: &[String]) -> Result<()> {
        let puts = stream::iter(keys.to_vec()).map(|key| async move { self.put_plain(&key, Put::default()).await });
        puts.buffer_unordered(self.parallelism).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Deletes index keys that no record needs. A failure leaves stale keys, which harm nobody: it
    /// is logged and not returned, because the write itself stands.
    pub(super) async fn drop_index(&self, keys: &[String]) {
        if let Err(error) = self.delete_plain(keys).await {
            tracing::warn!(%error, count = keys.len(), "stale index keys are left over; `doctor` removes them");
        }
    }

    /// Whether a partition's index is complete. Costs a GET, once a minute.
    pub(crate) async fn is_indexed(&self, resource: &catalog::Resource, partition: &Partition) -> Result<bool> {
        let hash = marker_hash(partition);
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
    pub(crate) async fn mark_indexed(&self, resource: &str, partition: &Partition) -> Result<()> {
        let body = json!({ "hash": marker_hash(partition), "completedAt": self.now() });
        let put = Put {
            body: Bytes::from(body.to_string()),
            content_type: Some("application/json".into()),
            ..Put::default()
        };
        self.put_plain(&keys::partition_marker(resource, &partition.name), put).await
    }
}

/// A marker counts for the very fields and rules that it was made for.
fn marker_hash(partition: &Partition) -> String {
    hash_json(&json!(partition.fields()))
}
