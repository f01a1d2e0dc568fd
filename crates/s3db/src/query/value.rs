//! Comparing values: only within one type, missing as null, dates as instants.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use s3db_format::value::same_json;
use serde_json::{Number, Value};

/// How texts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    /// As instants where both are RFC 3339.
    Plain,
    /// Of a `date` field: a calendar day is an instant too, midnight UTC.
    Dates,
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// A value.
    Json(Value),
    /// `$now`, `$now-7d`: an instant that is known when the query begins.
    Now(Offset),
    /// That instant.
    At(Timestamp),
}

/// How far from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) back: bool,
    pub(crate) by: Duration,
}

impl Operand {
    /// Puts the instant in place of `$now`.
    pub(crate) fn at(&self, now_ms: i64) -> Option<Operand> {
        let Operand::Now(offset) = self else { return Some(self.clone()) };
        let by = i64::try_from(offset.by.as_millis()).ok()?;
        let at = if offset.back { now_ms.checked_sub(by)? } else { now_ms.checked_add(by)? };
        Some(Operand::At(Timestamp::from_millisecond(at).ok()?))
    }

    /// Whether it is an instant where texts are taken like this.
    pub(crate) fn is_instant(&self, texts: Texts) -> bool {
        match self {
            Operand::Now(_) | Operand::At(_) => true,
            Operand::Json(Value::String(text)) => instant(text, texts).is_some(),
            Operand::Json(_) => false,
        }
    }

    /// Whether a value, or a missing one, equals it.
    pub(crate) fn equals(&self, found: Option<&Value>, texts: Texts) -> bool {
        let found = found.unwrap_or(&Value::Null);
        match (self, found) {
            (Operand::Json(Value::String(wanted)), Value::String(text)) => {
                compare_texts(text, wanted, texts) == Ordering::Equal
            }
            (Operand::Json(wanted), found) => same_json(found, wanted),
            _ => self.compare(Some(found), texts) == Some(Ordering::Equal),
        }
    }

    /// How a value lies to it; `None` between different types, and for lists and objects.
    pub(crate) fn compare(&self, found: Option<&Value>, texts: Texts) -> Option<Ordering> {
        match (self, found.unwrap_or(&Value::Null)) {
            (Operand::At(at), Value::String(text)) => Some(instant(text, texts)?.cmp(at)),
            (Operand::At(at), Value::Number(n)) => Some(compare_numbers(n, &Number::from(at.as_millisecond()))),
            (Operand::Json(Value::String(wanted)), Value::String(text)) => Some(compare_texts(text, wanted, texts)),
            (Operand::Json(Value::Number(wanted)), Value::Number(n)) => Some(compare_numbers(n, wanted)),
            (Operand::Json(Value::Bool(wanted)), Value::Bool(b)) => Some(b.cmp(wanted)),
            (Operand::Json(Value::Null), Value::Null) => Some(Ordering::Equal),
            _ => None,
        }
    }
}

fn compare_texts(text: &str, wanted: &str, texts: Texts) -> Ordering {
    match (instant(text, texts), instant(wanted, texts)) {
        (Some(found), Some(wanted)) => found.cmp(&wanted),
        _ => text.cmp(wanted),
    }
}

/// The instant that a text stands for, to the nanosecond.
pub(crate) fn instant(text: &str, texts: Texts) -> Option<Timestamp> {
    if is_rfc3339(text) {
        return text.parse().ok();
    }
    let day = texts == Texts::Dates && is_day(text);
    day.then(|| format!("{text}T00:00:00Z").parse().ok())?
}

/// `2026-11-22T21:00:00.5Z`, `2026-11-22T21:00:00-03:00`: RFC 3339 and nothing wider.
fn is_rfc3339(text: &str) -> bool {
    let Some((day, rest)) = text.split_at_checked(10) else { return false };
    let Some((time, rest)) = rest.split_at_checked(9) else { return false };
    let zone = rest.strip_prefix('.').map_or(rest, |fraction| {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 { "" } else { fraction.get(digits..).unwrap_or_default() }
    });
    is_day(day) && has_shape(time, "T00:00:00") && (matches!(zone, "Z" | "z") || is_offset(zone))
}

fn is_offset(zone: &str) -> bool {
    has_shape(zone, "+00:00") || has_shape(zone, "-00:00")
}

fn is_day(text: &str) -> bool {
    has_shape(text, "0000-00-00")
}

/// Whether a text has a digit where the shape has `0`, and its characters elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(found, wanted)| match wanted {
            b'0' => found.is_ascii_digit(),
            other => found.eq_ignore_ascii_case(&other),
        })
}

