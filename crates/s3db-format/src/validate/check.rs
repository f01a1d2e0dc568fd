//! The checks of each type.

use serde_json::{Map, Number, Value, json};

use super::text;
use super::{Failure, type_failure};
use crate::js;
use crate::rule::{Kind, Rule};
use crate::value::same_json;

type Checked = Result<Value, Failure>;

/// Checks a value that is there against a rule and returns what is to be stored.
pub(super) fn check(rule: &Rule, value: &Value, root: &Map<String, Value>) -> Checked {
    match rule.kind {
        Kind::String | Kind::Secret => string(rule, value),
        Kind::Number | Kind::SecretNumber => number(rule, value),
        Kind::Boolean => boolean(rule, value),
        Kind::Email | Kind::Url | Kind::Uuid | Kind::Mac | Kind::Luhn | Kind::Currency => named_text(rule, value),
        Kind::Date => date(rule, value),
        Kind::Array => array(rule, value),
        Kind::Object | Kind::Record => object(rule, value),
        Kind::Tuple if !value.is_array() => Err(type_failure("array", value)),
        Kind::Equal => equal(rule, value, root),
        Kind::SecretAny => secret_any(value),
        Kind::Any | Kind::Json | Kind::Tuple | Kind::Custom | Kind::Forbidden => Ok(value.clone()),
    }
}

fn string(rule: &Rule, value: &Value) -> Checked {
    let given = match value {
        Value::String(s) => s.clone(),
        Value::Number(_) | Value::Bool(_) if rule.flag("convert") => js::to_text(value),
        other => return Err(type_failure("string", other)),
    };
    let trimmed = if rule.flag_value("trim") == Some(false) { given.as_str() } else { given.trim() };
    if trimmed.is_empty() && rule.flag_value("empty") == Some(false) {
        return Err(Failure::new("empty", "must not be empty").actual(given.as_str()));
    }
    lengths(rule, js::utf16_len(trimmed), "characters")?;
    text::check_form(rule, trimmed)?;
    Ok(Value::String(given))
}

fn lengths(rule: &Rule, length: usize, unit: &str) -> Result<(), Failure> {
    let actual = length as f64;
    let bound = |word: &'static str, expected: f64, sentence: &str| {
        Err(Failure::new(word, format!("must have {sentence} {} {unit}, it has {length}", js::number_text(expected)))
            .expected(number_json(expected))
            .actual(json!(length)))
    };
    match (rule.number("min"), rule.number("max"), rule.number("length")) {
        (Some(min), _, _) if actual < min => bound("min", min, "at least"),
        (_, Some(max), _) if actual > max => bound("max", max, "at most"),
        (_, _, Some(exact)) if actual != exact => bound("length", exact, "exactly"),
        _ => Ok(()),
    }
}

fn number_json(n: f64) -> Value {
    js::to_number(n).map_or(Value::Null, Value::Number)
}

fn number(rule: &Rule, value: &Value) -> Checked {
    let n: Number = match value {
        Value::Number(n) => n.clone(),
        Value::String(s) if rule.flag_value("convert") != Some(false) => {
            numeric_text(s).ok_or_else(|| type_failure("number", value))?
        }
        other => return Err(type_failure("number", other)),
    };
    let d = js::as_f64(&n);
    if is_beyond(&n) {
        return Err(Failure::new(
            "range",
            "is an integer beyond 2^53, which a number cannot hold exactly; use the type string",
        )
        .expected(json!("between -9007199254740992 and 9007199254740992"))
        .actual(Value::Number(n)));
    }
    number_bounds(rule, d, &n)?;
    Ok(Value::Number(js::to_number(d).unwrap_or(n)))
}

/// Beyond 2^53 a double no longer holds every integer, and JSON text was rounded on the way in.
fn is_beyond(n: &Number) -> bool {
    const LIMIT: u64 = 1 << 53;
    match (n.as_i64(), n.as_u64()) {
        (Some(i), _) => i.unsigned_abs() > LIMIT,
        (None, Some(u)) => u > LIMIT,
        (None, None) => js::as_f64(n).abs() > LIMIT as f64,
    }
}

fn numeric_text(s: &str) -> Option<Number> {
    let trimmed = s.trim();
    let plain = trimmed.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if trimmed.is_empty() || !plain {
        return None;
    }
    match trimmed.parse::<i64>() {
        Ok(n) => Some(Number::from(n)),
        Err(_) => trimmed.parse::<f64>().ok().and_then(js::to_number),
    }
}

fn number_bounds(rule: &Rule, d: f64, n: &Number) -> Result<(), Failure> {
    let fail = |word: &'static str, sentence: String| {
        Failure::new(word, sentence).actual(Value::Number(n.clone())).found(format!("it is {}", js::number_text(d)))
    };
    let limit = |word: &'static str, sentence: &str, bound: f64| {
        fail(word, format!("{sentence} {}", js::number_text(bound))).expected(number_json(bound))
    };
    if let Some(min) = rule.number("min").filter(|min| d < *min) {
        return Err(limit("min", "must be at least", min));
    }
    if let Some(max) = rule.number("max").filter(|max| d > *max) {
        return Err(limit("max", "must be at most", max));
    }
    if let Some(equal) = rule.number("equal").filter(|e| d != *e) {
        return Err(limit("equal", "must be", equal));
    }
    if let Some(not) = rule.number("notEqual").filter(|e| d == *e) {
        return Err(limit("notEqual", "must not be", not));
    }
    if rule.flag("integer") && d != d.trunc() {
        return Err(fail("integer", "must be a whole number".into()));
    }
    if rule.flag("positive") && d <= 0.0 {
        return Err(fail("positive", "must be greater than 0".into()));
    }
    if rule.flag("negative") && d >= 0.0 {
        return Err(fail("negative", "must be less than 0".into()));
    }
    Ok(())
}

