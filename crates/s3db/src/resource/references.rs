//! The references of s3db.js, kept in a database that both programs write.
//!
//! A reference carries no revision, so two correct writers could undo each other's. Therefore an
//! operation that touched a reference ends only when a read of the record after its last reference
//! request shows the revision that it acted on; otherwise it sets every reference that it touched to
//! what the record says, and reads again. Every interleaving of two operations without a crash ends
//! with exactly the record's references. What a crash leaves is found by `doctor`.
//!
//! Requests, with P partitions that have a place for the record and q whose values move:
//! - insert: PUT record, PUT of P references, HEAD record. A crash leaves missing references.
//! - update: GET, PUT of q new references, PUT record, DELETE of q old references, HEAD record and of
//!   each new reference. A crash leaves dangling references.
//! - delete: GET, PUT of the record marked as deleted, DELETE of its references, DELETE record. A crash
//!   leaves a marked record, which is absent for us and a record for s3db.js.

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::partition::Partition;
use s3db_format::record::{self, Decoded, StoredObject};
use s3db_format::revision::{Stamp, UNSTAMPED, token_in_headers};
use s3db_store::{ErrorKind as StoreKind, Object, ObjectMeta, Precondition, Put};

use super::Resource;
use super::delete::Gone;
use super::ids::Entry;
use super::index::check_length;
use super::keeper::{Keeper, Landed, Placed, Plan, Stage};
use super::write::Outcome;
use crate::error::{Error, Result};

/// Times that references are set anew after the record changed meanwhile.
const ROUNDS: u32 = 16;

/// Keeps the references of s3db.js.
#[derive(Debug)]
pub(crate) struct ReferenceKeeper;

#[async_trait]
impl Keeper for ReferenceKeeper {
    fn plan(
        &self,
        resource: &catalog::Resource,
        id: &str,
        old: Option<(Placed<'_>, Option<&Stamp>)>,
        new: Placed<'_>,
        _stamp: &mut Stamp,
    ) -> Result<Plan> {
        let mut plan = Plan::default();
        for partition in resource.partitions() {
            let key = |row: Placed<'_>| {
                let values = partition.values(row.attributes, row.version)?;
                Some(partition.reference_key(&resource.name, &values, id))
            };
            let (before, after) = (old.and_then(|(row, _)| key(row)), key(new));
            if before == after {
                continue;
            }
            if let Some(key) = &after {
                check_length(partition, key)?;
            }
            plan.delete.extend(before);
            plan.put.extend(after);
        }
        Ok(plan)
    }

    fn keys_of(&self, resource: &catalog::Resource, id: &str, row: Placed<'_>, _stamp: Option<&Stamp>) -> Vec<String> {
        self.keys_of_row(resource, id, row)
    }

    async fn before(&self, resource: &Resource, plan: &Plan, stage: Stage) -> Result<()> {
        if stage == Stage::Update { resource.inner.put_keys(&plan.put).await } else { Ok(()) }
    }

    async fn after(&self, resource: &Resource, id: &str, plan: &Plan, stage: Stage, put: &Landed<'_>) -> Result<()> {
        let done = match stage {
            Stage::Insert if plan.put.is_empty() => return Ok(()),
            Stage::Update if plan.put.is_empty() && plan.delete.is_empty() => return Ok(()),
            Stage::Insert => resource.inner.put_keys(&plan.put).await,
            Stage::Update => resource.inner.delete_plain(&plan.delete).await,
        };
        let settled = match done {
            Ok(()) => self.confirm(resource, id, plan, stage, put).await,
            Err(error) => Err(error),
        };
        settled.map_err(|error| unfinished(resource, id, error))
    }

    async fn undo(&self, resource: &Resource, id: &str, plan: &Plan, stage: Stage) -> Result<()> {
        match stage {
            Stage::Insert => Ok(()),
            Stage::Update => self.settle(resource, id, plan.put.clone()).await,
        }
    }

    async fn delete(
        &self,
        resource: &Resource,
        entry: &catalog::Resource,
        id: &str,
        object: &Object,
        decoded: &Decoded,
    ) -> Result<Gone> {
        let marked = match self.mark_deleted(resource, id, object, decoded).await? {
            Outcome::Won(etag) => etag,
            Outcome::Lost => return Ok(Gone::Changed),
            Outcome::Undecided(cause) => {
                return Err(Error::undecided(&format!("the delete of {}", resource.what(id)), cause));
            }
        };
        // From here on the record is absent for us, whatever becomes of the rest.
        let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
        let references = self.keys_of_row(entry, id, placed);
        if let Err(error) = self.clear(resource, id, references, marked).await {
            tracing::warn!(%error, id, "a delete was not finished; `doctor --repair` finishes it");
        }
        Ok(Gone::Yes)
    }

    async fn mend(&self, resource: &Resource, id: &str, key: &str, _wanted: bool) -> Result<()> {
        self.settle(resource, id, vec![key.to_owned()]).await
    }

    fn left_over_after_ms(&self) -> i64 {
        // No request is under way for longer, and the writers look at their references again.
        120_000
    }

    fn prefix(&self, partition: &Partition, resource: &str, values: &[String]) -> String {
        partition.reference_prefix(resource, values)
    }

    fn entry_in(&self, partition: &Partition, resource: &str, key: &str) -> Option<Entry> {
        partition.parse_reference(resource, key).map(|id| Entry { id, values: Vec::new() })
    }

    fn key_behind(&self, partition: &Partition, resource: &str, values: &[String], id: &str) -> String {
        partition.reference_key(resource, values, id)
    }

    fn mark(&self) -> Option<&'static str> {
        Some("references")
    }
}

