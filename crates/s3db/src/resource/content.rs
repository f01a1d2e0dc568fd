//! User content: bytes that share an object with a record.
//!
//! Such a record lives in headers alone, and compare-and-swap covers the content alone: keep fields
//! that change often in another record.

use bytes::Bytes;
use s3db_format::keys;
use s3db_format::record;
use s3db_format::revision::{Stamp, UNSTAMPED};
use s3db_store::Precondition;

use super::Resource;
use super::write::{Outcome, Source, kept_secrets};
use crate::access::Verb;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventKind};

/// Bytes of content in one request.
const MAX_BYTES: usize = 1 << 30;
const ATTEMPTS: u32 = 16;

/// A record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub body: Bytes,
    /// Their type.
    pub content_type: String,
}

impl Resource {
    /// Puts content on a record, in place of what it had. Costs 2 requests.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if the record's fields do not fit in headers, or the content is larger
    /// than 1 GiB.
    pub async fn set_content(&self, id: &str, body: impl Into<Bytes>, content_type: &str) -> Result<()> {
        self.may(Verb::Update)?;
        let body = body.into();
        if body.len() > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("content of {} bytes; at most {MAX_BYTES} are allowed", body.len()),
            ));
        }
        if body.is_empty() {
            return self.delete_content(id).await;
        }
        if content_type.is_empty() || content_type.chars().any(|c| !c.is_ascii() || c.is_ascii_control()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("'{}' is no content type", content_type.escape_default()),
            )
            .guide("write one such as image/png"));
        }
        self.write_content(id, Some(record::Content { body: &body, content_type })).await
    }

    /// Reads a record's content; `None` if it has none. Costs 1 request.
    ///
    /// # Errors
    /// `NotFound` if there is no such record.
    pub async fn content(&self, id: &str) -> Result<Option<Content>> {
        self.may(Verb::Read)?;
        let Some((object, decoded)) = self.load(id).await? else { return Err(self.missing(id)) };
        let content_type = object.meta.content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
        Ok(decoded.has_content.then_some(Content { body: object.body, content_type }))
    }

    /// Whether a record has content. Costs 1 request.
    ///
    /// # Errors
    /// `NotFound` if there is no such record.
    pub async fn has_content(&self, id: &str) -> Result<bool> {
        self.may(Verb::Read)?;
        Ok(self.content(id).await?.is_some())
    }

    /// Takes a record's content away; its fields stay. Costs 2 requests.
    ///
    /// # Errors
    /// `NotFound` if there is no such record.
    pub async fn delete_content(&self, id: &str) -> Result<()> {
        self.may(Verb::Update)?;
        self.write_content(id, None).await
    }

    async fn write_content(&self, id: &str, content: Option<record::Content<'_>>) -> Result<()> {
        keys::check_key(0, &keys::record(&self.name, id), "id")?;
        for attempt in 0..ATTEMPTS {
            let resource = self.inner.resource_for_write(&self.name).await?;
            let Some((object, mut decoded)) = self.load(id).await? else { return Err(self.missing(id)) };
            self.inner.secrets.reveal(&mut decoded, &|_| true).await?;
            let rev = self.inner.ulid();
            let stamp = match &decoded.stamp {
                Some(old) => old.next(rev, self.inner.recent().as_deref()),
                None => Stamp::over_unstamped(rev, Default::default()),
            };
            // The record stays under the version that it was written with: no field changes.
            let version = resource.version(&decoded.version).unwrap_or(resource.current());
            let secrets = kept_secrets(&decoded.attributes, &decoded.attributes, &decoded.secrets);
            let source =
                Source { id, attributes: decoded.attributes.clone(), stamp: &stamp, kept_secrets: secrets, content };
            let prepared = self.prepare(version, source).await?;
            let base = decoded.stamp.as_ref().map_or(UNSTAMPED, |s| s.rev.as_str());
            let precondition = Precondition::Matches(object.meta.etag);
            match self.put_decided(id, &prepared.put, precondition, &stamp.rev, Some(base)).await? {
                Outcome::Won(_) => {
                    self.inner.events.emit(|| Event {
                        kind: EventKind::Content,
                        resource: self.name.clone(),
                        id: id.to_owned(),
                        before: None,
                        after: Some(decoded.attributes),
                    });
                    return Ok(());
                }
                Outcome::Lost => self.inner.back_off(attempt).await,
                Outcome::Undecided(cause) => {
                    return Err(Error::undecided(&format!("the change of the content of {}", self.what(id)), cause));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{} was changed by others {ATTEMPTS} times in a row", self.what(id)),
        )
        .guide("try again"))
    }
}
