//! A bucket in one JSON file: `{"key_prefix", "objects": [{"key", "content_type", "metadata",
//! "body_base64"}]}`. It is read into memory, as the source of a copy.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use s3db_store::memory::Memory;
use s3db_store::{Precondition, Put, Store};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
struct Dump {
    #[serde(default)]
    key_prefix: String,
    objects: Vec<DumpedObject>,
}

#[derive(Deserialize)]
struct DumpedObject {
    key: String,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    body_base64: String,
}

pub(super) fn is_dump(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json") && path.is_file()
}

pub(super) async fn load(path: &Path) -> Result<Arc<dyn Store>> {
    use base64::Engine as _;
    let invalid =
        |reason: String| Error::new(ErrorKind::Invalid, format!("{} is no bucket dump: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| invalid(e.to_string()))?;
    let objects = objects_of(&text).map_err(|e| invalid(e.to_string()))?;
    let store = Memory::new();
    for object in objects {
        let body = base64::engine::general_purpose::STANDARD
            .decode(&object.body_base64)
            .map_err(|e| invalid(format!("the body of '{}' is no base64: {e}", object.key)))?;
        let headers = object.metadata.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let put = Put { body: Bytes::from(body), headers, content_type: object.content_type, ..Put::default() };
        store.put(&object.key, put, Precondition::None).await?;
    }
    Ok(Arc::new(store))
}

/// Reads member by member: what else the file says is of no concern, and may hold text that JSON
/// of JavaScript allows and Rust does not.
fn objects_of(text: &str) -> serde_json::Result<Vec<DumpedObject>> {
    let members: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_str(text)?;
    let raw = |name: &str, default: &str| members.get(name).map_or(default.to_owned(), |v| v.get().to_owned());
    let dump = Dump {
        key_prefix: serde_json::from_str(&raw("key_prefix", "\"\""))?,
        objects: serde_json::from_str(&raw("objects", "null"))?,
    };
    let prefix =
        if dump.key_prefix.is_empty() { String::new() } else { format!("{}/", dump.key_prefix.trim_end_matches('/')) };
    let inside = |mut object: DumpedObject| {
        object.key = object.key.strip_prefix(&prefix)?.to_owned();
        Some(object)
    };
    Ok(dump.objects.into_iter().filter_map(inside).collect())
}
