//! Inserting a record.
//!
//! Requests, with P partitions that have a place for the record:
//! 1. PUT of P index keys under a fresh revision, side by side. A crash leaves stale keys.
//! 2. PUT of the record, `If-None-Match: *`. A crash leaves a complete record.
//!
//! Whoever loses deletes the keys it put.

use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::revision::Stamp;
use s3db_format::validate::Mode;
use s3db_store::Precondition;
use serde_json::{Map, Value, json};

use super::keeper::{Landed, Placed, Stage};
use super::record::revision;
use super::write::{Outcome, Source};
use super::{Meta, Record, Resource, object};
use crate::access::Verb;
use crate::entropy::make_id;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventKind};
use crate::hooks::HookPoint;

/// Attempts to insert over a record that is being deleted.
const ATTEMPTS: u32 = 6;
/// How long a request may be under way.
const UNDER_WAY_MS: i64 = 120_000;

/// How a record is inserted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsertOptions {
    /// Take `createdAt` and `updatedAt` as the record has them: for records that are moved, not made.
    pub keep_timestamps: bool,
}

/// What is stored under the id of a new record.
enum Over {
    Nothing,
    /// A record marked as deleted that may be replaced: its ETag and its token.
    Marked(String, Stamp),
    /// A record whose delete is under way.
    Deleting,
    Record,
}

impl Resource {
    /// Inserts a record under the caller's `id`, or a fresh one, and returns it as stored.
    ///
    /// Costs 1 + P requests in two rounds.
    ///
    /// # Errors
    /// `Invalid` with every failing field; `AlreadyExists` if the id is taken; `Unavailable` with
    /// `applied: unknown` if the answer was lost and cannot be found out.
    pub async fn insert(&self, record: Value) -> Result<Record> {
        self.insert_with(record, InsertOptions::default()).await
    }

    /// As [`Resource::insert`], with options.
    ///
    /// # Errors
    /// As [`Resource::insert`].
    pub async fn insert_with(&self, record: Value, options: InsertOptions) -> Result<Record> {
        self.may(Verb::Insert)?;
        let mut attributes = object(record)?;
        let resource = self.inner.resource_for_write(&self.name).await?;
        let version = resource.current();
        let given = attributes.shift_remove("id").filter(|id| !id.is_null());
        let made = given.is_none();
        let id = match given {
            None => make_id(&*self.inner.entropy, version.id_size),
            Some(given) => given_id(given)?,
        };
        keys::check_id(&id)?;
        keys::check_key(0, &keys::record(&self.name, &id), "id")?;
        let mut attributes = self.inner.hooks.run(&self.name, HookPoint::BeforeInsert, &id, attributes).await?;
        if version.timestamps {
            let now = json!(self.inner.now());
            for name in ["createdAt", "updatedAt"] {
                let given = attributes.get(name).is_some_and(|given| !given.is_null());
                if !(given && options.keep_timestamps) {
                    attributes.insert(name.into(), now.clone());
                }
            }
        }
        let attributes = self.check(version, &id, attributes, Mode::Insert, &|_| false).map_err(|e| {
            if made { e.without_name(&self.what(&id), &format!("the record for resource '{}'", self.name)) } else { e }
        })?;
        for attempt in 0..ATTEMPTS {
            let over = if attempt == 0 { Over::Nothing } else { self.what_is_there(&id).await? };
            match over {
                Over::Record => return Err(self.taken(&id)),
                Over::Deleting => {}
                free => {
                    if let Some(record) = self.try_insert(&resource, &id, attributes.clone(), free).await? {
                        self.inserted(&record).await?;
                        return Ok(record);
                    }
                    // Only a delete that is under way can make room for another attempt.
                    if !self.inner.is_shared() {
                        return Err(self.taken(&id));
                    }
                }
            }
            self.inner.back_off(attempt).await;
        }
        Err(Error::new(ErrorKind::Busy, format!("{} is being deleted by another process", self.what(&id)))
            .guide("try again in a moment; what a crash left can be replaced after two minutes"))
    }

    fn taken(&self, id: &str) -> Error {
        Error::new(ErrorKind::AlreadyExists, format!("{} already exists", self.what(id)))
            .guide("update it, or use upsert")
    }

