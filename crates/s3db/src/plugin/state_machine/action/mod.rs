//! Actions that are data, one file each.

mod exec;
mod record;
mod send_event;
mod webhook;

use std::time::Duration;

use serde_json::{Map, Value};

use super::definition::{Action, Problems, known_keys};
use super::template::Template;
use crate::query::duration;

pub(super) use exec::Exec;
pub(super) use record::RecordAction;
pub(super) use send_event::SendEvent;
pub(super) use webhook::Webhook;

/// What an action does.
#[derive(Debug)]
pub(super) enum ActionKind {
    /// A function that a process registers.
    Function,
    /// Sets members of the context; pure, and part of the conditional write.
    Assign(Template),
    /// Writes a record.
    Record(RecordAction),
    /// Sends an event to other entities.
    SendEvent(SendEvent),
    /// Sends an HTTP request.
    Webhook(Webhook),
    /// Runs a program.
    Exec(Exec),
}

/// Characters of an id that is made from a token.
const ID_LENGTH: usize = 22;

const KINDS: [&str; 7] = ["assign", "insert", "update", "delete", "send_event", "webhook", "exec"];

/// Compiles an action; `None` if its problems were told.
pub(super) fn compile_action(action: &Action, path: &str, problems: &mut Problems) -> Option<ActionKind> {
    let before = problems.0.len();
    let mut fields = Fields { members: &action.0, path, problems };
    let kind = match action.kind() {
        "assign" => fields.only(&["set"]).object("set").map(ActionKind::Assign),
        "insert" | "update" | "delete" => RecordAction::compile(action.kind(), &mut fields).map(ActionKind::Record),
        "send_event" => SendEvent::compile(&mut fields).map(ActionKind::SendEvent),
        "webhook" => Webhook::compile(&mut fields).map(ActionKind::Webhook),
        "exec" => Exec::compile(&mut fields).map(ActionKind::Exec),
        other => {
            let hint = s3db_format::error::did_you_mean(other, KINDS)
                .unwrap_or_else(|| format!("kinds: {}", KINDS.join(", ")));
            problems.add(&format!("{path}.kind"), format!("there is no action of the kind '{other}'; {hint}"));
            None
        }
    };
    kind.filter(|_| problems.0.len() == before)
}

/// The fields of an action while it is compiled.
pub(super) struct Fields<'a> {
    members: &'a Map<String, Value>,
    path: &'a str,
    problems: &'a mut Problems,
}

impl Fields<'_> {
    /// Refuses other fields than these and `kind`.
    fn only(&mut self, known: &[&str]) -> &mut Self {
        let known: Vec<&str> = std::iter::once("kind").chain(known.iter().copied()).collect();
        known_keys(self.members, &known, self.path, self.problems);
        self
    }

    fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.problems.add(&format!("{}.{field}", self.path), message);
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// A field that may hold anything.
    fn any(&mut self, field: &str) -> Option<Template> {
        let value = self.members.get(field)?;
        Some(Template::compile(value, &format!("{}.{field}", self.path), self.problems))
    }

    /// A text, or an expression whose value is one.
    fn text(&mut self, field: &str) -> Option<Template> {
        match self.get(field) {
            Some(Value::String(_)) => self.any(field),
            _ => {
                self.problem(field, "must be a text, or an expression that begins with =");
                None
            }
        }
    }

    /// An object, with expressions in it.
    fn object(&mut self, field: &str) -> Option<Template> {
        match self.get(field) {
            Some(Value::Object(_)) => self.any(field),
            _ => {
                self.problem(field, "must be an object");
                None
            }
        }
    }

    /// A plain text without expressions.
    fn name(&mut self, field: &str) -> Option<String> {
        match self.get(field) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.problem(field, "must be a text");
                None
            }
        }
    }

    /// A duration; `None` where it is missing or wrong, which is told.
    fn duration(&mut self, field: &str) -> Option<Duration> {
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
fn text_of(value: Value, what: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("{what} must be a text, this is {other}")),
    }
}

/// The object that a template must give.
fn object_of(value: Value, what: &str) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(format!("{what} must be an object, this is {other}")),
    }
}

/// An id that is the same each time that the action with the token runs.
fn id_from(token: &str) -> String {
    let hash = s3db_format::resource::hash_json(&Value::from(token));
    hash.trim_start_matches("sha256:").chars().take(ID_LENGTH).collect()
}
