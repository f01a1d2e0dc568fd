//! The few corners of JavaScript that the format depends on: how a number prints, how long a text
//! is in UTF-16 units, and the order in which an object's properties are visited.
//!
//! Source: ECMA-262, `Number::toString` and `OrdinaryOwnPropertyKeys`.

use serde_json::{Map, Number, Value};

/// The shortest decimal text of a number as JavaScript prints it (`1e21` → `1e+21`, `0.1` → `0.1`).
pub fn number_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if n == 0.0 {
        return "0".into();
    }
    let scientific = format!("{:e}", n.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let text = place_point(&digits, point);
    if n < 0.0 { format!("-{text}") } else { text }
}

/// Writes `digits` with the decimal point after `point` of them, switching to an exponent where
/// JavaScript does.
fn place_point(digits: &str, point: i32) -> String {
    let count = digits.len() as i32;
    if (1..=21).contains(&point) {
        if point >= count {
            return format!("{digits}{}", "0".repeat((point - count) as usize));
        }
        let (whole, fraction) = digits.split_at(point as usize);
        return format!("{whole}.{fraction}");
    }
    if (-5..=0).contains(&point) {
        return format!("0.{}{digits}", "0".repeat((-point) as usize));
    }
    let exponent = point - 1;
    let sign = if exponent >= 0 { "+" } else { "-" };
    let (first, rest) = digits.split_at(1);
    let fraction = if rest.is_empty() { String::new() } else { format!(".{rest}") };
    format!("{first}{fraction}e{sign}{}", exponent.abs())
}

/// What `String(value)` gives in JavaScript.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => number_text(as_f64(n)),
        Value::String(s) => s.clone(),
        Value::Array(items) => {
            let texts: Vec<String> =
                items.iter().map(|v| if v.is_null() { String::new() } else { to_text(v) }).collect();
            texts.join(",")
        }
        Value::Object(_) => "[object Object]".into(),
    }
}

/// The text of a value that is to be encrypted: as [`to_text`], numbers without an exponent.
pub fn secret_text(value: &Value) -> String {
    match value {
        Value::Number(n) => format!("{}", as_f64(n)),
        other => to_text(other),
    }
}

/// A JSON number as the double that JavaScript would hold.
pub fn as_f64(n: &Number) -> f64 {
    n.as_f64().unwrap_or(f64::NAN)
}

/// A double as a JSON number: an integer where it is one exactly, `None` for NaN and infinities.
pub fn to_number(n: f64) -> Option<Number> {
    if n == n.trunc() && n.abs() <= MAX_SAFE_INTEGER {
        return Some(Number::from(n as i64));
    }
    Number::from_f64(n)
}

/// 2^53 − 1, the largest integer that a double holds together with all its neighbours.
pub const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Length in UTF-16 code units, JavaScript's `length`.
pub fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The first `units` UTF-16 code units; a surrogate pair that would be cut in half is left out.
pub fn utf16_prefix(text: &str, units: usize) -> &str {
    let mut seen = 0;
    for (at, c) in text.char_indices() {
        seen += c.len_utf16();
        if seen > units {
            return text.get(..at).unwrap_or(text);
        }
    }
    text
}

/// Compares two texts by UTF-16 code unit, JavaScript's default sort order.
pub fn cmp_utf16(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// Whether a property name is a canonical array index, which JavaScript visits first.
fn array_index(name: &str) -> Option<u32> {
    let canonical = name == "0" || (!name.is_empty() && !name.starts_with('0'));
    if !canonical || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    name.parse::<u32>().ok().filter(|i| *i != u32::MAX)
}

/// The members of an object in JavaScript's property order: array indices ascending, then the
/// others as they were inserted.
pub fn property_order(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut indices: Vec<(u32, (&String, &Value))> = Vec::new();
    let mut others = Vec::new();
    for entry in map {
        match array_index(entry.0) {
            Some(i) => indices.push((i, entry)),
            None => others.push(entry),
        }
    }
    indices.sort_by_key(|(i, _)| *i);
    indices.into_iter().map(|(_, e)| e).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_javascript_prints_them() {
        for (n, text) in [
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (-1234.5678, "-1234.5678"),
            (5e-324, "5e-324"),
            (-0.0, "0"),
        ] {
            assert_eq!(number_text(n), text);
        }
    }

    #[test]
    fn a_cut_never_splits_a_surrogate_pair() {
        assert_eq!(utf16_prefix("a😀b", 2), "a");
        assert_eq!(utf16_prefix("a😀b", 3), "a😀");
    }
}
