//! A record as callers get it.

use std::collections::BTreeMap;

use s3db_format::record::Decoded;
use s3db_store::Object;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its attributes, secrets decrypted.
    pub attributes: Map<String, Value>,
    /// What is known of the stored object; empty where a query was answered from keys alone.
    pub meta: Meta,
}

/// What is known of a stored record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The revision, an opaque text, for `expected_rev`.
    pub rev: String,
    /// The version of the definition it was written under.
    pub version: String,
    /// Bytes of its body and headers.
    pub size: u64,
    /// When it was written, RFC 3339.
    pub modified: String,
    /// Whether it holds user content.
    pub has_content: bool,
    /// Whether texts were cut to fit (`truncate-data`).
    pub truncated: bool,
}

impl Meta {
    /// Of a row that was answered from a key: nothing.
    pub(crate) fn unread() -> Self {
        Self {
            rev: String::new(),
            version: String::new(),
            size: 0,
            modified: String::new(),
            has_content: false,
            truncated: false,
        }
    }

    pub(crate) fn of(object: &Object, decoded: &Decoded) -> Self {
        let token = decoded.stamp.as_ref().map_or(s3db_format::revision::UNSTAMPED, |s| s.rev.as_str());
        Self {
            rev: revision(token, &object.meta.etag),
            version: decoded.version.clone(),
            size: object.meta.size + header_size(&object.meta.headers),
            modified: s3db_format::date::rfc3339(object.meta.modified_ms),
            has_content: decoded.has_content,
            truncated: decoded.truncated,
        }
    }
}

pub(crate) fn header_size(headers: &BTreeMap<String, String>) -> u64 {
    headers.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

/// The revision handed to callers: our token and the ETag, so that a write of s3db.js, which keeps
/// neither, changes it too.
pub(crate) fn revision(token: &str, etag: &str) -> String {
    format!("{token}-{etag}")
}

impl Record {
    /// The record as JSON, `id` first.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("id".into(), json!(self.id));
        for (name, value) in &self.attributes {
            if name != "id" {
                members.insert(name.clone(), value.clone());
            }
        }
        Value::Object(members)
    }

    /// The record as JSON with `_meta` at its end.
    pub fn to_json_with_meta(&self) -> Value {
        let mut value = self.to_json();
        if let Some(members) = value.as_object_mut() {
            members.insert("_meta".into(), json!(self.meta));
        }
        value
    }
}