impl ReferenceKeeper {
    /// The references of a record.
    pub(crate) fn keys_of_row(&self, resource: &catalog::Resource, id: &str, row: Placed<'_>) -> Vec<String> {
        let placed = resource.partitions().iter().filter_map(|p| Some((p, p.values(row.attributes, row.version)?)));
        placed.map(|(partition, values)| partition.reference_key(&resource.name, &values, id)).collect()
    }

    /// Whether the record is still what was written and its new references are there; otherwise they
    /// are set to what it says now.
    async fn confirm(&self, resource: &Resource, id: &str, plan: &Plan, stage: Stage, put: &Landed<'_>) -> Result<()> {
        let record = resource.inner.head(&keys::record(&resource.name, id)).await?;
        let unchanged = record.is_some_and(|meta| {
            // Where the body is not ours the ETag stays, and the token stands in a header.
            meta.etag == put.etag && token_in_headers(&meta.headers).is_none_or(|rev| rev == put.rev)
        });
        let present = match stage {
            Stage::Insert => true,
            Stage::Update => self.all_there(resource, &plan.put).await?,
        };
        if unchanged && present {
            return Ok(());
        }
        self.settle(resource, id, plan.put.iter().chain(&plan.delete).cloned().collect()).await
    }

    async fn all_there(&self, resource: &Resource, references: &[String]) -> Result<bool> {
        let looks = stream::iter(references.to_vec()).map(|key| async move { resource.inner.head(&key).await });
        let found: Vec<_> = looks.buffered(resource.inner.parallel()).try_collect().await?;
        Ok(found.iter().all(Option::is_some))
    }

    /// Sets references to what the record says until it has not changed meanwhile.
    pub(crate) async fn settle(&self, resource: &Resource, id: &str, touched: Vec<String>) -> Result<()> {
        for attempt in 0..ROUNDS {
            let found = resource.load_any(id).await?;
            let entry = resource.inner.resource(&resource.name).await?;
            let wanted = match &found {
                Some((_, decoded)) if !decoded.deleted => {
                    let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
                    self.keys_of_row(&entry, id, placed)
                }
                _ => Vec::new(),
            };
            let (put, delete): (Vec<String>, Vec<String>) = touched.iter().cloned().partition(|k| wanted.contains(k));
            resource.inner.put_keys(&put).await?;
            resource.inner.delete_plain(&delete).await?;
            let now = resource.inner.head(&keys::record(&resource.name, id)).await?;
            let seen = |meta: &ObjectMeta| (meta.etag.clone(), meta.headers.clone());
            if now.as_ref().map(seen) == found.as_ref().map(|(object, _)| seen(&object.meta)) {
                return Ok(());
            }
            resource.inner.back_off(attempt).await;
        }
        Err(Error::new(
            crate::ErrorKind::Conflict,
            format!("{} was changed by others while its references were set", resource.what(id)),
        )
        .guide("`s3db doctor --repair` sets them"))
    }

    /// Puts the record marked as deleted.
    async fn mark_deleted(&self, resource: &Resource, id: &str, object: &Object, decoded: &Decoded) -> Result<Outcome> {
        let rev = resource.inner.ulid();
        let (stamp, base) = match &decoded.stamp {
            Some(old) => (old.next(rev, resource.inner.recent().as_deref()), old.rev.as_str()),
            None => (Stamp::over_unstamped(rev, Default::default()), UNSTAMPED),
        };
        let stored = StoredObject {
            headers: &object.meta.headers,
            content_type: object.meta.content_type.as_deref(),
            body: &object.body,
        };
        let marked = record::tombstone(stored, decoded, &stamp);
        let put = Put {
            body: marked.body.into(),
            headers: marked.headers,
            content_type: Some(marked.content_type),
            ..Put::default()
        };
        if decoded.has_content {
            return resource.replace_headers(id, &object.meta.etag, &put).await;
        }
        resource.put_decided(id, &put, Precondition::Matches(object.meta.etag.clone()), &stamp.rev, Some(base)).await
    }

    /// Removes the references of a record that is marked, then the record, which must have this ETag.
    pub(crate) async fn clear(
        &self,
        resource: &Resource,
        id: &str,
        references: Vec<String>,
        etag: String,
    ) -> Result<()> {
        let inner = &resource.inner;
        if etag.is_empty() {
            // A record was inserted over the mark before it was looked at: that one stays.
            return self.settle(resource, id, references).await;
        }
        inner.delete_plain(&references).await?;
        let conditional = inner.store.capabilities().conditional_delete;
        let precondition = if conditional { Precondition::Matches(etag.clone()) } else { Precondition::None };
        let key = keys::record(&resource.name, id);
        for attempt in inner.attempts() {
            match inner.store.delete(&key, precondition.clone()).await {
                Ok(()) => return Ok(()),
                // Removed by a request of ours whose answer was lost, or written anew by somebody.
                Err(error) if matches!(error.kind, StoreKind::Precondition | StoreKind::NotFound) => break,
                Err(error) if !error.is_transient() => return Err(error.into()),
                Err(_) => {}
            }
            // Without a condition a second request could take a record that was inserted meanwhile.
            if inner.head(&key).await?.is_none_or(|meta| meta.etag != etag) {
                break;
            }
            inner.back_off(attempt).await;
        }
        self.settle(resource, id, references).await
    }
}

fn unfinished(resource: &Resource, id: &str, error: Error) -> Error {
    error
        .applied_unknown(&format!("the references of {}, which was written,", resource.what(id)))
        .guide("the record is there; `s3db doctor --repair` completes its references")
}
