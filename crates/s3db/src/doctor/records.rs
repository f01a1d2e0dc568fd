//! Every record: can it be read, is it half deleted, and which keys should it have.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::{StreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::record::Decoded;
use s3db_store::Object;

use super::Doctor;
use super::report::{FindingKind, Findings};
use crate::error::{ErrorKind, Result};
use crate::resource::{Ids, Placed, ReferenceKeeper, Resource, Source};

/// How long a request may be under way.
const UNDER_WAY_MS: i64 = 120_000;

/// The keys that records should have: a digest of each, with the id of its record. Eight bytes instead
/// of a key of a hundred keep a million records in little memory.
#[derive(Debug, Default)]
pub(super) struct Expected(pub(super) HashMap<u64, String>);

pub(super) fn digest(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Doctor<'_> {
    /// Reads every record of a resource.
    pub(super) async fn check_records(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        findings: &mut Findings,
    ) -> Result<Expected> {
        findings.checked.resources += 1;
        let mut expected = Expected::default();
        let mut ids = Ids::new(resource, Source::Records, None);
        loop {
            let batch = ids.next_ids(usize::MAX).await?;
            if batch.is_empty() {
                return Ok(expected);
            }
            let reads = stream::iter(batch).map(|id| async move {
                let found = resource.load_any(&id).await;
                (id, found)
            });
            let mut reads = reads.buffer_unordered(self.inner.parallel());
            while let Some((id, found)) = reads.next().await {
                findings.checked.records += 1;
                match found {
                    Ok(Some((object, decoded))) => {
                        self.check_record(resource, entry, &id, &object, &decoded, &mut expected, findings).await?;
                    }
                    Ok(None) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Unsupported) => {
                        findings.add(FindingKind::DamagedRecord, Some(resource.name()), error.to_string(), false);
                    }
                    Err(error) => return Err(error),
                }
            }
            (self.progress)(resource.name(), findings.checked.records);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a record with everything that is known of it")]
    async fn check_record(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        id: &str,
        object: &Object,
        decoded: &Decoded,
        expected: &mut Expected,
        findings: &mut Findings,
    ) -> Result<()> {
        let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
        if decoded.deleted {
            if self.inner.store.now_ms() - object.meta.modified_ms > UNDER_WAY_MS {
                let references = ReferenceKeeper.keys_of_row(entry, id, placed);
                if self.repair {
                    ReferenceKeeper.clear(resource, id, references, object.meta.etag.clone()).await?;
                }
                findings.add(FindingKind::UnfinishedDelete, Some(resource.name()), id.to_owned(), self.repair);
            }
            return Ok(());
        }
        for key in self.inner.keeper.keys_of(entry, id, placed, decoded.stamp.as_ref()) {
            expected.0.insert(digest(&key), id.to_owned());
        }
        Ok(())
    }
}
