//! A resource: records of one definition, and the verbs on them, one file each.

mod bulk;
mod change_where;
mod content;
mod count;
mod delete;
mod explain;
mod get;
mod ids;
mod index;
mod insert;
mod keeper;
mod list;
mod record;
mod references;
mod reindex;
mod rotate;
mod rows;
mod sorted;
mod swap;
mod update;
mod upsert;
mod write;

use std::future::Future;
use std::sync::Arc;

use s3db_format::catalog;
use s3db_format::resource::ResourceDefinition;
use serde_json::{Map, Value};

use crate::access::{Access, Verb};
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{HookPoint, HookResult};
pub(crate) use write::check_readable_id;

pub use bulk::{BulkFailure, BulkReport, Inserted, OnError};
pub use change_where::{ChangeReport, RowFailure};
pub use content::Content;
pub use delete::DeleteReport;
pub use explain::{Explanation, Requests};
pub(crate) use ids::{Ids, Source, check_field, named_partition};
pub(crate) use index::{IndexKeeper, Markers};
pub use insert::InsertOptions;
pub(crate) use keeper::{Keeper, Placed};
pub use list::{NumberedPage, Page, Records};
pub use record::{Meta, Record};
pub(crate) use references::ReferenceKeeper;
pub use reindex::{ReindexProgress, ReindexReport};
pub use rotate::RotateReport;
pub use swap::Snapshot;
pub use update::UpdateOptions;

/// A handle on a resource. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resource {
    inner: Arc<Inner>,
    name: String,
    access: Access,
}

impl Resource {
    pub(crate) fn new(inner: Arc<Inner>, name: &str) -> Self {
        Self { inner, name: name.to_owned(), access: None }
    }

    /// The same handle, which may do less.
    pub(crate) fn limited(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Refuses what this handle may not do.
    fn may(&self, verb: Verb) -> Result<()> {
        self.access.as_ref().map_or(Ok(()), |allow| allow.check(&self.name, verb))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The definition of the version that is written, in the catalog's form.
    ///
    /// # Errors
    /// The resource was dropped.
    pub async fn definition(&self) -> Result<ResourceDefinition> {
        Ok(self.inner.resource(&self.name).await?.current().definition(&self.name))
    }

    /// The catalog's entry: versions, partitions, schema.
    ///
    /// # Errors
    /// The resource was dropped.
    pub async fn catalog_entry(&self) -> Result<Arc<catalog::Resource>> {
        self.inner.resource(&self.name).await
    }

    /// Adds a hook for this resource, for all handles of this connection.
    ///
    /// A before-hook gets the id and the record and returns the record, changed or not, or the
    /// reason of a veto. It runs once per attempt of a compare-and-swap, so it must be pure.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// use s3db::{Database, HookPoint, ResourceDefinition};
    /// use serde_json::json;
    /// let db = Database::connect("memory://hooks").await?;
    /// let notes = db.create_resource(ResourceDefinition::new("notes").attribute("text", "string")).await?;
    /// notes.hook(HookPoint::BeforeInsert, |_id, mut note| async move {
    ///     if note["text"] == "" {
    ///         return Err("a note needs words".to_owned());
    ///     }
    ///     let shouted = note["text"].as_str().unwrap_or_default().to_uppercase();
    ///     note.insert("text".into(), shouted.into());
    ///     Ok(note)
    /// });
    /// assert_eq!(notes.insert(json!({"text": "hi"})).await?.attributes["text"], "HI");
    /// assert!(notes.insert(json!({"text": ""})).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn hook<F, O>(&self, point: HookPoint, hook: F)
    where
        F: Fn(String, Map<String, Value>) -> O + Send + Sync + 'static,
        O: Future<Output = HookResult> + Send + 'static,
    {
        self.inner.hooks.add(&self.name, point, hook);
    }

    fn what(&self, id: &str) -> String {
        format!("record '{id}' of resource '{}'", self.name)
    }

    fn changed_too_often(&self, id: &str, times: u32) -> Error {
        Error::new(ErrorKind::Conflict, format!("{} was changed by others {times} times in a row", self.what(id)))
            .guide("try again")
    }

    fn missing(&self, id: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("{} does not exist", self.what(id)))
    }
}

/// The members of a JSON object that a caller gave.
fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        other => {
            let found = match other {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                _ => "a list",
            };
            Err(Error::new(ErrorKind::Invalid, format!("a record is a JSON object, this is {found}"))
                .guide("nothing was written"))
        }
    }
}
