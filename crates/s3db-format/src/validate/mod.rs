//! Validation: a record against its schema, with every failing field reported.
//!
//! Unlike 9.2.0, which checks a converted copy and stores the original, what passes here is what is
//! stored: a numeric text in a `number` becomes the number, defaults are applied at every depth.

mod check;
mod text;

use serde_json::{Map, Value, json};

use crate::error::{FieldError, did_you_mean};
use crate::js;
use crate::limits;
use crate::rule::{Kind, Rule};
use crate::schema::{Attribute, Nested, Schema};

/// What is being validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A new record: defaults fill what is missing.
    Insert,
    /// A merged record: defaults are not applied.
    Update,
}

/// Checks a record and returns it as it is to be stored.
///
/// `keeps` says which undeclared paths may stay, because the stored record already had them.
///
/// # Errors
/// All failing fields, in the order of the definition; undeclared ones last.
pub fn validate(
    schema: &Schema,
    record: &Map<String, Value>,
    mode: Mode,
    keeps: &dyn Fn(&str) -> bool,
) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut validator = Validator { mode, keeps, root: record, errors: Vec::new() };
    let stored = validator.level(schema.root(), record, "");
    if validator.errors.is_empty() { Ok(stored) } else { Err(validator.errors) }
}

/// The value that a rule's `default` stands for, `None` if it has none or the text is no such value.
pub(crate) fn default_value(rule: &Rule) -> Option<Value> {
    let text = rule.text("default")?;
    if text == "null" {
        return Some(Value::Null);
    }
    match rule.kind {
        Kind::Boolean => match text.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Number | Kind::SecretNumber => text.parse::<f64>().ok().and_then(js::to_number).map(Value::Number),
        Kind::Json | Kind::Any => Some(serde_json::from_str(&text).unwrap_or(Value::String(text))),
        Kind::Array | Kind::Tuple => serde_json::from_str(&text).ok().filter(Value::is_array),
        Kind::Object | Kind::Record => serde_json::from_str(&text).ok().filter(Value::is_object),
        _ => Some(Value::String(text)),
    }
}

struct Validator<'a> {
    mode: Mode,
    keeps: &'a dyn Fn(&str) -> bool,
    root: &'a Map<String, Value>,
    errors: Vec<FieldError>,
}

/// The sentence and the facts of one failure.
pub(crate) struct Failure {
    rule: &'static str,
    expected: Option<Value>,
    actual: Option<Value>,
    message: String,
    /// The value in words, for the end of the sentence; never said of a secret.
    found: Option<String>,
}

impl Failure {
    fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, expected: None, actual: None, message: message.into(), found: None }
    }

    fn expected(mut self, expected: impl Into<Value>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    fn found(mut self, found: String) -> Self {
        self.found = Some(found);
        self
    }

    fn actual(mut self, actual: impl Into<Value>) -> Self {
        self.actual = Some(actual.into());
        self
    }
}

