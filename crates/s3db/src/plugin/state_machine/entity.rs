//! An entity as it is stored: one row of the state resource, written by compare-and-swap only.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::record_text;
use crate::error::{Error, ErrorKind, Result};

/// Keyed sends that an entity remembers.
pub(super) const KEYS: usize = 64;

/// An entity.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entity {
    pub(super) machine: String,
    pub(super) entity: String,
    pub(super) state: String,
    pub(super) context: Map<String, Value>,
    /// The id of the last transition's log row.
    pub(super) last_transition: Option<String>,
    /// When it came into its state.
    pub(super) updated_at: String,
    /// Transitions so far; `None` for a row of s3db.js that nothing of ours has written yet.
    pub(super) version: Option<u64>,
    /// The hash of the definition that it runs on.
    pub(super) definition: Option<String>,
    pub(super) outbox: Outbox,
    pub(super) deadlines: Vec<Deadline>,
    pub(super) keys: Vec<KeyedSend>,
    pub(super) done: bool,
}

/// What the last transition leaves to be done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outbox {
    /// The last transition, until the next one: the log is made complete from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transition: Option<Transition>,
    /// Actions that are not done, in the order of versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<Group>,
    /// Entry actions of the beginning that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) failed: Vec<ActionResult>,
}

/// A transition: what its log row says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transition {
    pub(super) transition_id: String,
    pub(super) version: u64,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) event: String,
    /// The context after it; `None` while that is the entity's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<Map<String, Value>>,
    pub(super) payload: Map<String, Value>,
    pub(super) timestamp_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) definition: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) actions: Vec<ActionResult>,
}

/// The actions of one transition, as they are done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) version: u64,
    pub(super) transition_id: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) event: String,
    pub(super) payload: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The names of its actions.
    pub(super) actions: Vec<String>,
    /// What came of the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) results: Vec<ActionResult>,
    /// Attempts of the next one that were begun.
    pub(super) attempts: u32,
    /// Who runs it; nobody while older ones run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) runner: Option<String>,
    /// Raised by each runner that takes it over.
    pub(super) fence: u64,
    /// Until when nobody else runs it, by the store's time.
    pub(super) until_ms: i64,
    /// The instant of its key among what is due.
    pub(super) due_ms: i64,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionResult {
    /// Its name.
    pub name: String,
    /// Whether it was done; `false` after its last attempt failed.
    pub ok: bool,
    /// Attempts that were begun.
    pub attempts: u32,
    /// What it returned, if that was an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why its last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A timer that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deadline {
    /// As it was written: `30m`.
    pub(super) after: String,
    /// When it runs out.
    pub(super) at_ms: i64,
    /// The transition that began it.
    pub(super) transition_id: String,
}

/// A send with a key, and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyedSend {
    pub(super) key: String,
    pub(super) event: String,
    pub(super) payload_hash: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) version: u64,
    pub(super) timestamp_ms: i64,
    pub(super) transition_id: String,
    pub(super) has_actions: bool,
}

impl Entity {
    /// Reads a row.
    ///
    /// # Errors
    /// `Integrity` for a row that is none of an entity.
    pub(super) fn read(id: &str, row: &Map<String, Value>) -> Result<Self> {
        let damaged = |what: &str| {
            Error::new(ErrorKind::Integrity, format!("the state row '{id}' is damaged: {what}"))
                .guide("restore it from a backup, or correct it with `s3db update`")
        };
        let text = |name: &str| record_text(row, name);
        let needed = |name: &str| text(name).ok_or_else(|| damaged(&format!("'{name}' is missing")));
        let context = match row.get("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(members)) => members.clone(),
            Some(_) => return Err(damaged("'context' is no object")),
        };
        let version = match row.get("version").filter(|v| !v.is_null()) {
            None => None,
            Some(version) => Some(version.as_u64().ok_or_else(|| damaged("'version' is no whole number"))?),
        };
        Ok(Self {
            machine: needed("machineId")?,
            entity: needed("entityId")?,
            state: needed("currentState")?,
            context,
            last_transition: text("lastTransition").filter(|text| text != "null"),
            updated_at: text("updatedAt").unwrap_or_default(),
            version,
            definition: text("definition"),
            outbox: part(row, "outbox").map_err(|why| damaged(&why))?,
            deadlines: part(row, "deadlines").map_err(|why| damaged(&why))?,
            keys: part(row, "keys").map_err(|why| damaged(&why))?,
            done: row.get("done").and_then(Value::as_bool).unwrap_or_default(),
        })
    }

