//! Errors of the format.

use serde::Serialize;
use serde_json::Value;

/// Why a definition cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.field))]
pub struct DefinitionError {
    /// The dotted path of the attribute, partition or setting, empty if it is the whole definition.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

impl DefinitionError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { field: String::new(), message: message.into() }
    }

    pub(crate) fn at(mut self, field: &str) -> Self {
        self.field = field.to_owned();
        self
    }
}

/// One failing field of a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldError {
    /// Dotted path; array items as `tags[0]`.
    pub field: String,
    /// The word of the rule that failed, such as `min`; `type` for the type itself.
    pub rule: String,
    /// What the rule asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// What was found; never the value of a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<Value>,
    /// The sentence for people.
    pub message: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a stored object or the catalog cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are not what the format says.
    #[error("{0}")]
    Corrupt(String),
    /// The bytes are of a newer format.
    #[error("{0}")]
    Unsupported(String),
    /// The record does not fit where its behaviour must put it.
    #[error("{message}")]
    TooLarge {
        /// What is too large, and how much.
        message: String,
        /// Bytes that are needed.
        size: usize,
        /// Bytes that there are.
        limit: usize,
    },
    /// A key that cannot be stored.
    #[error("{message}")]
    Key {
        /// The field that the key is made of: `id`, or a partition's field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A secret could not be sealed or opened.
    #[error("{field}: {reason}")]
    Secret {
        /// The dotted path of the field.
        field: String,
        /// Why.
        reason: crate::secret::SecretError,
    },
}

/// A hint naming the nearest known word, if one is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= k.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| format!("did you mean '{k}'?"))
}
