//! Actions that are data, one file each. Machines and jobs compile theirs from these.

mod exec;
mod record;
mod send_event;
mod template;
mod webhook;

use std::time::Duration;

use serde_json::{Map, Value};

use super::problem::{Problems, known_keys};
use crate::query::duration;

pub(crate) use exec::Exec;
pub(crate) use record::RecordAction;
pub(crate) use send_event::SendEvent;
pub(crate) use template::Template;
pub(crate) use webhook::Webhook;

/// Characters of an id that is made from a token.
const ID_LENGTH: usize = 22;

/// What an action that runs knows.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    /// The variables of its expressions.
    pub(crate) variables: Map<String, Value>,
    /// The same each time that it runs for one cause: what to be idempotent with.
    pub(crate) token: String,
    /// Who sends the events that it sends.
    pub(crate) actor: String,
    /// The store's time.
    pub(crate) now_ms: i64,
}

/// The fields of an action while it is compiled.
pub(crate) struct Fields<'a> {
    pub(crate) members: &'a Map<String, Value>,
    pub(crate) path: &'a str,
    pub(crate) problems: &'a mut Problems,
    /// The variables that expressions may use.
    pub(crate) variables: &'static [&'static str],
}

impl Fields<'_> {
    /// Refuses other fields than these and `kind`.
    pub(crate) fn only(&mut self, known: &[&str]) -> &mut Self {
        let known: Vec<&str> = std::iter::once("kind").chain(known.iter().copied()).collect();
        known_keys(self.members, &known, self.path, self.problems);
        self
    }

    /// Says that there is no such kind.
    pub(crate) fn unknown_kind(&mut self, kind: &str, kinds: &[&str]) {
        let hint = s3db_format::error::did_you_mean(kind, kinds.iter().copied())
            .unwrap_or_else(|| format!("kinds: {}", kinds.join(", ")));
        self.problem("kind", format!("there is no action of the kind '{kind}'; {hint}"));
    }

    pub(crate) fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.problems.add(&format!("{}.{field}", self.path), message);
    }

    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// A field that may hold anything.
    pub(crate) fn any(&mut self, field: &str) -> Option<Template> {
        let value = self.members.get(field)?;
        Some(Template::compile(value, self.variables, &format!("{}.{field}", self.path), self.problems))
    }

    /// A text, or an expression whose value is one.
    pub(crate) fn text(&mut self, field: &str) -> Option<Template> {
        match self.get(field) {
            Some(Value::String(_)) => self.any(field),
            _ => {
                self.problem(field, "must be a text, or an expression that begins with =");
                None
            }
        }
    }

    /// An object, with expressions in it.
    pub(crate) fn object(&mut self, field: &str) -> Option<Template> {
        match self.get(field) {
            Some(Value::Object(_)) => self.any(field),
            _ => {
                self.problem(field, "must be an object");
                None
            }
        }
    }

    /// A plain text without expressions.
    pub(crate) fn name(&mut self, field: &str) -> Option<String> {
        match self.get(field) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.problem(field, "must be a text");
                None
            }
        }
    }

    /// A duration; `None` where it is missing or wrong, which is told.
    pub(crate) fn duration(&mut self, field: &str) -> Option<Duration> {
        let found = match self.get(field)? {
            Value::String(text) => duration::parse(text),
            value => value.as_u64().map(Duration::from_millis),
        };
        if found.is_none() {
            self.problem(field, "must be a duration, such as 10s, or milliseconds");
        }
        found
    }
}

/// The text that a template must give.
pub(crate) fn text_of(value: Value, what: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("{what} must be a text, this is {other}")),
    }
}

/// The object that a template must give.
pub(crate) fn object_of(value: Value, what: &str) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(format!("{what} must be an object, this is {other}")),
    }
}

/// An id that is the same each time that the action with the token runs.
pub(crate) fn id_from(token: &str) -> String {
    let hash = s3db_format::resource::hash_json(&Value::from(token));
    hash.trim_start_matches("sha256:").chars().take(ID_LENGTH).collect()
}
