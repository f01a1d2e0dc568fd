//! Deleting records.
//!
//! Requests, with P partitions that have a place for the record:
//! 1. GET of the record.
//! 2. DELETE of the record, `If-Match` where the server has it. A crash leaves stale keys.
//! 3. DELETE of its P index keys in one batch, by the revisions that the record named.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::record::Decoded;
use s3db_store::{ErrorKind as StoreKind, List, Object, Precondition};
use serde::Serialize;

use super::keeper::Placed;
use super::{Meta, Resource, UpdateOptions};
use crate::access::Verb;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventKind};
use crate::hooks::HookPoint;

const ATTEMPTS: u32 = 16;

/// What a delete of several records did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeleteReport {
    /// Records that are gone.
    pub deleted: usize,
    /// Ids that did not exist.
    pub missing: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Yes,
    Changed,
    Missing,
}

impl Resource {
    /// Deletes a record. Costs 2 requests, 3 with partitions.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` with `applied: unknown`.
    pub async fn delete(&self, id: &str) -> Result<()> {
        self.delete_with(id, &UpdateOptions::default()).await
    }

    /// Deletes a record, with `expected_rev` only if it is still at that revision.
    ///
    /// # Errors
    /// As [`Resource::delete`]; `Conflict` `{expected, found}`.
    pub async fn delete_with(&self, id: &str, options: &UpdateOptions) -> Result<()> {
        self.may(Verb::Delete)?;
        for attempt in 0..ATTEMPTS {
            let resource = self.inner.resource_for_write(&self.name).await?;
            let Some((object, decoded)) = self.load(id).await? else { return Err(self.missing(id)) };
            let meta = Meta::of(&object, &decoded);
            if let Some(expected) = options.expected_rev.as_ref().filter(|rev| **rev != meta.rev) {
                return Err(Error::conflict(id, expected, &meta.rev));
            }
            match self.attempt_delete(&resource, id, &object, decoded).await? {
                Gone::Yes => return Ok(()),
                Gone::Missing => return Err(self.missing(id)),
                Gone::Changed => match &options.expected_rev {
                    Some(expected) => return Err(Error::conflict(id, expected, "a later one")),
                    None => self.inner.back_off(attempt).await,
                },
            }
        }
        Err(self.changed_too_often(id, ATTEMPTS))
    }

    /// One attempt to delete a record that was read.
    pub(super) async fn attempt_delete(
        &self,
        resource: &catalog::Resource,
        id: &str,
        object: &Object,
        mut decoded: Decoded,
    ) -> Result<Gone> {
        self.inner.hooks.run(&self.name, HookPoint::BeforeDelete, id, self.shown(&mut decoded)).await?;
        let gone = self.inner.keeper.delete(self, resource, id, object, &decoded).await?;
        if gone == Gone::Yes {
            self.deleted(id, decoded).await?;
        }
        Ok(gone)
    }

    /// Deletes several records. Costs a GET per id, a DELETE per thousand, and a DELETE per thousand
    /// index keys. Hooks run as for single deletes; the deletes themselves are not conditional.
    ///
    /// # Errors
    /// The store cannot be reached; what was deleted stays deleted.
    pub async fn delete_many(&self, ids: &[String]) -> Result<DeleteReport> {
        self.may(Verb::Delete)?;
        if self.inner.is_shared() {
            return self.delete_each(ids).await;
        }
        let mut report = DeleteReport::default();
        for batch in ids.chunks(List::MAX_KEYS) {
            let resource = self.inner.resource_for_write(&self.name).await?;
            let mut unique = batch.to_vec();
            unique.sort();
            unique.dedup();
            let reads = stream::iter(unique).map(|id| async move {
                let row = self.load(&id).await?;
                Ok::<_, Error>((id, row))
            });
            let found: Vec<_> = reads.buffered(self.inner.parallel()).try_collect().await?;
            let (mut record_keys, mut index_keys, mut gone) = (Vec::new(), Vec::new(), Vec::new());
            for (id, row) in found {
                let Some((_, mut decoded)) = row else {
                    report.missing.push(id);
                    continue;
                };
                let shown = self.shown(&mut decoded);
                self.inner.hooks.run(&self.name, HookPoint::BeforeDelete, &id, shown).await?;
                record_keys.push(keys::record(&self.name, &id));
                let placed = Placed { attributes: &decoded.attributes, version: &decoded.version };
                index_keys.extend(self.inner.keeper.keys_of(&resource, &id, placed, decoded.stamp.as_ref()));
                gone.push((id, decoded));
            }
            self.inner.delete_plain(&record_keys).await?;
            self.inner.drop_keys(&index_keys).await;
            report.deleted += gone.len();
            for (id, decoded) in gone {
                self.deleted(&id, decoded).await?;
            }
        }
        Ok(report)
    }