fn boolean(rule: &Rule, value: &Value) -> Checked {
    if value.is_boolean() {
        return Ok(value.clone());
    }
    if rule.flag("convert") {
        match js::to_text(value).as_str() {
            "true" | "1" | "on" => return Ok(Value::Bool(true)),
            "false" | "0" | "off" => return Ok(Value::Bool(false)),
            _ => {}
        }
    }
    Err(type_failure("boolean", value))
}

fn named_text(rule: &Rule, value: &Value) -> Checked {
    let word = rule.kind.word();
    let Value::String(given) = value else { return Err(type_failure(word, value)) };
    if given.is_empty() && rule.flag("empty") {
        return Ok(value.clone());
    }
    lengths(rule, js::utf16_len(given), "characters")?;
    if text::is_named(rule, given) { Ok(value.clone()) } else { Err(type_failure(word, value)) }
}

fn date(rule: &Rule, value: &Value) -> Checked {
    let fits = match value {
        Value::String(s) => {
            crate::date::instant(s).is_some() || rule.flag("convert") && crate::date::js_day(s).is_some()
        }
        Value::Number(n) => rule.flag("convert") && js::as_f64(n).abs() <= 8.64e15,
        _ => false,
    };
    if fits {
        return Ok(value.clone());
    }
    Err(Failure::new("type", "must be a date such as 2026-11-22 or 2026-11-22T21:00:00Z")
        .expected(json!("date"))
        .actual(value.clone()))
}

fn array(rule: &Rule, value: &Value) -> Checked {
    let Value::Array(given) = value else { return Err(type_failure("array", value)) };
    if given.is_empty() && rule.flag_value("empty") == Some(false) {
        return Err(Failure::new("empty", "must not be empty"));
    }
    lengths(rule, given.len(), "items")?;
    if rule.flag("unique") && has_twins(given) {
        return Err(Failure::new("unique", "must not hold an item twice").actual(value.clone()));
    }
    if let Some(wanted) = rule.text("contains")
        && !given.iter().any(|v| js::to_text(v) == wanted)
    {
        return Err(Failure::new("contains", format!("must contain {wanted}")).expected(wanted));
    }
    let Some(kind) = rule.items else { return Ok(value.clone()) };
    let item_rule = item_rule(rule, kind);
    let mut stored = Vec::with_capacity(given.len());
    for (at, item) in given.iter().enumerate() {
        let root = Map::new();
        let checked =
            if item.is_null() { Err(type_failure(kind.word(), item)) } else { check(&item_rule, item, &root) };
        stored.push(checked.map_err(|mut failure| {
            failure.message = format!("[{at}] {}", failure.message);
            failure
        })?);
    }
    Ok(Value::Array(stored))
}

fn has_twins(items: &[Value]) -> bool {
    items.iter().enumerate().any(|(at, a)| items.iter().skip(at + 1).any(|b| same_json(a, b)))
}

/// Items have no options of their own but `integer`, which the array's rule carries.
fn item_rule(rule: &Rule, kind: Kind) -> Rule {
    let text = if rule.flag("integer") && kind == Kind::Number { "number|integer" } else { kind.word() };
    Rule::parse(text).unwrap_or_else(|_| rule.clone())
}

fn object(rule: &Rule, value: &Value) -> Checked {
    let Value::Object(given) = value else { return Err(type_failure("object", value)) };
    let count = given.len() as f64;
    if let Some(min) = rule.number("minProps").filter(|min| count < *min) {
        return Err(Failure::new("minProps", format!("must have at least {} members", js::number_text(min)))
            .expected(number_json(min))
            .actual(json!(given.len())));
    }
    if let Some(max) = rule.number("maxProps").filter(|max| count > *max) {
        return Err(Failure::new("maxProps", format!("must have at most {} members", js::number_text(max)))
            .expected(number_json(max))
            .actual(json!(given.len())));
    }
    Ok(value.clone())
}

fn equal(rule: &Rule, value: &Value, root: &Map<String, Value>) -> Checked {
    if let Some(wanted) = rule.text("value")
        && js::to_text(value) != wanted
    {
        return Err(Failure::new("equal", format!("must equal {wanted}")).expected(wanted).actual(value.clone()));
    }
    if let Some(field) = rule.text("field")
        && !root.get(&field).is_some_and(|other| same_json(other, value))
    {
        return Err(Failure::new("equal", format!("must equal the field '{field}'")).actual(value.clone()));
    }
    Ok(value.clone())
}

/// Encrypted as text, so that what is read back is a text: anything else is refused.
fn secret_any(value: &Value) -> Checked {
    match value {
        Value::String(_) => Ok(value.clone()),
        other => Err(type_failure("string", other)),
    }
}