    /// The row. Members that it does not know are kept from the row that was read.
    pub(super) fn write(&self, mut row: Map<String, Value>) -> Value {
        let list = |items: Value| if items.as_array().is_some_and(Vec::is_empty) { Value::Null } else { items };
        let outbox = if self.outbox == Outbox::default() { Value::Null } else { json!(self.outbox) };
        let members = [
            ("machineId", json!(self.machine)),
            ("entityId", json!(self.entity)),
            ("currentState", json!(self.state)),
            ("context", json!(self.context)),
            ("lastTransition", json!(self.last_transition)),
            ("updatedAt", json!(self.updated_at)),
            ("version", json!(self.version)),
            ("definition", json!(self.definition)),
            ("outbox", outbox),
            ("deadlines", list(json!(self.deadlines))),
            ("keys", list(json!(self.keys))),
            ("done", json!(self.done)),
        ];
        for (name, value) in members {
            match value {
                Value::Null => drop(row.shift_remove(name)),
                value => drop(row.insert(name.to_owned(), value)),
            }
        }
        Value::Object(row)
    }

    /// The earliest timer.
    pub(super) fn next_deadline(&self) -> Option<&Deadline> {
        self.deadlines.iter().min_by_key(|deadline| deadline.at_ms)
    }

    /// Whether it came into its state at this instant or before.
    pub(super) fn is_since(&self, since_ms: i64) -> bool {
        s3db_format::date::instant(&self.updated_at).is_some_and(|at| at <= since_ms)
    }

    pub(super) fn what(&self) -> String {
        format!("{}/{}", self.machine, self.entity)
    }
}

fn part<T: for<'de> Deserialize<'de> + Default>(
    row: &Map<String, Value>,
    name: &str,
) -> std::result::Result<T, String> {
    match row.get(name).filter(|value| !value.is_null()) {
        None => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|e| format!("'{name}': {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_keeps_what_it_does_not_know() {
        let transition = Transition {
            transition_id: "01".into(),
            version: 3,
            from: "a".into(),
            to: "b".into(),
            event: "E".into(),
            context: None,
            payload: Map::new(),
            timestamp_ms: 5,
            actor: Some("ana".into()),
            reason: None,
            definition: "sha256:1".into(),
            idempotency_key: None,
            actions: vec![ActionResult {
                name: "x".into(),
                ok: false,
                attempts: 3,
                result: None,
                error: Some("no".into()),
            }],
        };
        let entity = Entity {
            machine: "m".into(),
            entity: "e".into(),
            state: "b".into(),
            context: Map::from_iter([("n".to_owned(), json!(1))]),
            last_transition: Some("m_e_000000000003".into()),
            updated_at: "2026-01-01T00:00:00.000Z".into(),
            version: Some(3),
            definition: Some("sha256:1".into()),
            outbox: Outbox { transition: Some(transition), groups: Vec::new(), failed: Vec::new() },
            deadlines: vec![Deadline { after: "30m".into(), at_ms: 9, transition_id: "01".into() }],
            keys: Vec::new(),
            done: false,
        };
        let row = entity.write(Map::from_iter([("extra".to_owned(), json!("kept"))]));
        assert_eq!(Entity::read("m_e", row.as_object().unwrap()).unwrap(), entity);
        assert_eq!(row["extra"], "kept");
    }

    #[test]
    fn a_row_of_s3dbjs_is_an_entity_without_a_version() {
        let row = json!({"machineId": "order", "entityId": "o1", "currentState": "shipped", "lastTransition": "null"});
        let entity = Entity::read("order_o1", row.as_object().unwrap()).unwrap();
        assert_eq!((entity.version, entity.last_transition, entity.done), (None, None, false));
        let damaged = json!({"machineId": "order", "entityId": "o1", "currentState": "x", "version": "two"});
        assert_eq!(Entity::read("x", damaged.as_object().unwrap()).unwrap_err().kind(), ErrorKind::Integrity);
    }
}