    /// Deletes one by one: each record is marked before its references go.
    async fn delete_each(&self, ids: &[String]) -> Result<DeleteReport> {
        let mut unique = ids.to_vec();
        unique.sort();
        unique.dedup();
        let deletes = stream::iter(unique).map(|id| async move {
            match self.delete(&id).await {
                Ok(()) => Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(id)),
                Err(error) => Err(error),
            }
        });
        let missing: Vec<Option<String>> = deletes.buffered(self.inner.parallel()).try_collect().await?;
        let deleted = missing.iter().filter(|m| m.is_none()).count();
        Ok(DeleteReport { deleted, missing: missing.into_iter().flatten().collect() })
    }

    /// Deletes every record of a resource that was defined with `paranoid: false`.
    ///
    /// Costs a LIST, a DELETE and what the index takes per thousand records.
    ///
    /// # Errors
    /// `Unsupported` while `paranoid` is `true`.
    pub async fn delete_all(&self) -> Result<DeleteReport> {
        self.may(Verb::Delete)?;
        let resource = self.inner.resource_for_write(&self.name).await?;
        if resource.current().paranoid {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("delete_all is refused: resource '{}' is paranoid", self.name),
            )
            .guide("define the resource with paranoid: false, or delete by id; nothing was deleted"));
        }
        let mut report = DeleteReport::default();
        loop {
            let page = self.inner.list(List::prefix(keys::records(&self.name))).await?;
            let ids: Vec<String> =
                page.entries.iter().filter_map(|e| keys::record_id(&self.name, &e.key)).map(str::to_owned).collect();
            if ids.is_empty() {
                return Ok(report);
            }
            report.deleted += self.delete_many(&ids).await?.deleted;
        }
    }

    /// What a hook or an event shows of a record that is deleted: secrets are left out, so that no
    /// passphrase is needed to delete.
    fn shown(&self, decoded: &mut Decoded) -> serde_json::Map<String, serde_json::Value> {
        for field in decoded.secrets.clone() {
            decoded.forget(&field);
        }
        decoded.attributes.clone()
    }

    pub(super) async fn remove(&self, id: &str, object: &Object, decoded: &Decoded) -> Result<Gone> {
        let key = keys::record(&self.name, id);
        let conditional = self.inner.store.capabilities().conditional_delete;
        let precondition =
            if conditional { Precondition::Matches(object.meta.etag.clone()) } else { Precondition::None };
        let mut unknown = None;
        for attempt in self.inner.attempts() {
            match self.inner.store.delete(&key, precondition.clone()).await {
                Ok(()) => return Ok(Gone::Yes),
                Err(error) => match error.kind {
                    StoreKind::Precondition | StoreKind::NotFound => {
                        return self.after_refused_delete(id, decoded, unknown).await;
                    }
                    StoreKind::Unknown => {
                        unknown = Some(error);
                        if let Some(gone) = self.after_lost_delete(id, decoded).await? {
                            return Ok(gone);
                        }
                    }
                    _ if error.is_transient() => {
                        self.inner.slow_down(&error);
                        unknown = unknown.or(Some(error));
                    }
                    _ => return Err(error.into()),
                },
            }
            self.inner.back_off(attempt).await;
        }
        match unknown {
            Some(error) if error.kind != StoreKind::Unknown => Err(error.into()),
            cause => Err(Error::undecided(&format!("the delete of {}", self.what(id)), cause)),
        }
    }

    /// The condition was refused: changed by another, or gone, by this request or by another.
    async fn after_refused_delete(
        &self,
        id: &str,
        decoded: &Decoded,
        unknown: Option<s3db_store::StoreError>,
    ) -> Result<Gone> {
        let certain = self.inner.store.capabilities().definite_refusals && unknown.is_none();
        match self.look_after_delete(id).await? {
            Some((_, now)) if now.stamp == decoded.stamp => Ok(Gone::Changed),
            Some((_, now)) if certain || follows(&now, decoded) => Ok(Gone::Changed),
            None if certain => Ok(Gone::Missing),
            // It is gone. If this request did it, it is done; if another did, saying so is as true.
            None => Ok(Gone::Yes),
            Some(_) => Err(Error::undecided(&format!("the delete of {}", self.what(id)), unknown)),
        }
    }

    /// The answer was lost: `None` if the record is as it was, so that the request may be repeated.
    async fn after_lost_delete(&self, id: &str, decoded: &Decoded) -> Result<Option<Gone>> {
        match self.look_after_delete(id).await? {
            None => Ok(Some(Gone::Yes)),
            Some((_, now)) if now.stamp == decoded.stamp => Ok(None),
            Some((_, now)) if follows(&now, decoded) => Ok(Some(Gone::Changed)),
            Some(_) => Err(Error::undecided(&format!("the delete of {}", self.what(id)), None)),
        }
    }

    /// Reads a record after a delete whose outcome is open: if it cannot be read, that stays open.
    async fn look_after_delete(&self, id: &str) -> Result<Option<(Object, Decoded)>> {
        let open = |error: Error| error.applied_unknown(&format!("the delete of {}", self.what(id)));
        self.load(id).await.map_err(open)
    }

    async fn deleted(&self, id: &str, decoded: Decoded) -> Result<()> {
        let before = decoded.attributes;
        self.inner.events.emit(|| Event {
            kind: EventKind::Delete,
            resource: self.name.clone(),
            id: id.to_owned(),
            before: Some(before.clone()),
            after: None,
        });
        self.after(HookPoint::AfterDelete, id, &before).await
    }
}

/// Whether a record came from another by updates, so that no delete lay between.
fn follows(now: &Decoded, before: &Decoded) -> bool {
    match (&now.stamp, &before.stamp) {
        (Some(now), Some(before)) => now.contains(&before.rev),
        _ => false,
    }
}
