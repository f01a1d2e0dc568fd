//! Building the partition index of records that were written without it.
//!
//! Requests: a LIST per thousand records, a GET per record, a PUT per index key, a PUT per thousand
//! records that says how far it is; then a PUT of a marker per partition. Keys are put under the
//! revisions that the records name, so no record is rewritten and running writers are not disturbed.
//! Every writer knows a definition two minutes after it was published; the pass begins no sooner. A
//! crash leaves keys without a marker; the partition goes on being scanned until this is run again,
//! which goes on where it was.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::resource::hash_json;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Resource;
use super::ids::{Ids, Source};
use super::keeper::Placed;
use crate::access::Verb;
use crate::database::json_object;
use crate::error::Result;

/// When every writer knows a definition, and what was sent before has landed.
const KNOWN_MS: i64 = 120_000;

/// What a reindex did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReindexReport {
    /// Records that were read.
    pub records: usize,
    /// Index keys that were put.
    pub keys: usize,
    /// Partitions whose index is now complete.
    pub partitions: Vec<String>,
}

/// What a reindex is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReindexProgress {
    /// It waits so long, until every running writer knows a new partition.
    Waiting(Duration),
    /// It has read so many records, those of an earlier run that was cut off among them.
    Records(usize),
}

/// How far it is, for the next run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Reached {
    /// Of the partitions that are built.
    hash: String,
    after: Option<String>,
    records: usize,
    keys: usize,
}

impl Resource {
    /// Builds the index of every partition. One that was cut off goes on where it was.
    ///
    /// # Errors
    /// A record that cannot be read, or the store; what was built stays, the partitions are scanned
    /// until it succeeds.
    pub async fn reindex(&self, progress: &(dyn Fn(ReindexProgress) + Sync)) -> Result<ReindexReport> {
        self.may(Verb::Define)?;
        self.inner.fresh_catalog().await?;
        self.inner.refuse_other_keeper()?;
        self.inner.ensure_sharing().await?;
        let resource = self.inner.resource(&self.name).await?;
        self.wait_until_known(&resource, progress).await?;
        let mut reached = self.reached(&resource).await?;
        progress(ReindexProgress::Records(reached.records));
        let mut ids = Ids::new(self, Source::Records, reached.after.clone());
        loop {
            let batch = ids.next_ids(usize::MAX).await?;
            let Some(last) = batch.last().cloned() else { break };
            let rows = stream::iter(batch).map(|id| {
                let resource = &resource;
                async move { self.put_keys_of(resource, &id).await }
            });
            let counts: Vec<usize> = rows.buffer_unordered(self.inner.parallel()).try_collect().await?;
            reached.records += counts.len();
            reached.keys += counts.iter().sum::<usize>();
            reached.after = Some(last);
            progress(ReindexProgress::Records(reached.records));
            if ids.has_more() {
                self.keep_reached(&reached).await?;
            }
        }
        let mut report = ReindexReport { records: reached.records, keys: reached.keys, partitions: Vec::new() };
        for partition in resource.partitions() {
            self.inner.mark_indexed(&resource, partition).await?;
            report.partitions.push(partition.name.clone());
        }
        self.inner.delete_plain(&[keys::backfill(&self.name)]).await?;
        Ok(report)
    }

    async fn put_keys_of(&self, resource: &catalog::Resource, id: &str) -> Result<usize> {
        let Some((_, decoded)) = self.load(id).await? else { return Ok(0) };
        let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
        let keys = self.inner.keeper.keys_of(resource, id, placed, decoded.stamp.as_ref());
        self.inner.put_keys(&keys).await.map_err(|e| e.context(&self.what(id)))?;
        Ok(keys.len())
    }

    /// Waits until every running writer knows the partitions. Those that the resource was created with
    /// were known from the beginning.
    async fn wait_until_known(
        &self,
        resource: &catalog::Resource,
        progress: &(dyn Fn(ReindexProgress) + Sync),
    ) -> Result<()> {
        let mut youngest = None;
        for partition in resource.partitions() {
            let since = resource.partition_since(partition);
            let added = since.filter(|v| resource.versions().first().is_some_and(|first| first.name != v.name));
            if let Some(version) = added
                && !self.inner.is_indexed(resource, partition).await?
            {
                youngest = youngest.max(s3db_format::date::instant(&version.created_at));
            }
        }
        let Some(published) = youngest else { return Ok(()) };
        let left = (published + KNOWN_MS - self.inner.store.now_ms()).clamp(0, KNOWN_MS);
        if left > 0 {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
            progress(ReindexProgress::Waiting(left));
            self.inner.clock.sleep(left).await;
        }
        Ok(())
    }

    /// How far an earlier run came that built the same partitions.
    async fn reached(&self, resource: &catalog::Resource) -> Result<Reached> {
        let hashes: Vec<String> = resource.partitions().iter().map(|p| self.inner.marker_hash(resource, p)).collect();
        let hash = hash_json(&json!(hashes));
        let stored = self.inner.read(&keys::backfill(&self.name)).await?;
        let stored = stored.and_then(|object| serde_json::from_slice::<Reached>(&object.body).ok());
        Ok(stored.filter(|stored| stored.hash == hash).unwrap_or(Reached { hash, ..Reached::default() }))
    }

    async fn keep_reached(&self, reached: &Reached) -> Result<()> {
        self.inner.put_plain(&keys::backfill(&self.name), json_object(&json!(reached))).await
    }
}
