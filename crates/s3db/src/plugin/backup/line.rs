//! Lines of segments and of the index: one object of the database each.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sealed::hex;
use crate::error::{Error, ErrorKind, Result};

/// An object as a segment holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Line {
    pub(super) key: String,
    /// It was there in the parent and is no more; then nothing else is said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    /// Bytes of the body.
    #[serde(default)]
    pub(super) size: u64,
    /// When it was written, in milliseconds since 1970.
    #[serde(default)]
    pub(super) modified: i64,
    /// The digest of [`Fingerprint`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
    /// The body where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<String>,
    /// The body where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// The files that hold the body, one after the other, where it is large.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<String>,
}

/// An object as the index holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IndexLine {
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) modified: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) sha256: String,
    /// The digest of content type and headers, where the ETag is one of an upload in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<String>,
    /// The number of the segment.
    pub(super) segment: usize,
}

/// The digest of an object: SHA-256 of `{"contentType":…,"headers":{…}}`, a line feed, and the body. It says
/// nothing of times and ETags, which a restore cannot keep.
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(super) fn begin(content_type: Option<&str>, headers: &BTreeMap<String, String>) -> Self {
        let mut digest = Sha256::new();
        digest.update(head_text(content_type, headers));
        digest.update(b"\n");
        Self(digest)
    }

    pub(super) fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    pub(super) fn end(self) -> String {
        hex(&self.0.finalize())
    }

    pub(super) fn of(content_type: Option<&str>, headers: &BTreeMap<String, String>, body: &[u8]) -> String {
        let mut fingerprint = Self::begin(content_type, headers);
        fingerprint.update(body);
        fingerprint.end()
    }
}

/// The digest of content type and headers alone.
pub(super) fn head_digest(content_type: Option<&str>, headers: &BTreeMap<String, String>) -> String {
    super::sealed::sha256(head_text(content_type, headers).as_bytes())
}

fn head_text(content_type: Option<&str>, headers: &BTreeMap<String, String>) -> String {
    serde_json::json!({ "contentType": content_type, "headers": headers }).to_string()
}

impl Line {
    /// Says that an object is gone.
    pub(super) fn gone(key: String) -> Self {
        Self { key, deleted: true, ..Self::default() }
    }

    /// Takes the body of a small object.
    pub(super) fn with_body(mut self, body: &Bytes) -> Self {
        match std::str::from_utf8(body) {
            Ok("") => {}
            Ok(text) => self.body = Some(text.to_owned()),
            Err(_) => self.base64 = Some(STANDARD.encode(body)),
        }
        self
    }

    /// The body of a small object.
    pub(super) fn small_body(&self) -> Result<Bytes> {
        match (&self.body, &self.base64) {
            (Some(text), _) => Ok(Bytes::from(text.clone())),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|e| Error::new(ErrorKind::Integrity, format!("the body of '{}' is damaged: {e}", self.key))),
            (None, None) => Ok(Bytes::new()),
        }
    }

    /// Its line in the index.
    pub(super) fn index(&self, segment: usize) -> IndexLine {
        let in_parts = self.etag.contains('-');
        IndexLine {
            key: self.key.clone(),
            deleted: self.deleted,
            etag: self.etag.clone(),
            size: self.size,
            modified: self.modified,
            sha256: self.sha256.clone(),
            head: in_parts.then(|| head_digest(self.content_type.as_deref(), &self.headers)),
            segment,
        }
    }

    /// Whether the fingerprint fits; large bodies are checked where their files are read.
    pub(super) fn check(&self) -> Result<()> {
        if self.deleted || !self.files.is_empty() {
            return Ok(());
        }
        let body = self.small_body()?;
        let found = Fingerprint::of(self.content_type.as_deref(), &self.headers, &body);
        if body.len() as u64 == self.size && found == self.sha256 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Integrity, format!("the object '{}' does not have the digest of its line", self.key)))
    }
}
