//! Changing a record by compare-and-swap.
//!
//! Requests, with q partitions whose values move:
//! 1. GET of the record.
//! 2. PUT of q index keys under a fresh revision. A crash leaves stale keys.
//! 3. PUT of the record, `If-Match`. A crash leaves the new record and the old keys, stale.
//! 4. DELETE of the q old keys by the revisions that the record named.
//!
//! Whoever loses deletes the keys it put, reads again and merges again.

use std::sync::Arc;

use s3db_format::catalog;
use s3db_format::partition::get_path;
use s3db_format::record::Decoded;
use s3db_format::revision::{Stamp, UNSTAMPED};
use s3db_format::validate::Mode;
use s3db_store::{Copy, Object, Precondition, Put};
use serde_json::{Map, Value, json};

use super::keeper::{Landed, Placed, Stage};
use super::record::revision;
use super::write::{Outcome, Prepared, Source, kept_secrets};
use super::{Meta, Record, Resource, object};
use crate::access::Verb;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventKind};
use crate::hooks::HookPoint;
use crate::merge::merge;

/// Times that an update merges again after losing.
pub(super) const MERGES: u32 = 16;

/// How an update is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// Update only if the record is still at this revision; then it is one attempt.
    pub expected_rev: Option<String>,
}

/// How the new attributes come from the old.
#[derive(Clone, Copy)]
enum Change<'a> {
    Merge(&'a Map<String, Value>),
    Replace(&'a Map<String, Value>),
}

/// What one attempt came to.
pub(super) enum Attempt {
    Done(Box<Done>),
    Lost,
}

/// A record that was written, and what it is now.
pub(super) struct Done {
    pub(super) record: Record,
    stamp: Stamp,
    etag: String,
}

/// The record that an attempt is based on.
#[derive(Debug, Clone)]
pub(super) struct Base {
    object: Object,
    decoded: Decoded,
    meta: Meta,
}

impl Resource {
    /// Merges a patch into a record and returns it as stored.
    ///
    /// Objects merge at every depth, arrays and scalars replace, null stores null, dotted keys
    /// address nested fields, `{"$unset": ["a.b"]}` removes. Costs 2 requests, and 2 per partition
    /// whose value moves.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` with every failing field of the merged record; `Conflict` after sixteen
    /// lost attempts; `Unavailable` with `applied: unknown`.
    pub async fn update(&self, id: &str, patch: Value) -> Result<Record> {
        self.update_with(id, patch, &UpdateOptions::default()).await
    }

    /// As [`Resource::update`], with options. With `expected_rev` it is one attempt.
    ///
    /// # Errors
    /// As [`Resource::update`]; `Conflict` `{expected, found}` if the record is at another revision.
    pub async fn update_with(&self, id: &str, patch: Value, options: &UpdateOptions) -> Result<Record> {
        self.may(Verb::Update)?;
        let mut patch = object(patch)?;
        take_id(id, &mut patch)?;
        self.change(id, Change::Merge(&patch), options).await
    }

    /// Replaces all attributes of a record. Costs as much as an update.
    ///
    /// # Errors
    /// As [`Resource::update_with`].
    pub async fn replace(&self, id: &str, record: Value, options: &UpdateOptions) -> Result<Record> {
        self.may(Verb::Update)?;
        let mut record = object(record)?;
        take_id(id, &mut record)?;
        self.change(id, Change::Replace(&record), options).await
    }

    async fn change(&self, id: &str, change: Change<'_>, options: &UpdateOptions) -> Result<Record> {
        for attempt in 0..MERGES {
            let resource = self.inner.resource_for_write(&self.name).await?;
            let Some(base) = self.base(id).await? else { return Err(self.missing(id)) };
            if let Some(expected) = options.expected_rev.as_ref().filter(|rev| **rev != base.meta.rev) {
                return Err(Error::conflict(id, expected, &base.meta.rev));
            }
            match self.attempt(id, &resource, &base, change).await? {
                Attempt::Done(done) => return Ok(done.record),
                Attempt::Lost => match &options.expected_rev {
                    Some(expected) => return Err(Error::conflict(id, expected, "a later one")),
                    None => self.inner.back_off(attempt).await,
                },
            }
        }
        Err(self.changed_too_often(id, MERGES))
    }

    /// Reads the record that a write is to be based on, secrets in clear.
    pub(super) async fn base(&self, id: &str) -> Result<Option<Base>> {
        let Some((object, mut decoded)) = self.load(id).await? else { return Ok(None) };
        let meta = Meta::of(&object, &decoded);
        self.inner.secrets.reveal(&mut decoded, &|_| true).await.map_err(|e| e.context(&self.what(id)))?;
        Ok(Some(Base { object, decoded, meta }))
    }

    /// One attempt to merge a patch into a record that was read.
    pub(super) async fn attempt_merge(
        &self,
        id: &str,
        resource: &Arc<catalog::Resource>,
        base: &Base,
        patch: &Map<String, Value>,
    ) -> Result<Attempt> {
        self.attempt(id, resource, base, Change::Merge(patch)).await
    }

    /// One attempt to replace a record that was read.
    pub(super) async fn attempt_replace(
        &self,
        id: &str,
        resource: &Arc<catalog::Resource>,
        base: &Base,
        record: &Map<String, Value>,
    ) -> Result<Attempt> {
        self.attempt(id, resource, base, Change::Replace(record)).await
    }

    async fn attempt(
        &self,
        id: &str,
        resource: &Arc<catalog::Resource>,
        base: &Base,
        change: Change<'_>,
    ) -> Result<Attempt> {
        let version = resource.current();
        let before = &base.decoded.attributes;
        let (mode, merged) = match change {
            Change::Merge(patch) => (Mode::Update, merge(before, patch)?),
            Change::Replace(record) => (Mode::Insert, record.clone()),
        };
        let mut merged = self.inner.hooks.run(&self.name, HookPoint::BeforeUpdate, id, merged).await?;
        if version.timestamps {
            merged.insert("updatedAt".into(), json!(self.inner.now()));
            if let Some(created) = before.get("createdAt") {
                merged.insert("createdAt".into(), created.clone());
            }
        }
        let attributes = self.check(version, id, merged, mode, &|path| get_path(before, path).is_some())?;
        let old_stamp = base.decoded.stamp.as_ref();
        let rev = self.inner.ulid();
        let mut stamp = match old_stamp {
            Some(old) => old.next(rev, self.inner.recent().as_deref()),
            None => Stamp::over_unstamped(rev, Default::default()),
        };
        let old = Placed { attributes: before, version: &base.decoded.version };
        let new = Placed { attributes: &attributes, version: &version.name };
        let keeper = self.inner.keeper;
        let plan = keeper.plan(resource, id, Some((old, old_stamp)), new, &mut stamp)?;
        let secrets = kept_secrets(before, &attributes, &base.decoded.secrets);
        let content = base.content();
        let source = Source { id, attributes, stamp: &stamp, kept_secrets: secrets, content };
        let prepared = self.prepare(version, source).await?;
        keeper.before(self, &plan, Stage::Update).await?;
        let outcome = if content.is_some() {
            self.replace_headers(id, &base.object.meta.etag, &prepared.put).await
        } else {
            let based_on = old_stamp.map_or(UNSTAMPED, |s| s.rev.as_str());
            let precondition = Precondition::Matches(base.object.meta.etag.clone());
            self.put_decided(id, &prepared.put, precondition, &stamp.rev, Some(based_on)).await
        };
        match outcome {
            Ok(Outcome::Won(etag)) => {
                let landed = Landed { etag: &etag, rev: &stamp.rev };
                keeper.after(self, id, &plan, Stage::Update, &landed).await?;
                let record = self.stored(id, prepared, &version.name, &stamp.rev, &etag, content.is_some());
                self.updated(before, &record).await?;
                Ok(Attempt::Done(Box::new(Done { record, stamp, etag })))
            }
            Ok(Outcome::Lost) => {
                keeper.undo(self, id, &plan, Stage::Update).await?;
                Ok(Attempt::Lost)
            }
            // The new record may be there, so both its keys and the old ones must stay.
            Ok(Outcome::Undecided(cause)) => Err(Error::undecided(&format!("the update of {}", self.what(id)), cause)),
            Err(error) => {
                keeper.undo(self, id, &plan, Stage::Update).await?;
                Err(error)
            }
        }
    }

    /// A record that holds user content lives in headers: they are replaced by a copy onto itself,
    /// which is conditional on the content alone.
    pub(super) async fn replace_headers(&self, id: &str, etag: &str, put: &Put) -> Result<Outcome> {
        let key = s3db_format::keys::record(&self.name, id);
        let copy = Copy {
            headers: Some(put.headers.clone()),
            content_type: put.content_type.clone(),
            source: Precondition::Matches(etag.to_owned()),
        };
        use s3db_store::ErrorKind as Kind;
        match self.inner.store.copy(&key, &key, copy).await {
            Ok(etag) => Ok(Outcome::Won(etag)),
            Err(error) if matches!(error.kind, Kind::Precondition | Kind::NotFound | Kind::Conflict) => {
                Ok(Outcome::Lost)
            }
            Err(error) if error.kind == Kind::Unknown => Ok(Outcome::Undecided(Some(error))),
            Err(error) => Err(error.into()),
        }
    }

    fn stored(&self, id: &str, prepared: Prepared, version: &str, rev: &str, etag: &str, has_content: bool) -> Record {
        let meta = Meta {
            rev: revision(rev, etag),
            version: version.to_owned(),
            size: prepared.size,
            modified: self.inner.now(),
            has_content,
            truncated: prepared.truncated,
        };
        Record { id: id.to_owned(), attributes: prepared.attributes, meta }
    }

    async fn updated(&self, before: &Map<String, Value>, record: &Record) -> Result<()> {
        self.inner.events.emit(|| Event {
            kind: EventKind::Update,
            resource: self.name.clone(),
            id: record.id.clone(),
            before: Some(before.clone()),
            after: Some(record.attributes.clone()),
        });
        self.after(HookPoint::AfterUpdate, &record.id, &record.attributes).await
    }
}

impl Base {
    pub(super) fn attributes(&self) -> &Map<String, Value> {
        &self.decoded.attributes
    }

    pub(super) fn rev(&self) -> &str {
        &self.meta.rev
    }

    pub(super) fn size(&self) -> u64 {
        self.meta.size
    }

    /// Whether it can be swapped: a write that was overwritten before it was looked at has no ETag.
    pub(super) fn is_current(&self) -> bool {
        !self.object.meta.etag.is_empty()
    }

    /// The record after an attempt on this one. Secrets are encrypted anew by the next write.
    pub(super) fn followed_by(&self, done: Done) -> Self {
        let mut object = self.object.clone();
        object.meta.etag = done.etag;
        let decoded = Decoded {
            attributes: done.record.attributes,
            version: done.record.meta.version.clone(),
            stamp: Some(done.stamp),
            has_content: self.decoded.has_content,
            ..Decoded::default()
        };
        Self { object, decoded, meta: done.record.meta }
    }

    pub(super) fn decoded(&mut self) -> &mut Decoded {
        &mut self.decoded
    }

    fn content(&self) -> Option<s3db_format::record::Content<'_>> {
        let content_type = self.object.meta.content_type.as_deref().unwrap_or("application/octet-stream");
        self.decoded.has_content.then_some(s3db_format::record::Content { body: &self.object.body, content_type })
    }
}

/// An `id` in a patch must be the record's own.
fn take_id(id: &str, patch: &mut Map<String, Value>) -> Result<()> {
    match patch.shift_remove("id") {
        None => Ok(()),
        Some(given) if given == *id => Ok(()),
        Some(given) => Err(Error::new(
            ErrorKind::Invalid,
            format!("an id cannot be changed: the record is '{id}', the patch says {given}"),
        )
        .guide("leave 'id' out, or insert a new record and delete this one")),
    }
}