impl Validator<'_> {
    fn level(
        &mut self,
        attributes: &[(String, Attribute)],
        given: &Map<String, Value>,
        prefix: &str,
    ) -> Map<String, Value> {
        let mut stored = Map::new();
        for (name, attribute) in attributes {
            let path = join(prefix, name);
            if let Some(value) = self.attribute(attribute, given.get(name), &path) {
                stored.insert(name.clone(), value);
            }
        }
        for (name, value) in given {
            if attributes.iter().any(|(known, _)| known == name) {
                continue;
            }
            let path = join(prefix, name);
            if (self.keeps)(&path) {
                stored.insert(name.clone(), value.clone());
            } else {
                self.undeclared(&path, name, attributes);
            }
        }
        stored
    }

    fn undeclared(&mut self, path: &str, name: &str, attributes: &[(String, Attribute)]) {
        let hint = did_you_mean(name, attributes.iter().map(|(n, _)| n.as_str()))
            .unwrap_or_else(|| "add it to the resource's attributes, or leave it out".into());
        self.fail(path, Failure::new("undeclared", format!("is not declared; {hint}")));
    }

    fn attribute(&mut self, attribute: &Attribute, value: Option<&Value>, path: &str) -> Option<Value> {
        match attribute {
            Attribute::Leaf(rule) => self.leaf(rule, value, path),
            Attribute::OneOf(rules) => self.one_of(rules, value, path),
            Attribute::Nested(nested) => self.nested(nested, value, path),
            Attribute::Broken => value.cloned(),
        }
    }

    fn nested(&mut self, nested: &Nested, value: Option<&Value>, path: &str) -> Option<Value> {
        match value {
            None if nested.required => {
                self.fail(path, Failure::new("required", "is required"));
                None
            }
            None if self.mode == Mode::Insert => {
                let defaults = nested_defaults(nested);
                (!defaults.is_empty()).then_some(Value::Object(defaults))
            }
            None => None,
            Some(Value::Null) if !nested.required => Some(Value::Null),
            Some(Value::Object(given)) => Some(Value::Object(self.level(&nested.children, given, path))),
            Some(other) => {
                self.fail(path, Failure::new("type", "must be an object").expected("object").actual(other.clone()));
                None
            }
        }
    }

    fn one_of(&mut self, rules: &[Rule], value: Option<&Value>, path: &str) -> Option<Value> {
        let mut attempt = Err(Failure::new("type", "fits none of the allowed types"));
        for rule in rules {
            attempt = self.check_leaf(rule, value);
            if attempt.is_ok() {
                break;
            }
        }
        self.take(attempt, path, rules.iter().any(|rule| rule.kind.is_secret()))
    }

    fn leaf(&mut self, rule: &Rule, value: Option<&Value>, path: &str) -> Option<Value> {
        let attempt = self.check_leaf(rule, value);
        self.take(attempt, path, rule.kind.is_secret())
    }

    fn take(&mut self, attempt: Result<Option<Value>, Failure>, path: &str, secret: bool) -> Option<Value> {
        match attempt {
            Ok(value) => value,
            Err(mut failure) => {
                if secret {
                    failure.actual = None;
                } else if let Some(found) = failure.found.take() {
                    failure.message = format!("{}, {found}", failure.message);
                }
                self.fail(path, failure);
                None
            }
        }
    }

    fn check_leaf(&self, rule: &Rule, value: Option<&Value>) -> Result<Option<Value>, Failure> {
        let filled;
        let value = match value {
            // An update leaves out what may be missing; what must be there a record of an older version
            // may lack.
            None if self.mode == Mode::Insert || !rule.is_optional() => {
                filled = default_value(rule);
                filled.as_ref()
            }
            other => other,
        };
        match value {
            None if rule.is_optional() => Ok(None),
            None => Err(Failure::new("required", "is required")),
            Some(_) if rule.kind == Kind::Forbidden => Err(Failure::new("forbidden", "is forbidden")),
            Some(Value::Null) if rule.is_nullable() || matches!(rule.kind, Kind::Any | Kind::Json) => {
                Ok(Some(Value::Null))
            }
            Some(Value::Null) => Err(Failure::new("required", "is required; it cannot be null")),
            Some(value) if depth(value) > limits::DEPTH => {
                Err(Failure::new("depth", format!("is nested deeper than {} levels", limits::DEPTH)))
            }
            Some(value) => check::check(rule, value, self.root).map(Some),
        }
    }

    fn fail(&mut self, path: &str, failure: Failure) {
        self.errors.push(FieldError {
            message: format!("'{path}' {}", failure.message),
            field: path.to_owned(),
            rule: failure.rule.to_owned(),
            expected: failure.expected,
            actual: failure.actual,
        });
    }
}

fn nested_defaults(nested: &Nested) -> Map<String, Value> {
    let mut defaults = Map::new();
    for (name, attribute) in &nested.children {
        let value = match attribute {
            Attribute::Leaf(rule) => default_value(rule),
            Attribute::Nested(inner) => Some(nested_defaults(inner)).filter(|m| !m.is_empty()).map(Value::Object),
            _ => None,
        };
        if let Some(value) = value {
            defaults.insert(name.clone(), value);
        }
    }
    defaults
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn type_failure(word: &'static str, value: &Value) -> Failure {
    let sentence = match word {
        "array" => "must be a list",
        "object" => "must be an object",
        "email" => "must be an e-mail address",
        "url" => "must be a URL such as https://example.org",
        "uuid" => "must be a UUID",
        "mac" => "must be a MAC address",
        "luhn" => "must be a number with a right check digit",
        "currency" => "must be an amount of money such as 1,234.50",
        "boolean" => "must be true or false",
        "number" | "secretNumber" => "must be a number",
        _ => "must be a text",
    };
    Failure::new("type", sentence).expected(json!(word)).actual(value.clone())
}
