//! Option values that s3db.js 9.2.0 would misread in a rule's text.
//!
//! 9.2.0 picks a value's encoder by searching words such as `number` anywhere in the rule, and cannot
//! hold a `|` in a value. Where a value has one of these, its text is percent-encoded and the rule
//! carries the word [`MARK`], which 9.2.0 ignores.

use percent_encoding::percent_decode_str;

/// The option word of a rule whose values are percent-encoded.
pub(crate) const MARK: &str = "enc:pct";

const ENCODER_WORDS: [&str; 6] = ["array", "secret", "number", "boolean", "json", "object"];

/// Whether a value cannot stand in a rule as it is.
pub(crate) fn is_needed(value: &str) -> bool {
    value.contains('|')
        || value.trim().len() != value.len()
        || value.contains("integer:true")
        || ENCODER_WORDS.iter().any(|w| value.contains(w))
}

/// The escaped form of a value.
pub(crate) fn escape(value: &str) -> String {
    let mut text = value.replace('%', "%25").replace('|', "%7C").replace("integer:true", "%69nteger:true");
    for word in ENCODER_WORDS {
        let (first, rest) = word.split_at(1);
        let code = first.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        text = text.replace(word, &format!("{code}{rest}"));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        text = text.chars().map(|c| if c.is_whitespace() { encode_char(c) } else { c.to_string() }).collect();
    }
    text
}

fn encode_char(c: char) -> String {
    let mut buffer = [0u8; 4];
    c.encode_utf8(&mut buffer).bytes().map(|b| format!("%{b:02X}")).collect()
}

/// The value behind an escaped form.
pub(crate) fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
