//! Putting a record and finding out whether it was put.
//!
//! Unknown is not failed: after a lost answer the record itself says what happened, by the tokens it
//! carries. What it cannot say is returned as undecided, never merged and written again.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::record::{self, Content, Decoded, Draft, Encoded, SecretField, StoredObject};
use s3db_format::resource::Version;
use s3db_format::revision::Stamp;
use s3db_format::validate::{Mode, validate};
use s3db_store::{ErrorKind as StoreKind, Object, Precondition, Put, StoreError};
use serde_json::{Map, Value, json};

use super::Resource;
use super::record::header_size;
use crate::error::{Error, Result};

/// What became of a conditional write.
pub(super) enum Outcome {
    /// It took effect, with this ETag; empty where somebody wrote over it before it was looked at.
    Won(String),
    /// It did not, because somebody else wrote first.
    Lost,
    /// It cannot be found out.
    Undecided(Option<StoreError>),
}

/// A record ready to be put.
pub(super) struct Prepared {
    pub(super) put: Put,
    pub(super) attributes: Map<String, Value>,
    pub(super) truncated: bool,
    pub(super) size: u64,
}

/// What a draft is made of.
pub(super) struct Source<'a> {
    pub(super) id: &'a str,
    pub(super) attributes: Map<String, Value>,
    pub(super) stamp: &'a Stamp,
    pub(super) kept_secrets: HashMap<String, String>,
    pub(super) content: Option<Content<'a>>,
}

impl Resource {
    /// Reads and decodes a record; `None` if it does not exist, or is being deleted.
    pub(super) async fn load(&self, id: &str) -> Result<Option<(Object, Decoded)>> {
        Ok(self.load_any(id).await?.filter(|(_, decoded)| !decoded.deleted))
    }

    /// Reads and decodes a record, also one that is marked as deleted. A version that the cached
    /// catalog does not have is a reason to read the catalog again, once.
    pub(crate) async fn load_any(&self, id: &str) -> Result<Option<(Object, Decoded)>> {
        check_readable_id(id)?;
        let Some(object) = self.inner.read(&keys::record(&self.name, id)).await? else { return Ok(None) };
        let resource = self.inner.resource(&self.name).await?;
        let decoded = match decode(&resource, &object) {
            Ok(decoded) => decoded,
            Err(_) if names_unknown_version(&resource, &object) => {
                let catalog = self.inner.fresh_catalog().await?;
                let resource = catalog.resource(&self.name).ok_or_else(|| Error::not_found("resource", &self.name))?;
                decode(resource, &object).map_err(|e| Error::from(e).context(&self.what(id)))?
            }
            Err(error) => return Err(Error::from(error).context(&self.what(id))),
        };
        Ok(Some((object, decoded)))
    }

    /// Checks attributes and returns them as they are to be stored, without `id`.
    pub(super) fn check(
        &self,
        version: &Version,
        id: &str,
        mut attributes: Map<String, Value>,
        mode: Mode,
        keeps: &dyn Fn(&str) -> bool,
    ) -> Result<Map<String, Value>> {
        attributes.shift_remove("id");
        let declares_id = version.schema.attribute("id").is_some();
        if declares_id {
            attributes.insert("id".into(), json!(id));
        }
        let checked = validate(&version.schema, &attributes, mode, keeps);
        let mut checked = checked.map_err(|fields| Error::invalid_fields(&self.what(id), &fields))?;
        checked.shift_remove("id");
        Ok(checked)
    }

    /// Encrypts what is secret and lays the record out.
    pub(super) async fn prepare(&self, version: &Version, source: Source<'_>) -> Result<Prepared> {
        let mut sealed = source.kept_secrets;
        for path in version.schema.secrets() {
            let value = s3db_format::partition::get_path(&source.attributes, path);
            let Some(value) = value.filter(|v| !v.is_null()) else { continue };
            if !sealed.contains_key(path) {
                let ciphertext = self.inner.secrets.seal(path, &s3db_format::js::secret_text(value)).await?;
                sealed.insert(path.to_owned(), ciphertext);
            }
        }
        let draft = Draft {
            id: source.id,
            attributes: &source.attributes,
            sealed: &sealed,
            stamp: source.stamp,
            content: source.content,
        };
        let encoded = record::encode(version, &draft).map_err(|e| Error::from(e).context(&self.what(source.id)))?;
        Ok(prepared(source.attributes, encoded))
    }

