//! Dotted paths in a record.

use serde_json::{Map, Value};

/// Sets a dotted path, making objects on the way. An empty object never replaces a filled one.
pub(super) fn set_path(record: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            let empty = value.as_object().is_some_and(Map::is_empty);
            let filled = record.get(path).is_some_and(Value::is_object);
            if !(empty && filled) {
                record.insert(path.to_owned(), value);
            }
        }
        Some((head, rest)) => {
            let slot = record.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(inner) = slot {
                set_path(inner, rest, value);
            }
        }
    }
}

/// Removes a dotted path; whether something was there.
pub(super) fn remove_path(record: &mut Map<String, Value>, path: &str) -> bool {
    if record.shift_remove(path).is_some() {
        return true;
    }
    match path.split_once('.') {
        Some((head, rest)) => match record.get_mut(head) {
            Some(Value::Object(inner)) => remove_path(inner, rest),
            _ => false,
        },
        None => false,
    }
}
