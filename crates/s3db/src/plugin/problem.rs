//! Problems of definitions: all of them are found, not only the first, and each names its place.

use s3db_format::error::did_you_mean;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind};

/// Something wrong with a definition, or only strange.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where: a path such as `order.states.pending.on.CONFIRM`.
    pub path: String,
    /// What.
    pub message: String,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(Problem { path: path.to_owned(), message: message.into() });
    }
}

/// The error of definitions that cannot be taken.
pub(crate) fn invalid(what: &str, problems: &[Problem]) -> Error {
    let fields: Vec<Value> =
        problems.iter().map(|p| json!({ "field": p.path, "rule": "definition", "message": p.message })).collect();
    let sentences: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
    Error::new(ErrorKind::Invalid, format!("{what} is invalid: {}", sentences.join("; ")))
        .guide("correct the definition; nothing was stored")
        .detail(json!({ "fields": fields }))
}

pub(crate) fn known_keys(members: &Map<String, Value>, known: &[&str], path: &str, problems: &mut Problems) {
    for key in members.keys().filter(|key| !known.contains(&key.as_str())) {
        let hint = did_you_mean(key, known.iter().copied()).unwrap_or_else(|| format!("known: {}", known.join(", ")));
        problems.add(&format!("{path}.{key}"), format!("is an unknown key; {hint}"));
    }
}
