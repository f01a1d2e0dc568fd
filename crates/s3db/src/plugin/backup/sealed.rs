//! Small JSON documents that carry the digest of their own text: a manifest, a note, a lock.
//!
//! The last member is `sha256`, of the text before it with the closing brace put back. So
//! `{"a":1,"sha256":"…"}` is the seal of `{"a":1}`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// Hexadecimal SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a text cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// The text of a document with its seal.
pub(super) fn seal(document: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_string(document).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
    let digest = sha256(text.as_bytes());
    let open = text.strip_suffix('}').unwrap_or(&text);
    let comma = if open.len() > 1 { "," } else { "" };
    Ok(format!("{open}{comma}\"sha256\":\"{digest}\"}}\n").into_bytes())
}

/// Reads a sealed document.
///
/// # Errors
/// `Integrity`: it is cut, changed, or none at all.
pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let damaged = |why: &str| Error::new(ErrorKind::Integrity, format!("{what} is damaged: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
    let text = text.strip_suffix('\n').ok_or_else(|| damaged("it is cut off"))?;
    let (open, digest) = text.rsplit_once("\"sha256\":\"").ok_or_else(|| damaged("it has no digest"))?;
    let digest = digest.strip_suffix("\"}").ok_or_else(|| damaged("it is cut off"))?;
    let text = format!("{}}}", open.strip_suffix(',').unwrap_or(open));
    if sha256(text.as_bytes()) != digest {
        return Err(damaged("its digest does not fit"));
    }
    serde_json::from_str(&text).map_err(|e| damaged(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn any_change_of_any_byte_is_noticed() {
        for document in [json!({"a": 1, "b": [{"sha256": "x"}]}), json!({})] {
            let sealed = seal(&document).unwrap();
            assert_eq!(unseal::<Value>(&sealed, "it").unwrap(), document);
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut other = sealed.clone();
                    other[at] ^= 1 << bit;
                    assert!(unseal::<Value>(&other, "it").is_err(), "byte {at} bit {bit}");
                }
                assert!(unseal::<Value>(&sealed[..at], "it").is_err(), "cut at {at}");
            }
        }
    }
}
