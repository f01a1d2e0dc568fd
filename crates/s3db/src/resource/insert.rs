//! Inserting a record.
//!
//! Requests, with P partitions that have a place for the record:
//! 1. PUT of P index keys under a fresh revision, side by side. A crash leaves stale keys.
//! 2. PUT of the record, `If-None-Match: *`. A crash leaves a complete record.
//!
//! Whoever loses deletes the keys it put.

use s3db_format::keys;
use s3db_format::revision::Stamp;
use s3db_format::validate::Mode;
use s3db_store::Precondition;
use serde_json::{Map, Value, json};

use super::index::{IndexPlan, Placed};
use super::record::revision;
use super::write::{Outcome, Source};
use super::{Meta, Record, Resource, object};
use crate::entropy::make_id;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventKind};
use crate::hooks::HookPoint;

impl Resource {
    /// Inserts a record under the caller's `id`, or a fresh one, and returns it as stored.
    ///
    /// Costs 1 + P requests in two rounds.
    ///
    /// # Errors
    /// `Invalid` with every failing field; `AlreadyExists` if the id is taken; `Unavailable` with
    /// `applied: unknown` if the answer was lost and cannot be found out.
    pub async fn insert(&self, record: Value) -> Result<Record> {
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
            let now = self.inner.now();
            attributes.insert("createdAt".into(), json!(now));
            attributes.insert("updatedAt".into(), json!(now));
        }
        let attributes = self.check(version, &id, attributes, Mode::Insert, &|_| false).map_err(|e| {
            if made { e.without_name(&self.what(&id), &format!("the record for resource '{}'", self.name)) } else { e }
        })?;
        let mut stamp = Stamp::first(self.inner.ulid());
        let plan = IndexPlan::new(
            &resource,
            &id,
            None,
            Placed { attributes: &attributes, version: &version.name },
            &mut stamp,
        )?;
        let source = Source { id: &id, attributes, stamp: &stamp, kept_secrets: Default::default(), content: None };
        let prepared = self.prepare(version, source).await?;
        if let Err(error) = self.inner.put_index(&plan.put).await {
            self.inner.drop_index(&plan.put).await;
            return Err(error);
        }
        match self.put_decided(&id, &prepared.put, Precondition::Absent, &stamp.rev, None).await {
            Ok(Outcome::Won(etag)) => {
                let meta = Meta {
                    rev: revision(&stamp.rev, &etag),
                    version: version.name.clone(),
                    size: prepared.size,
                    modified: self.inner.now(),
                    has_content: false,
                    truncated: prepared.truncated,
                };
                let record = Record { id, attributes: prepared.attributes, meta };
                self.inserted(&record).await?;
                Ok(record)
            }
            Ok(Outcome::Lost) => {
                self.inner.drop_index(&plan.put).await;
                Err(Error::new(ErrorKind::AlreadyExists, format!("{} already exists", self.what(&id)))
                    .guide("update it, or use upsert"))
            }
            // The record may be there or may still land, so its keys must stay.
            Ok(Outcome::Undecided(cause)) => Err(Error::undecided(&format!("the insert of {}", self.what(&id)), cause)),
            Err(error) => {
                self.inner.drop_index(&plan.put).await;
                Err(error)
            }
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
        self.inner.hooks.run(&self.name, point, id, attributes.clone()).await.map(|_| ())
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
