//! Compare-and-swap on a record that was read before, without reading it again.
//!
//! Requests of a swap: those of an update without its GET. A crash leaves what a crash of an update
//! leaves.

use serde_json::{Map, Value};

use super::Resource;
use super::update::{Attempt, Base};
use super::write::check_readable_id;
use crate::access::Verb;
use crate::error::Result;

/// A record as it was read or written, with what the next compare-and-swap needs. Cheap to clone for
/// small records.
#[derive(Debug, Clone)]
pub struct Snapshot {
    id: String,
    base: Base,
}

impl Snapshot {
    /// The record's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its attributes, secrets decrypted.
    pub fn attributes(&self) -> &Map<String, Value> {
        self.base.attributes()
    }

    /// Bytes of its body and headers.
    pub fn size(&self) -> u64 {
        self.base.size()
    }

    /// Its revision: equal revisions are the same write.
    pub fn rev(&self) -> &str {
        self.base.rev()
    }
}

impl Resource {
    /// Reads a record for a compare-and-swap; `None` if it does not exist. Costs one request.
    ///
    /// # Errors
    /// As [`Resource::get`], without `NotFound`.
    pub async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>> {
        self.may(Verb::Read)?;
        check_readable_id(id)?;
        Ok(self.base(id).await?.map(|base| Snapshot { id: id.to_owned(), base }))
    }

    /// Replaces all attributes of a record, only if it is still as the snapshot says. Returns the record
    /// as it is now, ready for the next swap; `None` if somebody else wrote first.
    ///
    /// Costs one request, and 2 per partition whose value moves: one less than
    /// [`Resource::update_with`], which reads the record.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// use s3db::{Database, ResourceDefinition};
    /// use serde_json::json;
    /// let db = Database::connect("memory://swap").await?;
    /// let counters = db.create_resource(ResourceDefinition::new("counters").attribute("n", "number")).await?;
    /// counters.insert(json!({"id": "a", "n": 1})).await?;
    /// let first = counters.snapshot("a").await?.expect("it was just inserted");
    /// let second = counters.swap(&first, json!({"n": 2})).await?.expect("nobody else writes");
    /// assert!(counters.swap(&first, json!({"n": 9})).await?.is_none());
    /// assert!(counters.swap(&second, json!({"n": 3})).await?.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Resource::replace`]; `Unavailable` with `applied: unknown` where the outcome cannot be found out.
    pub async fn swap(&self, snapshot: &Snapshot, attributes: Value) -> Result<Option<Snapshot>> {
        self.may(Verb::Update)?;
        let attributes = super::object(attributes)?;
        if !snapshot.base.is_current() {
            return Ok(None);
        }
        let resource = self.inner.resource_for_write(&self.name).await?;
        match self.attempt_replace(&snapshot.id, &resource, &snapshot.base, &attributes).await? {
            Attempt::Done(done) => {
                Ok(Some(Snapshot { id: snapshot.id.clone(), base: snapshot.base.followed_by(*done) }))
            }
            Attempt::Lost => Ok(None),
        }
    }
}