    /// One attempt; `None` if an object is there already.
    async fn try_insert(
        &self,
        resource: &catalog::Resource,
        id: &str,
        attributes: Map<String, Value>,
        over: Over,
    ) -> Result<Option<Record>> {
        let version = resource.current();
        let (precondition, mut stamp, base) = match over {
            Over::Marked(etag, old) => (
                Precondition::Matches(etag),
                old.next(self.inner.ulid(), self.inner.recent().as_deref()),
                Some(old.rev.clone()),
            ),
            _ => (Precondition::Absent, Stamp::first(self.inner.ulid()), None),
        };
        let keeper = self.inner.keeper;
        let placed = Placed { attributes: &attributes, version: &version.name };
        let plan = keeper.plan(resource, id, None, placed, &mut stamp)?;
        let source = Source { id, attributes, stamp: &stamp, kept_secrets: Default::default(), content: None };
        let prepared = self.prepare(version, source).await?;
        keeper.before(self, &plan, Stage::Insert).await?;
        match self.put_decided(id, &prepared.put, precondition, &stamp.rev, base.as_deref()).await {
            Ok(Outcome::Won(etag)) => {
                keeper.after(self, id, &plan, Stage::Insert, &Landed { etag: &etag, rev: &stamp.rev }).await?;
                let meta = Meta {
                    rev: revision(&stamp.rev, &etag),
                    version: version.name.clone(),
                    size: prepared.size,
                    modified: self.inner.now(),
                    has_content: false,
                    truncated: prepared.truncated,
                };
                Ok(Some(Record { id: id.to_owned(), attributes: prepared.attributes, meta }))
            }
            Ok(Outcome::Lost) => {
                keeper.undo(self, id, &plan, Stage::Insert).await?;
                Ok(None)
            }
            // The record may be there or may still land, so its keys must stay.
            Ok(Outcome::Undecided(cause)) => Err(Error::undecided(&format!("the insert of {}", self.what(id)), cause)),
            Err(error) => {
                keeper.undo(self, id, &plan, Stage::Insert).await?;
                Err(error)
            }
        }
    }

    /// What an insert that lost has in its way.
    async fn what_is_there(&self, id: &str) -> Result<Over> {
        let Some((object, decoded)) = self.load_any(id).await? else { return Ok(Over::Nothing) };
        match decoded.stamp {
            _ if !decoded.deleted => Ok(Over::Record),
            Some(stamp) => {
                // A server that deletes without a condition could still take the new record for the
                // marked one, as long as the request of that delete may be under way.
                let age = self.inner.store.now_ms() - object.meta.modified_ms;
                let safe = self.inner.store.capabilities().conditional_delete || age > UNDER_WAY_MS;
                Ok(if safe { Over::Marked(object.meta.etag, stamp) } else { Over::Deleting })
            }
            None => Ok(Over::Record),
        }
    }

    async fn inserted(&self, record: &Record) -> Result<()> {
        self.inner.events.emit(|| Event {
            kind: EventKind::Insert,
            resource: self.name.clone(),
            id: record.id.clone(),
            before: None,
            after: Some(record.attributes.clone()),
        });
        self.after(HookPoint::AfterInsert, &record.id, &record.attributes).await
    }

    /// Runs the hooks after a write that stands.
    pub(super) async fn after(&self, point: HookPoint, id: &str, attributes: &Map<String, Value>) -> Result<()> {
        let ran = self.inner.hooks.run(&self.name, point, id, attributes.clone()).await;
        ran.map(|_| ()).map_err(Error::after_a_write)
    }
}

fn given_id(given: Value) -> Result<String> {
    match given {
        Value::String(id) => Ok(id),
        other => {
            let fields = json!([{ "field": "id", "rule": "type", "expected": "string", "actual": other, "message": "'id' must be a text" }]);
            Err(Error::new(ErrorKind::Invalid, format!("'id' must be a text, this is {other}"))
                .guide(format!("write it in quotes: \"{}\"", s3db_format::js::to_text(&other)))
                .detail(json!({ "fields": fields })))
        }
    }
}
