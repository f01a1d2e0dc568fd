//! The patterns of `matches`: compiled with the expression, within a size, at a known cost.

use regex::{Error, Regex, RegexBuilder};

use super::explain;

/// The most memory the compiled patterns of one expression may take, in bytes.
pub(crate) const MAX_PATTERN_BYTES: usize = 4 << 20;

/// The smallest size a pattern is taken to have.
const MIN_PATTERN_BYTES: usize = 1 << 10;
/// The memory of the states a pattern is matched with, in bytes; past it matching falls back to simulating them.
const MATCH_CACHE_BYTES: usize = 1 << 20;
/// How many bytes of a compiled pattern are walked in a step, at worst for each byte of the text.
const PATTERN_BYTES_PER_STEP: u64 = 3200;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// The automaton.
    regex: Regex,
    /// Its size, rounded up to a power of two.
    bytes: usize,
}

impl Pattern {
    /// Compiles `source`, to be kept next to `others`.
    pub(crate) fn compile(source: &str, others: &[Pattern]) -> Result<Pattern, String> {
        let taken: usize = others.iter().map(|other| other.bytes).sum();
        let shown = || explain::clipped(source);
        let mut bytes = MIN_PATTERN_BYTES;
        // The size is not told, only whether it is within a limit.
        while bytes.saturating_add(taken) <= MAX_PATTERN_BYTES {
            match RegexBuilder::new(source).size_limit(bytes).dfa_size_limit(MATCH_CACHE_BYTES).build() {
                Ok(regex) => return Ok(Pattern { regex, bytes }),
                Err(Error::CompiledTooBig(_)) => bytes = bytes.saturating_mul(2),
                Err(_) => return Err(format!("the pattern '{}' is not a regular expression", shown())),
            }
        }
        Err(format!("the pattern '{}' is too large; repeat less, or write [0-9A-Za-z_] for \\w", shown()))
    }

    /// What matching `text` costs at worst, in steps.
    ///
    /// The time is linear in the text and in the pattern, whatever both say.
    pub(crate) fn steps(&self, text: &str) -> u64 {
        1 + (text.len() as u64).saturating_mul(self.bytes as u64) / PATTERN_BYTES_PER_STEP
    }

    /// Whether some part of `text` matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}
