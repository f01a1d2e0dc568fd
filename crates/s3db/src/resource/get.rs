//! Reading records by id.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::keys;
use s3db_format::record::Decoded;
use serde_json::{Map, Value};

use super::{Meta, Record, Resource};
use crate::error::Result;

/// What of a record is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Selection<'a> {
    pub(super) fields: Option<&'a [String]>,
    pub(super) omit_secrets: bool,
}

impl Resource {
    /// Reads a record. Costs one request.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` for a damaged record, or for a secret that the passphrase does not
    /// open, naming the field.
    pub async fn get(&self, id: &str) -> Result<Record> {
        self.find(id).await?.ok_or_else(|| self.missing(id))
    }

    /// Reads a record; `None` if it does not exist. Costs one request.
    ///
    /// # Errors
    /// As [`Resource::get`], without `NotFound`.
    pub async fn find(&self, id: &str) -> Result<Option<Record>> {
        self.find_where(id, Selection::default(), &|_| true).await
    }

    /// Reads several records side by side, in the order of the ids; `None` for each that does not
    /// exist. Costs one request per id.
    ///
    /// # Errors
    /// As [`Resource::get`], without `NotFound`.
    pub async fn get_many(&self, ids: &[String]) -> Result<Vec<Option<Record>>> {
        let reads = stream::iter(ids.to_vec()).map(|id| async move { self.find(&id).await });
        reads.buffered(self.inner.parallelism).try_collect().await
    }

    /// Whether a record exists. Costs one request.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn exists(&self, id: &str) -> Result<bool> {
        super::write::check_readable_id(id)?;
        self.inner.resource(&self.name).await?;
        if self.inner.is_shared() {
            // A record that is being deleted is still an object.
            return Ok(self.load(id).await?.is_some());
        }
        Ok(self.inner.head(&keys::record(&self.name, id)).await?.is_some())
    }

    /// Reads a record, with only some fields and only if it passes a test. Secrets that are left out
    /// are not decrypted; the test sees none.
    pub(super) async fn find_where(
        &self,
        id: &str,
        selection: Selection<'_>,
        passes: &(dyn Fn(&Decoded) -> bool + Sync),
    ) -> Result<Option<Record>> {
        let Some((object, mut decoded)) = self.load(id).await? else { return Ok(None) };
        if !passes(&decoded) {
            return Ok(None);
        }
        let meta = Meta::of(&object, &decoded);
        let named = |path: &str| selection.fields.is_none_or(|fields| fields.iter().any(|f| covers(f, path)));
        let wanted = |path: &str| !selection.omit_secrets && named(path);
        let revealed = self.inner.secrets.reveal(&mut decoded, &wanted).await;
        revealed.map_err(|e| e.context(&self.what(id)))?;
        let attributes = match selection.fields {
            Some(fields) => project(&decoded.attributes, fields),
            None => decoded.attributes,
        };
        Ok(Some(Record { id: id.to_owned(), attributes, meta }))
    }
}

/// Whether asking for a field asks for a path: the field itself, a parent, or a child.
fn covers(field: &str, path: &str) -> bool {
    let inside = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
    inside(path, field) || inside(field, path)
}

fn project(attributes: &Map<String, Value>, fields: &[String]) -> Map<String, Value> {
    let mut projected = Map::new();
    for field in fields {
        if let Some(value) = s3db_format::partition::get_path(attributes, field) {
            s3db_format::record::set_path(&mut projected, field, value.clone());
        }
    }
    projected
}
