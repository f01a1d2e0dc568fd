//! Base 62 with the alphabet `0-9a-zA-Z`, for integers and for decimals that keep their fraction
//! digits in decimal (`19.99` → `j.99`).
//!
//! The arithmetic is done in doubles on purpose: above 2^53 the stored digits are what doubles give,
//! and reading them with doubles returns the same number.

use crate::js::number_text;

const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The code of `floor(n)`. Zero is `0`; a negative number is `-` and the code of `-floor(n)`.
pub fn encode_integer(n: f64) -> String {
    if n == 0.0 || !n.is_finite() {
        return "0".into();
    }
    if n < 0.0 {
        return format!("-{}", encode_integer(-n.floor()));
    }
    let mut rest = n.floor();
    let mut digits = Vec::new();
    while rest >= 1.0 {
        let digit = ALPHABET.get((rest % 62.0) as usize).copied().unwrap_or(b'0');
        digits.push(digit as char);
        rest = (rest / 62.0).floor();
    }
    digits.iter().rev().collect()
}

/// The number behind a code; the empty text is 0, a foreign character gives `None`.
pub fn decode_integer(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut value = 0.0_f64;
    for byte in digits.bytes() {
        let digit = ALPHABET.iter().position(|a| *a == byte)?;
        value = value * 62.0 + digit as f64;
    }
    Some(if negative { -value } else { value })
}

/// The code of a decimal: integer part in base 62, fraction digits as they are.
///
/// Small numbers without a point in their exponent form are written with plain digits
/// (`1e-7` → `0.0000001`), which s3db.js 9.2.0 reads back although it cannot write them.
pub fn encode_decimal(n: f64) -> String {
    let magnitude = n.abs();
    let mut text = number_text(magnitude);
    if text.contains("e-") && !text.contains('.') {
        text = format!("{magnitude}");
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut code = encode_integer(whole.parse().unwrap_or(0.0));
    if !fraction.is_empty() {
        code.push('.');
        code.push_str(fraction);
    }
    if n < 0.0 { format!("-{code}") } else { code }
}

/// The number behind a decimal code, `None` if it is none.
pub fn decode_decimal(text: &str) -> Option<f64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let whole = decode_integer(whole)?;
    let value =
        if fraction.is_empty() { whole } else { format!("{}.{fraction}", number_text(whole)).parse::<f64>().ok()? };
    Some(if negative { -value } else { value })
}
