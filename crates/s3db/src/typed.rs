//! Resources whose records are of a type of yours.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;
use crate::resource::{Meta, Page, Record, Resource};

/// A resource with records of type `T`, any serde type. A field `id` of `T` is the record's id.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
/// use s3db::{Database, ResourceDefinition};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Note { id: String, text: String }
///
/// let db = Database::connect("memory://typed").await?;
/// db.create_resource(ResourceDefinition::new("notes").attribute("text", "string")).await?;
/// let notes = db.resource_as::<Note>("notes").await?;
/// notes.insert(&Note { id: "n1".into(), text: "hello".into() }).await?;
/// assert_eq!(notes.get("n1").await?.value.text, "hello");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TypedResource<T> {
    resource: Resource,
    record: PhantomData<fn() -> T>,
}

/// A typed record with what is known of the stored object.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<T> {
    /// The record's id.
    pub id: String,
    /// The record.
    pub value: T,
    /// What is known of the stored object.
    pub meta: Meta,
}

impl<T> TypedResource<T> {
    pub(crate) fn new(resource: Resource) -> Self {
        Self { resource, record: PhantomData }
    }

    /// The same resource with JSON records.
    pub fn dynamic(&self) -> &Resource {
        &self.resource
    }
}

impl<T: Serialize + DeserializeOwned> TypedResource<T> {
    /// Inserts a record: see [`Resource::insert`].
    ///
    /// # Errors
    /// As there; `Invalid` for a value that serde cannot make JSON of.
    pub async fn insert(&self, record: &T) -> Result<Stored<T>> {
        typed(self.resource.insert(json_of(record)?).await?)
    }

    /// Reads a record: see [`Resource::get`].
    ///
    /// # Errors
    /// As there; `Invalid` for a record that does not have the shape of `T`, naming the field.
    pub async fn get(&self, id: &str) -> Result<Stored<T>> {
        typed(self.resource.get(id).await?)
    }

    /// Merges a patch into a record: see [`Resource::update`].
    ///
    /// # Errors
    /// As [`TypedResource::get`] and there.
    pub async fn update(&self, id: &str, patch: Value) -> Result<Stored<T>> {
        typed(self.resource.update(id, patch).await?)
    }

    /// Inserts or merges a record: see [`Resource::upsert`].
    ///
    /// # Errors
    /// As [`TypedResource::insert`] and there.
    pub async fn upsert(&self, record: &T) -> Result<Stored<T>> {
        typed(self.resource.upsert(json_of(record)?).await?)
    }

    /// Lists records: see [`Resource::list`].
    ///
    /// # Errors
    /// As [`TypedResource::get`] and there.
    pub async fn list(&self, query: &Query) -> Result<Page<Stored<T>>> {
        let page = self.resource.list(query).await?;
        let items = page.items.into_iter().map(typed).collect::<Result<Vec<_>>>()?;
        Ok(Page { items, next: page.next, exact: page.exact, warnings: page.warnings })
    }
}

fn json_of<T: Serialize>(record: &T) -> Result<Value> {
    serde_json::to_value(record)
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("the record cannot be made JSON: {e}")))
}

fn typed<T: DeserializeOwned>(record: Record) -> Result<Stored<T>> {
    let value = serde_json::from_value(record.to_json()).map_err(|e| {
        Error::new(ErrorKind::Invalid, format!("record '{}' does not have the shape of the type: {e}", record.id))
            .guide("make the field optional in the type, or read the record as JSON")
    })?;
    Ok(Stored { id: record.id, value, meta: record.meta })
}