/// Numbers by value, exactly: an integer beside a fraction is not rounded first.
pub(crate) fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return a.cmp(&b);
    }
    let (x, y) = (s3db_format::js::as_f64(a), s3db_format::js::as_f64(b));
    let by_value = x.partial_cmp(&y).unwrap_or(Ordering::Equal);
    // Doubles beyond 2^53 are whole, so that they compare as integers with one that was rounded.
    by_value.then_with(|| (whole(a).unwrap_or(x as i128)).cmp(&whole(b).unwrap_or(y as i128)))
}

fn whole(n: &Number) -> Option<i128> {
    n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from))
}

/// A value in the order of rows: null, booleans, numbers, instants, texts, then lists and objects,
/// which have no order of their own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rank {
    Null,
    Bool(bool),
    Number(Number),
    Instant(Timestamp),
    Text(String),
    Other,
}

impl Rank {
    pub(crate) fn of(value: Option<&Value>, texts: Texts) -> Self {
        match value {
            None | Some(Value::Null) => Rank::Null,
            Some(Value::Bool(b)) => Rank::Bool(*b),
            Some(Value::Number(n)) => Rank::Number(n.clone()),
            Some(Value::String(text)) => match instant(text, texts) {
                Some(at) => Rank::Instant(at),
                None => Rank::Text(text.clone()),
            },
            Some(Value::Array(_) | Value::Object(_)) => Rank::Other,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Rank::Null => 0,
            Rank::Bool(_) => 1,
            Rank::Number(_) => 2,
            Rank::Instant(_) => 3,
            Rank::Text(_) => 4,
            Rank::Other => 5,
        }
    }

    pub(crate) fn compare(&self, other: &Rank) -> Ordering {
        match (self, other) {
            (Rank::Bool(a), Rank::Bool(b)) => a.cmp(b),
            (Rank::Number(a), Rank::Number(b)) => compare_numbers(a, b),
            (Rank::Instant(a), Rank::Instant(b)) => a.cmp(b),
            (Rank::Text(a), Rank::Text(b)) => a.cmp(b),
            _ => self.class().cmp(&other.class()),
        }
    }

    /// As a cursor holds it.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Rank::Null => Value::Null,
            Rank::Bool(b) => Value::Bool(*b),
            Rank::Number(n) => Value::Number(n.clone()),
            Rank::Instant(at) => Value::Array(vec![Value::String(at.to_string())]),
            Rank::Text(text) => Value::String(text.clone()),
            Rank::Other => Value::Object(serde_json::Map::new()),
        }
    }

    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Rank::Null,
            Value::Bool(b) => Rank::Bool(*b),
            Value::Number(n) => Rank::Number(n.clone()),
            Value::String(text) => Rank::Text(text.clone()),
            Value::Array(at) => Rank::Instant(at.first()?.as_str()?.parse().ok()?),
            Value::Object(_) => Rank::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc_3339_and_nothing_wider() {
        for text in ["2026-11-22T21:00:00Z", "2026-11-22t21:00:00.123456z", "2026-11-22T21:00:00-03:00"] {
            assert!(instant(text, Texts::Plain).is_some(), "{text}");
        }
        for text in [
            "2026-11-22",
            "2026-11-22T21:00Z",
            "2026-11-22 21:00:00Z",
            "2026-11-22T21:00:00",
            "2026-11-22T21:00:00.Z",
            "2026-13-22T21:00:00Z",
            "2026-11-22T21:00:00+03:00[America/Sao_Paulo]",
            "é026-11-22T21:00:00Z",
            "",
        ] {
            assert!(instant(text, Texts::Plain).is_none(), "{text}");
        }
        assert_eq!(instant("2026-11-22", Texts::Dates), instant("2026-11-22T00:00:00Z", Texts::Plain));
    }

    #[test]
    fn numbers_are_compared_exactly() {
        let number = |v: Value| v.as_number().cloned().unwrap_or_else(|| Number::from(0));
        let compare = |a: Value, b: Value| compare_numbers(&number(a), &number(b));
        assert_eq!(compare(json!(1), json!(1.0)), Ordering::Equal);
        assert_eq!(compare(json!(1), json!(1.5)), Ordering::Less);
        assert_eq!(compare(json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0)), Ordering::Greater);
        assert_eq!(compare(json!(u64::MAX), json!(-1)), Ordering::Greater);
        assert_eq!(compare(json!(1e300), json!(u64::MAX)), Ordering::Greater);
    }
}