    /// Puts a record under a precondition and decides what became of it.
    ///
    /// `base` is the token of the record that the write is based on.
    pub(super) async fn put_decided(
        &self,
        id: &str,
        put: &Put,
        precondition: Precondition,
        rev: &str,
        base: Option<&str>,
    ) -> Result<Outcome> {
        let key = keys::record(&self.name, id);
        let definite = self.inner.store.capabilities().definite_refusals;
        let mut unknown = None;
        let mut last = None;
        for attempt in self.inner.attempts() {
            match self.inner.store.put(&key, put.clone(), precondition.clone()).await {
                Ok(etag) => return Ok(Outcome::Won(etag)),
                Err(error) => match error.kind {
                    StoreKind::Precondition | StoreKind::NotFound if definite && unknown.is_none() => {
                        return Ok(Outcome::Lost);
                    }
                    StoreKind::Precondition | StoreKind::NotFound => {
                        return Ok(self.decide(id, rev, base, unknown).await);
                    }
                    StoreKind::Unknown if precondition == Precondition::Absent => {
                        return Ok(self.decide_insert(id, rev, error).await);
                    }
                    StoreKind::Unknown => unknown = Some(error),
                    StoreKind::Conflict | StoreKind::Throttled | StoreKind::Unavailable => {
                        self.inner.slow_down(&error);
                        last = Some(error);
                    }
                    _ if unknown.is_some() => return Ok(Outcome::Undecided(unknown)),
                    _ => return Err(error.into()),
                },
            }
            self.inner.back_off(attempt).await;
        }
        match (unknown, last) {
            (None, Some(error)) => Err(error.into()),
            // A request that is still under way may land later, so only a win can be found out.
            (unknown, _) => match self.decide(id, rev, base, unknown).await {
                Outcome::Lost => Ok(Outcome::Undecided(None)),
                decided => Ok(decided),
            },
        }
    }

    /// An insert whose answer was lost is never sent again: if it took place and another process has
    /// deleted the record meanwhile, a second one would bring it back. Nor is another's record in its
    /// place a refusal: the insert may still land when that one is deleted. (For an update neither can
    /// be, because no ETag comes twice.)
    async fn decide_insert(&self, id: &str, rev: &str, lost: StoreError) -> Outcome {
        match self.decide(id, rev, None, None).await {
            Outcome::Won(etag) => Outcome::Won(etag),
            _ => Outcome::Undecided(Some(lost)),
        }
    }

    /// Asks the record who wrote it.
    async fn decide(&self, id: &str, rev: &str, base: Option<&str>, cause: Option<StoreError>) -> Outcome {
        let Ok(Some((object, decoded))) = self.load_any(id).await else { return Outcome::Undecided(cause) };
        let Some(stamp) = decoded.stamp else { return Outcome::Undecided(cause) };
        if stamp.contains(rev) {
            return Outcome::Won(if stamp.rev == rev { object.meta.etag } else { String::new() });
        }
        let lost = match base {
            Some(base) => stamp.contains(base),
            None => stamp.is_complete(),
        };
        if lost { Outcome::Lost } else { Outcome::Undecided(cause) }
    }
}

fn decode(resource: &catalog::Resource, object: &Object) -> std::result::Result<Decoded, s3db_format::FormatError> {
    let content_type = object.meta.content_type.as_deref();
    record::decode(resource, StoredObject { headers: &object.meta.headers, content_type, body: &object.body })
}

fn names_unknown_version(resource: &catalog::Resource, object: &Object) -> bool {
    object.meta.headers.get("_v").is_some_and(|v| resource.version(v).is_none())
}

/// Ids that old buckets hold stay readable, whatever they are made of; what no store could hold is
/// refused before a request is sent.
pub(crate) fn check_readable_id(id: &str) -> Result<()> {
    let fits = !id.is_empty() && id.len() <= s3db_format::limits::KEY_BYTES && !id.contains('\0');
    if fits { Ok(()) } else { Ok(keys::check_id(id)?) }
}

fn prepared(attributes: Map<String, Value>, encoded: Encoded) -> Prepared {
    let size = encoded.body.len() as u64 + header_size(&encoded.headers);
    let mut attributes = attributes;
    let truncated = !encoded.truncated.is_empty();
    for (path, text) in &encoded.truncated {
        record::set_path(&mut attributes, path, Value::String(text.clone()));
    }
    let headers: BTreeMap<String, String> = encoded.headers;
    let put =
        Put { body: Bytes::from(encoded.body), headers, content_type: Some(encoded.content_type), ..Put::default() };
    Prepared { put, attributes, truncated, size }
}

/// The stored texts of secrets whose values a write leaves as they are.
pub(super) fn kept_secrets(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    stored: &[SecretField],
) -> HashMap<String, String> {
    let unchanged = |field: &&SecretField| {
        let (old, new) = (
            s3db_format::partition::get_path(before, &field.path),
            s3db_format::partition::get_path(after, &field.path),
        );
        old.is_some() && old == new
    };
    stored.iter().filter(unchanged).map(|f| (f.path.clone(), f.ciphertext.clone())).collect()
}
