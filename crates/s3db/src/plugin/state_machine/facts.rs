//! What guards, actions and expressions know of a transition.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::plugin::action::Situation;

/// The variables of every expression. Guards add those of their `with`.
pub(super) const VARIABLES: &[&str] = &[
    "context", "payload", "event", "machine", "entity", "state", "target", "version", "actor", "reason", "token", "now",
];

/// What guards, actions and expressions know. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) machine: String,
    pub(super) entity: String,
    /// The state before.
    pub(super) state: String,
    /// The state after; null for guards and who may send.
    pub(super) target: Option<String>,
    pub(super) version: u64,
    pub(super) event: String,
    pub(super) context: Arc<Map<String, Value>>,
    pub(super) payload: Arc<Map<String, Value>>,
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
    /// What an action is to be idempotent with.
    pub(super) token: Option<String>,
    pub(super) now_ms: i64,
}

impl Facts {
    /// What an action that runs knows.
    pub(super) fn situation(&self) -> Situation {
        Situation {
            variables: self.variables(),
            token: self.token.clone().unwrap_or_default(),
            actor: format!("machine:{}/{}", self.machine, self.entity),
            now_ms: self.now_ms,
        }
    }

    /// The variables of an expression.
    pub(super) fn variables(&self) -> Map<String, Value> {
        let object = |members: &Arc<Map<String, Value>>| Value::Object(Map::clone(members));
        let pairs = [
            ("context", object(&self.context)),
            ("payload", object(&self.payload)),
            ("event", json!(self.event)),
            ("machine", json!(self.machine)),
            ("entity", json!(self.entity)),
            ("state", json!(self.state)),
            ("target", json!(self.target)),
            ("version", json!(self.version)),
            ("actor", json!(self.actor)),
            ("reason", json!(self.reason)),
            ("token", json!(self.token)),
            ("now", json!(s3db_format::date::rfc3339(self.now_ms))),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
