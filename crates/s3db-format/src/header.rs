//! User-metadata header values: text that HTTP would damage is wrapped as `u:` (percent-encoded) or
//! `b:` (base64), everything else stands as it is.
//!
//! s3db.js 9.2.0 writes plain text without any escape, so a stored `u:abc` may be the text `u:abc`.
//! [`decode`] therefore accepts a prefix only if encoding the decoded text gives the same header
//! back, and [`encode`] guards every plain text that 9.2.0 would misread.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that JavaScript's `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// A decoded header value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// The header text `null`.
    Null,
    /// The header text `undefined`: the attribute is absent.
    Undefined,
    /// Any other text.
    Text(String),
}

/// Encodes a text for a header, guarding what s3db.js would misread.
pub fn encode(text: &str) -> String {
    match encode_where_needed(text) {
        Some(encoded) => encoded,
        None if needs_guard(text) => format!("b:{}", STANDARD.encode(text)),
        None => text.to_owned(),
    }
}

/// The encoding of a text that HTTP cannot carry, by the rules of 9.2.0; `None` if it can.
fn encode_where_needed(text: &str) -> Option<String> {
    let (mut units, mut multi, mut latin) = (0usize, 0usize, 0usize);
    for unit in text.encode_utf16() {
        units += 1;
        match unit {
            0..0x20 | 0x7f | 0x100.. => multi += 1,
            0x80..=0xff => latin += 1,
            _ => {}
        }
    }
    let base64 = match (multi, latin) {
        (0, 0) => return None,
        (0, _) => latin * 2 > units,
        _ => multi * 10 > units * 3,
    };
    Some(if base64 {
        format!("b:{}", STANDARD.encode(text))
    } else {
        format!("u:{}", utf8_percent_encode(text, COMPONENT))
    })
}

/// Decodes a header value by the re-encode test. Never fails: what is no encoding is literal text.
pub fn decode(header: &str) -> HeaderValue {
    match header {
        "null" => return HeaderValue::Null,
        "undefined" => return HeaderValue::Undefined,
        _ => {}
    }
    if let Some(escaped) = header.strip_prefix("u:")
        && let Ok(text) = percent_decode_str(escaped).decode_utf8()
        && encode_where_needed(&text).as_deref() == Some(header)
    {
        return HeaderValue::Text(text.into_owned());
    }
    if let Some(coded) = header.strip_prefix("b:")
        && let Ok(bytes) = STANDARD.decode(coded)
        && let Ok(text) = String::from_utf8(bytes)
        && (encode_where_needed(&text).as_deref() == Some(header) || needs_guard(&text))
    {
        return HeaderValue::Text(text);
    }
    HeaderValue::Text(header.to_owned())
}

/// Whether a plain ASCII text must be wrapped so that another reader takes it for what it is.
fn needs_guard(text: &str) -> bool {
    const PREFIXES: [&str; 5] = ["u:", "b:", "d:", "z:", "z85:"];
    matches!(text, "null" | "undefined")
        || PREFIXES.iter().any(|p| text.starts_with(p))
        || text.trim_ascii().len() != text.len()
        || looks_like_legacy_base64(text)
}

/// Whether 9.2.0 would take the text for the bare base64 that versions 8.0–8.2 wrote.
fn looks_like_legacy_base64(text: &str) -> bool {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return false;
    }
    let Ok(bytes) = STANDARD.decode(text) else { return false };
    bytes.iter().any(|b| *b > 0x7f) && std::str::from_utf8(&bytes).is_ok()
}

/// The header name of a map key or literal attribute name: every character outside `[A-Za-z0-9_-]`
/// becomes `_`, and S3 lower-cases the result.
pub fn name(key: &str) -> String {
    key.encode_utf16()
        .map(|unit| match char::from_u32(u32::from(unit)) {
            Some(c) if c.is_ascii_alphanumeric() || c == '-' || c == '_' => c.to_ascii_lowercase(),
            _ => '_',
        })
        .collect()
}
