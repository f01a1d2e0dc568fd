//! Marking a record as being deleted.
//!
//! In a database that s3db.js shares, a delete first marks its record, so that no writer of ours builds
//! on it while the references go. For us the record is then absent; s3db.js still reads it.

use serde_json::{Map, Value, json};

use super::{Decoded, Encoded, StoredObject};
use crate::revision::{self, Stamp};

/// The object of a record with the mark and a new token.
pub fn tombstone(object: StoredObject<'_>, decoded: &Decoded, stamp: &Stamp) -> Encoded {
    let mut encoded = Encoded {
        headers: object.headers.clone(),
        content_type: object.content_type.unwrap_or("application/json").to_owned(),
        body: object.body.to_vec(),
        truncated: Vec::new(),
    };
    let members = if decoded.has_content { None } else { members(object.body) };
    match members {
        // The token stands in the body, and so does the mark.
        Some(mut members) if !object.headers.contains_key("_map") => {
            members.extend(stamp.body_members());
            members.insert(revision::DELETED.into(), json!(true));
            encoded.body = Value::Object(members).to_string().into_bytes();
            encoded.content_type = "application/json".into();
        }
        members => {
            if members.is_some() {
                let text = String::from_utf8_lossy(object.body);
                encoded.body = format!("{}{}", text.trim_end(), revision::white_space(&stamp.rev)).into_bytes();
            }
            encoded.headers.extend(stamp.headers());
            encoded.headers.insert(revision::DELETED.to_owned(), "true".to_owned());
        }
    }
    encoded
}

/// The members of a record's body; an empty body has none.
fn members(body: &[u8]) -> Option<Map<String, Value>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(Map::new());
    }
    serde_json::from_slice::<Value>(body).ok()?.as_object().cloned()
}
