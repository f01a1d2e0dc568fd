//! Merging a patch into a record.

use s3db_format::record::{remove_path, set_path};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The member of a patch that lists the paths to remove.
const UNSET: &str = "$unset";

/// Merges: objects at every depth, arrays and scalars replace, null stores null, dotted keys address
/// nested fields, `{"$unset": ["a.b"]}` removes.
pub(crate) fn merge(record: &Map<String, Value>, patch: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut merged = record.clone();
    for (name, value) in patch {
        match name.as_str() {
            UNSET => unset(&mut merged, value)?,
            dotted if dotted.contains('.') && !merged.contains_key(dotted) => merge_path(&mut merged, dotted, value),
            _ => merge_member(&mut merged, name, value),
        }
    }
    Ok(merged)
}

fn merge_path(record: &mut Map<String, Value>, path: &str, value: &Value) {
    match path.split_once('.') {
        Some((head, rest)) => match record.get_mut(head) {
            Some(Value::Object(inner)) => merge_path(inner, rest, value),
            _ => set_path(record, path, value.clone()),
        },
        None => merge_member(record, path, value),
    }
}

fn merge_member(record: &mut Map<String, Value>, name: &str, value: &Value) {
    match (record.get_mut(name), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (inner, value) in new {
                merge_member(old, inner, value);
            }
        }
        _ => {
            record.insert(name.to_owned(), value.clone());
        }
    }
}

fn unset(record: &mut Map<String, Value>, paths: &Value) -> Result<()> {
    let invalid = || {
        Error::new(ErrorKind::Invalid, "'$unset' must be a list of dotted paths")
            .guide("write {\"$unset\": [\"a.b\"]}; nothing was written")
    };
    for path in paths.as_array().ok_or_else(invalid)? {
        remove_path(record, path.as_str().ok_or_else(invalid)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(record: Value, patch: Value) -> Value {
        Value::Object(merge(record.as_object().unwrap(), patch.as_object().unwrap()).unwrap())
    }

    #[test]
    fn objects_merge_at_every_depth_and_the_rest_replaces() {
        let record = json!({"a": {"b": {"c": 1, "d": 2}}, "l": [1, 2, 3], "n": 5});
        let patch = json!({"a": {"b": {"c": 9}}, "l": [9], "n": null});
        assert_eq!(merged(record, patch), json!({"a": {"b": {"c": 9, "d": 2}}, "l": [9], "n": null}));
    }

    #[test]
    fn dotted_keys_address_nested_fields_and_unset_removes() {
        let record = json!({"a": {"b": 1, "c": 2}});
        assert_eq!(merged(record.clone(), json!({"a.b": 9, "x.y": 1})), json!({"a": {"b": 9, "c": 2}, "x": {"y": 1}}));
        assert_eq!(merged(record, json!({"$unset": ["a.b", "no.such"]})), json!({"a": {"c": 2}}));
    }
}
