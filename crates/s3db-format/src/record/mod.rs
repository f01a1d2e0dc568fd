//! A record as an object: headers, content type and body.
//!
//! [`encode`] lays a record out under its resource's behaviour; [`decode`] reads any record that
//! s3db.js 9.2.0 or this crate wrote, under the schema of the version that wrote it.

mod decode;
mod encode;
mod map;
mod tombstone;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::revision::Stamp;

pub use decode::decode;
pub use encode::encode;
pub use tombstone::tombstone;

/// An object as a store returns it; header names in lower case, without `x-amz-meta-`.
#[derive(Debug, Clone, Copy)]
pub struct StoredObject<'a> {
    /// The user metadata.
    pub headers: &'a BTreeMap<String, String>,
    /// The `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// A record as it was read.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    /// The attributes. Secrets are still encrypted: see `secrets`.
    pub attributes: Map<String, Value>,
    /// The encrypted fields.
    pub secrets: Vec<SecretField>,
    /// The version it was written under.
    pub version: String,
    /// Our token, `None` if another program wrote the record last.
    pub stamp: Option<Stamp>,
    /// Whether the body is content that a user put there.
    pub has_content: bool,
    /// Whether values were cut to fit.
    pub truncated: bool,
    /// Whether a delete is under way, so that the record counts as absent.
    pub deleted: bool,
}

/// One encrypted field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretField {
    /// The dotted path.
    pub path: String,
    /// The stored text.
    pub ciphertext: String,
    /// Whether the plaintext is a number.
    pub number: bool,
}

impl Decoded {
    /// Puts the plaintext of a secret field in its place.
    pub fn reveal(&mut self, field: &SecretField, plaintext: String) {
        let value = crate::value::secret_value(field.number, plaintext);
        map::set_path(&mut self.attributes, &field.path, value);
    }

    /// Removes a secret that the caller did not ask for.
    pub fn forget(&mut self, field: &SecretField) {
        map::remove_path(&mut self.attributes, &field.path);
    }
}

/// What is to be written.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The record's id.
    pub id: &'a str,
    /// The checked attributes, secrets in clear.
    pub attributes: &'a Map<String, Value>,
    /// Dotted path → encrypted text, for every secret that is neither missing nor null.
    pub sealed: &'a HashMap<String, String>,
    /// The token.
    pub stamp: &'a Stamp,
    /// User content that shares the object; the record then lives in headers alone.
    pub content: Option<Content<'a>>,
}

/// User content.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Its bytes.
    pub body: &'a [u8],
    /// Its type.
    pub content_type: &'a str,
}

/// An object as it is to be put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The user metadata, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
    /// Texts that were cut to fit: dotted path and what is left.
    pub truncated: Vec<(String, String)>,
}

/// Removes the value at a dotted path, and the parents that it leaves empty only if they were made
/// for it by the caller: parents stay.
pub fn remove_path(record: &mut Map<String, Value>, path: &str) -> bool {
    map::remove_path(record, path)
}

/// Sets the value at a dotted path, making objects on the way.
pub fn set_path(record: &mut Map<String, Value>, path: &str, value: Value) {
    map::set_path(record, path, value);
}
