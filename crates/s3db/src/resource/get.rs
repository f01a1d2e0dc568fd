//! Reading records by id.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::keys;

use super::{Meta, Record, Resource};
use crate::access::Verb;
use crate::error::Result;

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
        self.may(Verb::Read)?;
        let Some((object, mut decoded)) = self.load(id).await? else { return Ok(None) };
        let meta = Meta::of(&object, &decoded);
        self.inner.secrets.reveal(&mut decoded, &|_| true).await.map_err(|e| e.context(&self.what(id)))?;
        Ok(Some(Record { id: id.to_owned(), attributes: decoded.attributes, meta }))
    }

    /// Reads several records side by side, in the order of the ids; `None` for each that does not
    /// exist. Costs one request per id.
    ///
    /// # Errors
    /// As [`Resource::get`], without `NotFound`.
    pub async fn get_many(&self, ids: &[String]) -> Result<Vec<Option<Record>>> {
        self.may(Verb::Read)?;
        let reads = stream::iter(ids.to_vec()).map(|id| async move { self.find(&id).await });
        reads.buffered(self.inner.parallel()).try_collect().await
    }

    /// Whether a record exists. Costs one request.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn exists(&self, id: &str) -> Result<bool> {
        self.may(Verb::Read)?;
        super::write::check_readable_id(id)?;
        self.inner.resource(&self.name).await?;
        if self.inner.is_shared() {
            // A record that is being deleted is still an object.
            return Ok(self.load(id).await?.is_some());
        }
        Ok(self.inner.head(&keys::record(&self.name, id)).await?.is_some())
    }
}
