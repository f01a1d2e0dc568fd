//! Inserting a record, or merging into the one that is there.

use serde_json::{Value, json};

use super::update::Attempt;
use super::{Record, Resource, object};
use crate::access::Verb;
use crate::error::{Error, ErrorKind, Result};

const ATTEMPTS: u32 = 16;

impl Resource {
    /// Inserts the record if its `id` is free, else merges it into the record that is there.
    ///
    /// Costs 2 requests, and what partitions cost in an insert or update.
    ///
    /// # Errors
    /// `Invalid` without an `id`; otherwise as insert and update.
    pub async fn upsert(&self, record: Value) -> Result<Record> {
        self.may(Verb::Insert)?;
        self.may(Verb::Update)?;
        let mut attributes = object(record)?;
        let Some(Value::String(id)) = attributes.shift_remove("id") else {
            return Err(Error::new(ErrorKind::Invalid, "upsert needs the 'id' of the record as a text")
                .guide("use insert to have an id made"));
        };
        for attempt in 0..ATTEMPTS {
            let resource = self.inner.resource_for_write(&self.name).await?;
            match self.base(&id).await? {
                Some(base) => {
                    if let Attempt::Done(done) = self.attempt_merge(&id, &resource, &base, &attributes).await? {
                        return Ok(done.record);
                    }
                }
                None => {
                    let mut whole = attributes.clone();
                    whole.insert("id".into(), json!(id));
                    match self.insert(Value::Object(whole)).await {
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                        other => return other,
                    }
                }
            }
            self.inner.back_off(attempt).await;
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{} was changed by others {ATTEMPTS} times in a row", self.what(&id)),
        )
        .guide("try again"))
    }
}
