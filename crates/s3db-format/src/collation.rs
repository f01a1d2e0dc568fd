//! The order in which JavaScript's `localeCompare` sorts the fields of a partition.
//!
//! Root collation: the whole text case-blind first, then accents, then lower before upper case.
//! Exact for ASCII and for Latin letters with accents, which is what attribute names are made of.

const PRIMARY: &str = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz";

/// A key that sorts as `localeCompare` does.
pub(crate) fn sort_key(text: &str) -> (Vec<u32>, Vec<u32>, Vec<bool>) {
    let mut primary = Vec::new();
    let mut accents = Vec::new();
    let mut upper = Vec::new();
    for c in text.chars() {
        let (base, accent) = split_accent(c);
        let lower = base.to_lowercase().next().unwrap_or(base);
        let rank = PRIMARY.chars().position(|p| p == lower).map_or(lower as u32 + 1000, |at| at as u32);
        primary.push(rank);
        accents.push(accent);
        upper.push(base.is_uppercase());
    }
    (primary, accents, upper)
}

/// The base letter of a Latin-1 or Latin Extended-A letter, and a number for its accent.
fn split_accent(c: char) -> (char, u32) {
    const FAMILIES: [(char, &str); 26] = [
        ('A', "ÀÁÂÃÄÅĀĂĄ"),
        ('a', "àáâãäåāăą"),
        ('C', "ÇĆĈĊČ"),
        ('c', "çćĉċč"),
        ('D', "Ď"),
        ('d', "ď"),
        ('E', "ÈÉÊËĒĔĖĘĚ"),
        ('e', "èéêëēĕėęě"),
        ('I', "ÌÍÎÏĨĪĬĮİ"),
        ('i', "ìíîïĩīĭį"),
        ('N', "ÑŃŅŇ"),
        ('n', "ñńņň"),
        ('O', "ÒÓÔÕÖŌŎŐ"),
        ('o', "òóôõöōŏő"),
        ('U', "ÙÚÛÜŨŪŬŮŰŲ"),
        ('u', "ùúûüũūŭůűų"),
        ('Y', "ÝŸ"),
        ('y', "ýÿ"),
        ('S', "ŚŜŞŠ"),
        ('s', "śŝşš"),
        ('Z', "ŹŻŽ"),
        ('z', "źżž"),
        ('R', "ŔŖŘ"),
        ('r', "ŕŗř"),
        ('T', "ŢŤ"),
        ('t', "ţť"),
    ];
    if c.is_ascii() {
        return (c, 0);
    }
    for (base, family) in FAMILIES {
        if let Some(at) = family.chars().position(|f| f == c) {
            return (base, at as u32 + 1);
        }
    }
    (c, 0)
}
