//! The keys of partitions beside the records that they should lead to.

use s3db_format::catalog;
use s3db_format::keys::{decoded_folder, index_of, partition_markers};
use s3db_format::partition::Partition;
use s3db_store::{Entry, List};

use super::Doctor;
use super::records::{Expected, digest};
use super::report::{FindingKind, Findings};
use crate::error::{ErrorKind, Result};
use crate::resource::{Placed, ReindexProgress, Resource};

impl Doctor<'_> {
    /// Compares the keys that are there with those that records should have.
    pub(super) async fn check_keys(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        mut expected: Expected,
        findings: &mut Findings,
    ) -> Result<()> {
        self.check_markers(resource, entry, findings).await?;
        let mut complete = true;
        for partition in entry.partitions() {
            complete &= self.inner.is_indexed(entry, partition).await?;
            self.check_partition(resource, entry, partition, &mut expected, findings).await?;
        }
        if complete {
            return self.check_missing(resource, entry, expected, findings).await;
        }
        for partition in entry.partitions() {
            if !self.inner.is_indexed(entry, partition).await? {
                findings.add(FindingKind::NoIndex, Some(resource.name()), partition.name.clone(), self.repair);
            }
        }
        if self.repair {
            let told = |progress: ReindexProgress| match progress {
                ReindexProgress::Waiting(_) => (self.progress)("waiting for writers to learn of a partition", 0),
                ReindexProgress::Records(records) => (self.progress)(resource.name(), records),
            };
            resource.reindex(&told).await?;
        }
        Ok(())
    }

    async fn check_partition(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        partition: &Partition,
        expected: &mut Expected,
        findings: &mut Findings,
    ) -> Result<()> {
        let prefix = self.inner.keeper.prefix(partition, resource.name(), &[]);
        let mut token = None;
        loop {
            let page = self.inner.list(List { token, ..List::prefix(prefix.clone()) }).await?;
            for key in page.entries {
                findings.checked.keys += 1;
                if expected.0.remove(&digest(&key.key)).is_none() {
                    self.check_stray(resource, entry, partition, &key, findings).await?;
                }
            }
            (self.progress)(&partition.name, findings.checked.keys);
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// A key that no record asked for when the records were read: one may by now.
    async fn check_stray(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        partition: &Partition,
        key: &Entry,
        findings: &mut Findings,
    ) -> Result<()> {
        let age = self.inner.store.now_ms() - key.modified_ms;
        if age < self.inner.keeper.left_over_after_ms() {
            return Ok(());
        }
        let id = self.inner.keeper.entry_in(partition, resource.name(), &key.key).map(|e| e.id).unwrap_or_default();
        if id.is_empty() && self.inner.is_shared() {
            // No reference: s3db.js leaves such objects alone, and so do we.
            return Ok(());
        }
        if self.wants(resource, entry, &id, &key.key).await? {
            return Ok(());
        }
        if self.repair {
            self.inner.keeper.mend(resource, &id, &key.key, false).await?;
        }
        findings.add(FindingKind::StaleKey, Some(resource.name()), key.key.clone(), self.repair);
        Ok(())
    }

    /// Keys that records asked for and that no listing had: the record may have moved meanwhile.
    async fn check_missing(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        expected: Expected,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut ids: Vec<String> = expected.0.into_values().collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let Ok(Some((_, decoded))) = resource.load_any(&id).await else { continue };
            if decoded.deleted {
                continue;
            }
            let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
            for key in self.inner.keeper.keys_of(entry, &id, placed, decoded.stamp.as_ref()) {
                // A key that was there when its record was current may be gone with that revision.
                if self.inner.head(&key).await?.is_some() || !self.wants(resource, entry, &id, &key).await? {
                    continue;
                }
                if self.repair {
                    self.inner.keeper.mend(resource, &id, &key, true).await?;
                }
                findings.add(FindingKind::MissingKey, Some(resource.name()), key, self.repair);
            }
        }
        Ok(())
    }

    /// Whether a record, as it is now, has this key.
    async fn wants(&self, resource: &Resource, entry: &catalog::Resource, id: &str, key: &str) -> Result<bool> {
        if id.is_empty() {
            return Ok(false);
        }
        match resource.load_any(id).await {
            Ok(Some((_, decoded))) if !decoded.deleted => {
                let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
                let keys = self.inner.keeper.keys_of(entry, id, placed, decoded.stamp.as_ref());
                Ok(keys.iter().any(|k| k == key))
            }
            Ok(_) => Ok(false),
            // What a damaged record says is not known: its keys stay.
            Err(error) if matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Unsupported) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Markers and index keys of partitions that the resource does not have.
    async fn check_markers(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        findings: &mut Findings,
    ) -> Result<()> {
        let prefix = partition_markers(resource.name());
        let mut markers = Vec::new();
        self.inner.keys_under(&prefix, |found| markers.extend(found)).await?;
        for key in markers {
            let name = key.strip_prefix(&prefix).unwrap_or_default();
            if entry.partition(name).is_none() {
                if self.repair {
                    self.inner.delete_plain(std::slice::from_ref(&key)).await?;
                }
                findings.add(FindingKind::LeftOver, Some(resource.name()), key, self.repair);
            }
        }
        let place = index_of(resource.name());
        for prefix in self.inner.folders_under(&place).await? {
            let name = decoded_folder(&place, &prefix).unwrap_or_default();
            if entry.partition(&name).is_none() {
                self.sweep(&prefix, findings).await?;
            }
        }
        Ok(())
    }
}
