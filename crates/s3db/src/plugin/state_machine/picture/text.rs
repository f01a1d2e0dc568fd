//! Text as it can be drawn: cleaned, measured, and cut to a width.
//!
//! No font file is at hand, so widths are estimates. They follow the common metrics of
//! Helvetica and Arial with a margin for wider substitutes.

/// What is shown for a name of which nothing can be shown.
const UNPRINTABLE: &str = "?";

/// The share added to every width, since a substitute font may be wider.
const MARGIN: f64 = 1.08;

/// The share added for bold text.
const BOLD: f64 = 1.07;

/// The text without characters that no format can carry.
///
/// Line breaks and tabs become spaces. Other control characters and the two non-characters that
/// XML forbids are dropped, and so are the marks that reverse the reading direction, with which
/// one name could pose as another. Never empty.
pub(super) fn clean(raw: &str) -> String {
    let kept: String = raw.chars().filter_map(printable).collect();
    if kept.is_empty() { UNPRINTABLE.to_owned() } else { kept }
}

/// The character as it is shown, or nothing.
fn printable(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// The estimated width of a text in pixels.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let thousandths: f64 = text.chars().map(advance).sum();
    thousandths / 1000.0 * size * MARGIN * if bold { BOLD } else { 1.0 }
}

/// The text, cut with `…` where it is wider than `limit` pixels.
pub(super) fn cut(text: &str, size: f64, bold: bool, limit: f64) -> String {
    if width(text, size, bold) <= limit {
        return text.to_owned();
    }
    let mut room = limit - width("…", size, bold);
    let mut kept = String::new();
    for c in text.chars() {
        room -= width(c.encode_utf8(&mut [0; 4]), size, bold);
        if room < 0.0 {
            break;
        }
        kept.push(c);
    }
    // A joiner at the end would tie the cut mark to the last sign.
    let end = kept.trim_end_matches([' ', ',', '\u{200d}']).len();
    kept.truncate(end);
    kept.push('…');
    kept
}

/// Widths of U+0020 to U+007E in thousandths of the font size.
const ASCII: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
];

/// The width of one character in thousandths of the font size.
fn advance(c: char) -> f64 {
    let code = u32::from(c);
    if let Some(known) = code.checked_sub(0x20).and_then(|i| ASCII.get(usize::try_from(i).unwrap_or(usize::MAX))) {
        return f64::from(*known);
    }
    match code {
        // Combining marks, joiners, variation selectors and tags take no room of their own.
        0x300..=0x36f | 0x200b..=0x200f | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xe0000..=0xe0fff => 0.0,
        // Latin, Greek, Cyrillic, Hebrew, Arabic.
        0xa0..=0x7ff => 640.0,
        // Punctuation; arrows and symbols are wider.
        0x2000..=0x205f => 560.0,
        // CJK, Hangul, full-width forms.
        0x1100..=0x11ff | 0x2e80..=0xd7ff | 0xf900..=0xfaff | 0xff00..=0xff60 => 1000.0,
        // Emoji and pictographs, drawn wider than the font size.
        0x1f000..=0x1ffff => 1280.0,
        _ => 900.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_marks_are_dropped() {
        let table = [
            ("plain", "plain"),
            ("a\nb\tc\rd", "a b c d"),
            ("a\u{0}b\u{1b}[0m\u{7f}", "ab[0m"),
            ("a\u{202e}b\u{2066}c", "abc"),
            ("\u{fffe}x\u{ffff}", "x"),
            ("\u{1}\u{2}", "?"),
            ("", "?"),
            ("é 日本 🎉", "é 日本 🎉"),
        ];
        for (raw, want) in table {
            assert_eq!(clean(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn a_cut_text_fits_and_ends_with_a_mark() {
        let long = "payment reference 👩‍👩‍👧 ".repeat(12);
        for limit in [20.0, 60.0, 123.0, 200.0] {
            let short = cut(&long, 13.0, false, limit);
            assert!(short.ends_with('…'));
            assert!(width(&short, 13.0, false) <= limit, "{short} over {limit}");
        }
        assert_eq!(cut("ok", 13.0, false, 200.0), "ok");
    }
}
