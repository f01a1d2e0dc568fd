//! Building the partition index of records that were written without it.
//!
//! Requests: a LIST per thousand records, a GET per record, a PUT per index key; then a PUT of a
//! marker per partition. Keys are put under the revisions that the records name, so no record is
//! rewritten and running writers are not disturbed. A crash leaves keys without a marker; the
//! partition goes on being scanned until this is run again.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::Resource;
use super::ids::{Ids, Source};
use super::keeper::Placed;
use crate::error::Result;

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

impl Resource {
    /// Builds the index of every partition. `progress` is told the records so far.
    ///
    /// # Errors
    /// A record that cannot be read, or the store; what was built stays, the partitions are scanned
    /// until it succeeds.
    pub async fn reindex(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<ReindexReport> {
        self.inner.fresh_catalog().await?;
        self.inner.refuse_other_keeper()?;
        self.inner.ensure_sharing().await?;
        let resource = self.inner.resource(&self.name).await?;
        let mut report = ReindexReport::default();
        let mut ids = Ids::new(self, Source::Records, None);
        loop {
            let batch = ids.next_ids(usize::MAX).await?;
            if batch.is_empty() {
                break;
            }
            let rows = stream::iter(batch).map(|id| {
                let resource = &resource;
                async move {
                    let Some((_, decoded)) = self.load(&id).await? else { return Ok::<_, crate::Error>(0) };
                    let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
                    let keys = self.inner.keeper.keys_of(resource, &id, placed, decoded.stamp.as_ref());
                    self.inner.put_keys(&keys).await.map_err(|e| e.context(&self.what(&id)))?;
                    Ok(keys.len())
                }
            });
            let counts: Vec<usize> = rows.buffer_unordered(self.inner.parallel()).try_collect().await?;
            report.records += counts.len();
            report.keys += counts.iter().sum::<usize>();
            progress(report.records);
        }
        for partition in resource.partitions() {
            self.inner.mark_indexed(&self.name, partition).await?;
            report.partitions.push(partition.name.clone());
        }
        Ok(report)
    }
}
