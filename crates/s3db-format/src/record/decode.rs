//! Reading a record, by the steps of `docs/format.md`: decode headers, find the version, choose the
//! map it was written with, take the body where it belongs to the record, decode once.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::map::set_path;
use super::{Decoded, SecretField, StoredObject};
use crate::catalog::Resource;
use crate::error::FormatError;
use crate::header::{self, HeaderValue};
use crate::resource::{Behavior, Version, number_of};
use crate::revision::{self, Stamp};
use crate::rule::Kind;
use crate::schema::Attribute;
use crate::value::Codec;

/// Reads a record.
///
/// # Errors
/// The record names a version that the catalog does not have, or its body is needed and is not what
/// the format says. One damaged record is an error of that record, never an empty one.
pub fn decode(resource: &Resource, object: StoredObject<'_>) -> Result<Decoded, FormatError> {
    let headers: BTreeMap<&str, HeaderValue> =
        object.headers.iter().map(|(name, value)| (name.as_str(), header::decode(value))).collect();
    let text = |name: &str| match headers.get(name) {
        Some(HeaderValue::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let version = match text("_v") {
        Some(name) => resource.version(&name).ok_or_else(|| {
            FormatError::Corrupt(format!(
                "the record was written under version {name}, which the catalog does not have"
            ))
        })?,
        None => resource.current(),
    };
    let mut reader = Reader {
        version,
        fields: Vec::new(),
        decoded: Decoded { version: version.name.clone(), ..Decoded::default() },
    };
    reader.decoded.truncated = text("_truncated").as_deref() == Some("true");
    let has_content = is_content(&object, &text);
    let body = if has_content { None } else { parse_body(object.body) };
    reader.decoded.has_content = has_content || (body.is_none() && !object.body.is_empty());
    if !has_content && is_cut_json(&object) {
        return Err(FormatError::Corrupt(
            "the body is of type application/json and is no JSON: it was cut or changed".into(),
        ));
    }
    let from_body = body.as_ref().and_then(Stamp::from_body);
    reader.decoded.stamp = from_body.or_else(|| Stamp::from_headers(text));
    let marked = body.as_ref().and_then(|b| b.get(revision::DELETED)) == Some(&Value::Bool(true));
    reader.decoded.deleted = marked || text(revision::DELETED).as_deref() == Some("true");

    let attributes: Vec<(&str, &HeaderValue)> =
        headers.iter().filter(|(name, _)| !is_system(name)).map(|(n, v)| (*n, v)).collect();
    if let Some(map) = text("_map") {
        reader.take_mapped_body(&map, body.as_ref())?;
    } else {
        let overflow = text("_overflow").as_deref() == Some("true");
        let whole = attributes.is_empty() && matches!(version.behavior, Behavior::UserManaged | Behavior::BodyOnly);
        if overflow && body.is_none() {
            return Err(FormatError::Corrupt(
                "the record continues in its body, and the body is no JSON object".into(),
            ));
        }
        if let Some(body) = body.as_ref().filter(|_| overflow || whole) {
            reader.take_body(body);
        }
        reader.take_headers(resource, &attributes);
        if let Some(body) = body.as_ref().filter(|b| !overflow && !attributes.is_empty() && is_clear_copy(version, b)) {
            reader.take_clear_copy(body);
        }
    }
    let exact = body.as_ref().and_then(|b| b.get(revision::EXACT)).cloned();
    let exact = exact.or_else(|| text(revision::EXACT).and_then(|t| serde_json::from_str(&t).ok()));
    Ok(reader.finish(exact))
}

/// Headers that are no attributes.
fn is_system(name: &str) -> bool {
    name.starts_with('_') || matches!(name, "id" | "metadata_updatedat")
}

/// Whether the body was put there by a user: marked so, or of a type that no record has.
fn is_content(object: &StoredObject<'_>, text: &dyn Fn(&str) -> Option<String>) -> bool {
    if object.body.is_empty() {
        return false;
    }
    let marked = text("_hascontent").as_deref() == Some("true") && object.headers.contains_key("id");
    let kind = object.content_type.and_then(|t| t.split(';').next()).map(str::trim);
    marked || kind.is_some_and(|t| !t.eq_ignore_ascii_case("application/json"))
}

/// Both programs give a body this type only if it is JSON.
fn is_cut_json(object: &StoredObject<'_>) -> bool {
    object.content_type.is_some_and(|t| t.starts_with("application/json"))
        && !object.body.is_empty()
        && serde_json::from_slice::<serde::de::IgnoredAny>(object.body).is_err()
}

fn parse_body(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// The body of a 9.2.0 update: the whole record once more, unmapped and in clear.
fn is_clear_copy(version: &Version, body: &Map<String, Value>) -> bool {
    version.behavior == Behavior::UserManaged && body.contains_key("_v") && body.contains_key("_hasContent")
}

struct Reader<'a> {
    version: &'a Version,
    fields: Vec<(String, Value)>,
    decoded: Decoded,
}

impl Reader<'_> {
    /// `body-only`: the map that the record was written with stands beside it.
    fn take_mapped_body(&mut self, map: &str, body: Option<&Map<String, Value>>) -> Result<(), FormatError> {
        let damaged = |what: &str| FormatError::Corrupt(format!("a body-only record whose {what}"));
        let map: HashMap<String, String> =
            serde_json::from_str(map).map_err(|_| damaged("header _map is no JSON object of texts"))?;
        let paths: HashMap<&str, &str> = map.iter().map(|(path, key)| (key.as_str(), path.as_str())).collect();
        let body = body.ok_or_else(|| damaged("body is no JSON object"))?;
        for (key, value) in body.iter().filter(|(k, _)| is_member(k)) {
            let path = paths.get(key.as_str()).copied().unwrap_or(key);
            self.put(path, value);
        }
        Ok(())
    }

    fn take_body(&mut self, body: &Map<String, Value>) {
        for (key, value) in body.iter().filter(|(k, _)| is_member(k)) {
            let path = self.version.schema.by_key(key).map_or(key.as_str(), |m| m.path.as_str());
            self.put(path, value);
        }
    }

    fn take_headers(&mut self, resource: &Resource, headers: &[(&str, &HeaderValue)]) {
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let paths = choose_map(resource, self.version, &names, self.decoded.stamp.is_some());
        for (name, value) in headers {
            let path = paths.get(*name).map_or(*name, String::as_str).to_owned();
            match value {
                HeaderValue::Undefined => {}
                HeaderValue::Null => self.put(&path, &Value::Null),
                HeaderValue::Text(text) => self.put(&path, &Value::String(text.clone())),
            }
        }
    }

    /// Takes from the clear copy only what headers cannot hold: names in mixed case and undeclared
    /// values. Secrets in it are never used.
    fn take_clear_copy(&mut self, body: &Map<String, Value>) {
        for (name, value) in body {
            let bookkeeping =
                name == "metadata" && value.as_object().is_some_and(|m| m.keys().all(|k| k == "updatedAt"));
            let known = self.fields.iter().any(|(path, _)| path == name || path.starts_with(&format!("{name}.")));
            if name.starts_with('_')
                || name == "id"
                || known
                || bookkeeping
                || self.version.schema.attribute(name).is_some()
            {
                continue;
            }
            let lower = header::name(name);
            if lower != *name {
                self.fields.retain(|(path, _)| *path != lower);
            }
            self.fields.push((name.clone(), value.clone()));
        }
    }

    /// Decodes one value and keeps it, replacing what the body said before.
    fn put(&mut self, path: &str, stored: &Value) {
        let codec = self.version.schema.mapped(path).map_or(Codec::Whole, |m| m.codec);
        let value = match stored {
            Value::String(text) if text.is_empty() && codec.empty_is_absent() => return,
            Value::String(text) => codec.decode(text),
            other => other.clone(),
        };
        self.decoded.secrets.retain(|s| s.path != path);
        if let (Codec::Secret { number }, Value::String(ciphertext)) = (codec, &value) {
            self.decoded.secrets.push(SecretField { path: path.to_owned(), ciphertext: ciphertext.clone(), number });
        }
        self.fields.retain(|(known, _)| known != path);
        self.fields.push((path.to_owned(), value));
    }

    /// Orders the fields as the definition does and builds the tree.
    fn finish(mut self, exact: Option<Value>) -> Decoded {
        if let Some(Value::Object(exact)) = exact {
            for (path, value) in exact {
                self.fields.retain(|(known, _)| *known != path);
                self.fields.push((path, value));
            }
        }
        let rank: HashMap<&str, usize> =
            self.version.schema.paths().iter().enumerate().map(|(at, m)| (m.path.as_str(), at)).collect();
        self.fields.sort_by_key(|(path, _)| rank.get(path.as_str()).copied().unwrap_or(usize::MAX));
        for (path, value) in self.fields {
            set_path(&mut self.decoded.attributes, &path, value);
        }
        self.decoded
    }
}

fn is_member(key: &str) -> bool {
    !key.starts_with('_') && key != "metadata.updatedAt"
}

/// Which path each header name stands for: the map of the version that the record names, or, for
/// records of a 9.2.0 process that changed the schema while it ran, an older map with the new
/// attributes under their own names.
fn choose_map(resource: &Resource, version: &Version, names: &[&str], ours: bool) -> HashMap<String, String> {
    let own = map_of(version, version);
    let number = number_of(&version.name);
    if ours || number.is_none() {
        return own;
    }
    let candidates: Vec<HashMap<String, String>> = resource
        .versions()
        .iter()
        .rev()
        .filter(|v| v.number() <= number)
        .filter(|v| fits(v, version, names))
        .map(|v| map_of(v, version))
        .collect();
    let complete = candidates.iter().find(|map| !misses_required(map, version, names));
    complete.or(candidates.first()).cloned().unwrap_or(own)
}

/// Header name → path under `map_version`'s keys, with the attributes that only `version` has under
/// their literal names. Of keys that collide once lower-cased the first wins.
fn map_of(map_version: &Version, version: &Version) -> HashMap<String, String> {
    let mut paths = HashMap::new();
    for mapped in map_version.schema.paths() {
        paths.entry(mapped.key.to_lowercase()).or_insert_with(|| mapped.path.clone());
    }
    for mapped in version.schema.paths() {
        paths.entry(header::name(&mapped.path)).or_insert_with(|| mapped.path.clone());
    }
    paths
}

fn fits(map_version: &Version, version: &Version, names: &[&str]) -> bool {
    names.iter().all(|name| {
        let is_key = map_version.schema.paths().iter().any(|m| m.key.to_lowercase() == *name);
        let literal = version.schema.paths().iter().find(|m| header::name(&m.path) == *name);
        match literal {
            _ if is_key => true,
            Some(mapped) => map_version.schema.mapped(&mapped.path).is_none(),
            None => name.len() > 2,
        }
    })
}

fn misses_required(map: &HashMap<String, String>, version: &Version, names: &[&str]) -> bool {
    let present: Vec<&str> = names.iter().filter_map(|n| map.get(*n)).map(String::as_str).collect();
    version.schema.root().iter().any(|(name, attribute)| match attribute {
        Attribute::Leaf(rule) => {
            !rule.is_optional() && rule.kind != Kind::Forbidden && name != "id" && !present.contains(&name.as_str())
        }
        _ => false,
    })
}
