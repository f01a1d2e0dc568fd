//! Values as they are stored: one text per attribute, chosen by the words in its definition.
//!
//! The choice is made by searching words in the rule's text, in a fixed order, because that is what
//! 9.2.0 does: old objects can only be read with it. Definitions that we write are escaped so that
//! the search and the type agree.

use serde_json::Value;

use crate::rule::Kind;
use crate::{base62, items, js};

/// How an attribute's value becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Strings joined by `|`.
    Strings,
    /// Whole numbers in base 62 joined by `|`.
    Integers,
    /// Decimals in base 62 joined by `|`.
    Decimals,
    /// JSON text.
    Json,
    /// An encrypted text.
    Secret {
        /// Whether the plaintext is a number.
        number: bool,
    },
    /// A whole number in base 62.
    Integer,
    /// A decimal, its integer part in base 62.
    Decimal,
    /// `1` or `0`.
    Boolean,
    /// Text as it is.
    Text,
    /// Text that 9.2.0 stored with JSON quotes.
    Date,
    /// Text, or JSON text of an object or a list.
    Whole,
}

impl Codec {
    /// The codec of a definition as it stands in the catalog.
    pub fn of(definition: &Value) -> Self {
        match definition {
            Value::String(text) => Self::of_rule(text),
            Value::Array(rules) => Self::of_alternatives(rules),
            _ => Codec::Whole,
        }
    }

    fn of_rule(text: &str) -> Self {
        let integer = text.contains("|integer") || text.contains("integer:true");
        let has = |word: &str| text.contains(word);
        let word = text.split('|').next().unwrap_or_default().trim();
        if word.ends_with("[]") && !has("array") && !has("secret") {
            return Codec::Whole;
        }
        if has("array") {
            return match () {
                () if has("items:string") => Codec::Strings,
                () if has("items:number") && integer => Codec::Integers,
                () if has("items:number") => Codec::Decimals,
                () => Codec::Json,
            };
        }
        if has("secret") {
            return Codec::Secret { number: word == Kind::SecretNumber.word() };
        }
        if has("number") {
            return if integer { Codec::Integer } else { Codec::Decimal };
        }
        match () {
            () if has("boolean") => Codec::Boolean,
            () if has("json") || has("object") => Codec::Json,
            () if word == "date" => Codec::Date,
            () if matches!(word, "any" | "tuple" | "record" | "") => Codec::Whole,
            () => Codec::Text,
        }
    }

    fn of_alternatives(rules: &[Value]) -> Self {
        let has = |word: &str| rules.iter().any(|r| r.as_str() == Some(word));
        match () {
            () if has("array") => Codec::Json,
            () if has("secret") => Codec::Secret { number: false },
            () if has("number") => Codec::Decimal,
            () if has("boolean") => Codec::Boolean,
            () if has("json") || has("object") => Codec::Json,
            () => Codec::Whole,
        }
    }

    /// Whether values are encrypted.
    pub fn is_secret(self) -> bool {
        matches!(self, Codec::Secret { .. })
    }

    /// The stored text of a value; `None` where this codec cannot hold it exactly.
    ///
    /// Secrets are not encoded here: their text is made by the one who has the key.
    pub fn encode(self, value: &Value) -> Option<String> {
        let text = self.encode_lossy(value)?;
        let back = self.decode(&text);
        same_json(&back, value).then_some(text)
    }

    fn encode_lossy(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Codec::Secret { .. }, _) | (_, Value::Null) => None,
            (Codec::Strings, Value::Array(list)) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                texts.map(items::join)
            }
            (Codec::Integers, Value::Array(list)) => join_numbers(list, base62::encode_integer),
            (Codec::Decimals, Value::Array(list)) => join_numbers(list, base62::encode_decimal),
            (Codec::Integer, Value::Number(n)) => Some(base62::encode_integer(js::as_f64(n))),
            (Codec::Decimal, Value::Number(n)) => Some(base62::encode_decimal(js::as_f64(n))),
            (Codec::Boolean, Value::Bool(b)) => Some(if *b { "1" } else { "0" }.to_owned()),
            (Codec::Json, _) => Some(value.to_string()),
            (Codec::Text | Codec::Date | Codec::Whole, Value::String(text)) => Some(text.clone()),
            (Codec::Whole, Value::Array(_) | Value::Object(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The value behind a stored text. Never fails: what cannot be decoded is returned as text.
    pub fn decode(self, text: &str) -> Value {
        let as_text = || Value::String(text.to_owned());
        match self {
            Codec::Strings => items::split(text).into_iter().map(Value::String).collect(),
            Codec::Integers => split_numbers(text, base62::decode_integer),
            Codec::Decimals => split_numbers(text, base62::decode_decimal),
            Codec::Json => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
            Codec::Secret { .. } => as_text(),
            Codec::Integer => number(base62::decode_integer(text)).unwrap_or_else(as_text),
            Codec::Decimal => number(base62::decode_decimal(text)).unwrap_or_else(as_text),
            Codec::Boolean => Value::Bool(matches!(text, "true" | "1" | "yes" | "y")),
            Codec::Date if text.starts_with('"') => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
            Codec::Whole if text.starts_with(['{', '[']) => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
            Codec::Text | Codec::Date | Codec::Whole => as_text(),
        }
    }

    /// Whether an empty text means that the attribute is absent.
    pub(crate) fn empty_is_absent(self) -> bool {
        matches!(self, Codec::Integer | Codec::Decimal)
    }
}

/// The plaintext of a secret: its text, or a number where the type says so.
pub(crate) fn secret_value(number: bool, plaintext: String) -> Value {
    if number && let Some(n) = plaintext.parse::<f64>().ok().and_then(js::to_number) {
        return Value::Number(n);
    }
    Value::String(plaintext)
}

/// Equality as JSON: numbers by value, members in any order.
pub fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || (js::as_f64(x) == js::as_f64(y) && !(is_wide(x) && is_wide(y)))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same_json(a, b)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same_json(v, w)))
        }
        _ => a == b,
    }
}

/// An integer that a double may not hold, so that equal doubles do not prove equal numbers.
fn is_wide(n: &serde_json::Number) -> bool {
    !n.is_f64() && js::as_f64(n).abs() > js::MAX_SAFE_INTEGER
}

fn number(n: Option<f64>) -> Option<Value> {
    n.and_then(js::to_number).map(Value::Number)
}

fn join_numbers(list: &[Value], encode: fn(f64) -> String) -> Option<String> {
    let codes: Option<Vec<String>> = list
        .iter()
        .map(|v| match v {
            Value::Number(n) => Some(encode(js::as_f64(n))),
            _ => None,
        })
        .collect();
    Some(codes?.join("|"))
}

fn split_numbers(text: &str, decode: fn(&str) -> Option<f64>) -> Value {
    items::split(text).into_iter().map(|code| number(decode(&code)).unwrap_or(Value::String(code))).collect()
}
