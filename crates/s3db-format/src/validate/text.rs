//! The forms that texts can be asked to have.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::json;

use super::Failure;
use crate::rule::{Kind, Rule};

/// A fixed expression of this file.
macro_rules! fixed {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("the expression is fixed and covered by the tests below"));
    };
}

fixed!(EMAIL, r"^\S+@\S+\.\S+$");
fixed!(
    EMAIL_PRECISE,
    r#"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+$"#
);
fixed!(URL, r"^https?://\S+");
fixed!(UUID, r"(?i)^(?:[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|0{8}-0{4}-0{4}-0{4}-0{12})$");
fixed!(MAC, r"(?i)^(?:[0-9a-f]{2}([:.-]))(?:[0-9a-f]{2}[:.-]){4}[0-9a-f]{2}$|^[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}$");
fixed!(BASE64, r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$");

/// Checks the form options of a string: pattern, enumeration, alphabets.
pub(super) fn check_form(rule: &Rule, text: &str) -> Result<(), Failure> {
    if let Some(allowed) = rule.one_of()
        && !allowed.iter().any(|a| a == text)
    {
        return Err(Failure::new("enum", format!("must be one of {}", allowed.join(", ")))
            .expected(json!(allowed))
            .actual(text));
    }
    if let Some(pattern) = &rule.pattern {
        check_pattern(rule, pattern, text)?;
    }
    if let Some(part) = rule.text("contains").filter(|part| !text.contains(part.as_str())) {
        return Err(Failure::new("contains", format!("must contain '{part}'")).expected(part).actual(text));
    }
    type Form = (&'static str, &'static str, fn(&str) -> bool);
    let forms: [Form; 8] = [
        ("ip", "an IP address", |t| t.parse::<std::net::IpAddr>().is_ok()),
        ("alpha", "letters a-z only", |t| all(t, |c| c.is_ascii_alphabetic())),
        ("alphanum", "letters and digits only", |t| all(t, |c| c.is_ascii_alphanumeric())),
        ("alphadash", "letters, digits, '-' and '_' only", |t| {
            all(t, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        }),
        ("numeric", "a numeric text", |t| t.parse::<f64>().is_ok_and(f64::is_finite)),
        ("hex", "hexadecimal digits, an even number of them", |t| {
            t.len().is_multiple_of(2) && all(t, |c| c.is_ascii_hexdigit())
        }),
        ("base64", "base64", |t| BASE64.is_match(t)),
        ("singleLine", "a single line", |t| !t.contains(['\n', '\r'])),
    ];
    for (word, sentence, fits) in forms {
        if rule.flag(word) && !fits(text) {
            return Err(Failure::new(word, format!("must be {sentence}")).actual(text));
        }
    }
    Ok(())
}

fn check_pattern(rule: &Rule, pattern: &crate::pattern::Pattern, text: &str) -> Result<(), Failure> {
    let source = rule.text("pattern").unwrap_or_default();
    match pattern.is_match(text) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new("pattern", format!("does not match the pattern {source}"))
            .expected(source)
            .actual(text)),
        None => Err(Failure::new(
            "pattern",
            format!("could not be checked: the pattern {source} takes too many steps on this text; write it without nested repetition"),
        )
        .expected(source)),
    }
}

fn all(text: &str, fits: fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(fits)
}

/// Whether a text is what the rule's type names.
pub(super) fn is_named(rule: &Rule, text: &str) -> bool {
    match rule.kind {
        Kind::Email if rule.text("mode").as_deref() == Some("precise") => EMAIL_PRECISE.is_match(text),
        Kind::Email => EMAIL.is_match(text),
        Kind::Url => URL.is_match(text),
        Kind::Uuid => UUID.is_match(text) && has_uuid_version(rule, text),
        Kind::Mac => MAC.is_match(text),
        Kind::Luhn => is_luhn(text),
        Kind::Currency => is_currency(rule, text),
        _ => true,
    }
}

fn has_uuid_version(rule: &Rule, text: &str) -> bool {
    let wanted = rule.number("version").map(|v| format!("{v}"));
    wanted.is_none_or(|v| text.get(14..15) == Some(v.as_str()))
}

fn is_luhn(text: &str) -> bool {
    let digits: Option<Vec<u32>> = text.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|d| !d.is_empty()) else { return false };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(at, d)| if at % 2 == 0 { *d } else { (d * 2) / 10 + (d * 2) % 10 }).sum();
    sum.is_multiple_of(10)
}

fn is_currency(rule: &Rule, text: &str) -> bool {
    let option = |word: &str, default: &str| regex::escape(&rule.text(word).unwrap_or_else(|| default.into()));
    let symbol = rule.text("currencySymbol").map_or_else(String::new, |s| format!("(?:{})?", regex::escape(&s)));
    let thousand = option("thousandSeparator", ",");
    let decimal = option("decimalSeparator", ".");
    let form = format!(r"^-?{symbol}-?(?:\d+|\d{{1,3}}(?:{thousand}\d{{3}})+)?(?:{decimal}\d{{1,2}})?$");
    text.contains(|c: char| c.is_ascii_digit()) && Regex::new(&form).is_ok_and(|re| re.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rule: &str, text: &str) -> bool {
        is_named(&Rule::parse(rule).unwrap(), text)
    }

    #[test]
    fn named_texts_are_told_apart() {
        assert!(fits("email", "a@b.co") && !fits("email", "a@b"));
        assert!(fits("email|mode:precise", "a@b.co") && !fits("email|mode:precise", "a@b..co"));
        assert!(fits("url", "https://x") && !fits("url", "ftp://x"));
        assert!(fits("uuid", "00000000-0000-0000-0000-000000000000"));
        assert!(fits("uuid|version:4", "9b2c1a52-6a6e-4c0e-8d3e-111111111111"));
        assert!(!fits("uuid|version:1", "9b2c1a52-6a6e-4c0e-8d3e-111111111111"));
        assert!(fits("mac", "01:C8:95:4B:65:FE") && !fits("mac", "01:C8"));
        assert!(fits("luhn", "4242 4242 4242 4242") && !fits("luhn", "4242 4242 4242 4241"));
        assert!(fits("currency", "-12,222.33") && !fits("currency", "12.3456"));
        assert!(fits("currency|currencySymbol:$", "$12.30") && !fits("currency", "$12.30"));
    }
}
