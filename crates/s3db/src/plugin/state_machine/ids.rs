//! Ids of rows: a function of the two names, so that no two entities ever share a row.

use serde_json::json;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of an entity's name at most, so that every key made from it fits.
pub(super) const ENTITY_BYTES: usize = 256;
/// Digits of the version in the id of a log row.
const VERSION_DIGITS: usize = 12;
/// Bytes of the id of an entity's row at most, so that its log rows have ids, too.
const ROW_BYTES: usize = s3db_format::limits::ID_BYTES - VERSION_DIGITS - 1;

/// An entity's two names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Names {
    pub(super) machine: String,
    pub(super) entity: String,
}

impl Names {
    /// Checks the names.
    ///
    /// # Errors
    /// `Invalid` for a machine's name that cannot be, and for an entity that is empty, too long, or has
    /// control characters.
    pub(super) fn new(machine: &str, entity: &str) -> Result<Self> {
        s3db_format::keys::check_name("machine", machine)?;
        let complaint = match () {
            () if entity.is_empty() => "cannot be empty".to_owned(),
            () if entity.len() > ENTITY_BYTES => {
                format!("has {} bytes, at most {ENTITY_BYTES} are allowed", entity.len())
            }
            () if entity.chars().any(char::is_control) => format!("{entity:?} cannot contain control characters"),
            () => {
                let names = Self { machine: machine.to_owned(), entity: entity.to_owned() };
                let row = names.row().len();
                if row <= ROW_BYTES {
                    return Ok(names);
                }
                format!("makes a row id of {row} bytes, at most {ROW_BYTES} are allowed; shorten it")
            }
        };
        let message = format!("entity {complaint}");
        let fields = json!([{ "field": "entity", "rule": "key", "message": message }]);
        Err(Error::new(ErrorKind::Invalid, message)
            .guide("nothing was changed; use the id of the record that the entity is about")
            .detail(json!({ "fields": fields })))
    }

    /// The id of the entity's row. Machines have no `~` in their names, so the two forms never meet.
    pub(super) fn row(&self) -> String {
        if self.machine.contains('_') || self.entity.contains('/') { self.escaped() } else { self.plain() }
    }

    /// The form in which no two names meet.
    pub(super) fn escaped(&self) -> String {
        format!("~{}~{}", self.machine, escape(&self.entity))
    }

    /// The id that s3db.js gives, in which different names may meet.
    pub(super) fn plain(&self) -> String {
        format!("{}_{}", self.machine, self.entity)
    }

    pub(super) fn what(&self) -> String {
        format!("{}/{}", self.machine, self.entity)
    }
}

/// The id of a log row.
pub(super) fn log_row(entity_row: &str, version: u64) -> String {
    format!("{entity_row}_{version:0VERSION_DIGITS$}")
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F").replace('~', "%7E")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn different_names_have_different_rows() {
        let machines = ["a", "a_b", "a_b_c", "a.b", "b"];
        let entities =
            ["b_c", "c", "b", "a_b_c", "~", "~b~c", "%7E", "/", "%2F", "x/y", "x%2Fy", "a~b", "_", "c_000000000001"];
        let mut seen: HashMap<String, Names> = HashMap::new();
        for machine in machines {
            for entity in entities {
                let names = Names::new(machine, entity).unwrap();
                if let Some(other) = seen.insert(names.row(), names.clone()) {
                    panic!("{names:?} and {other:?} share the row {}", names.row());
                }
                assert!(s3db_format::keys::check_id(&names.row()).is_ok());
            }
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused_by_field() {
        for entity in ["", "a\nb", &"x".repeat(257)] {
            let error = Names::new("m", entity).unwrap_err();
            assert_eq!(
                (error.kind(), error.details().unwrap()["fields"][0]["field"].as_str()),
                (ErrorKind::Invalid, Some("entity"))
            );
        }
        assert!(Names::new("", "e").is_err() && Names::new("a/b", "e").is_err() && Names::new("~", "e").is_err());
    }
}
