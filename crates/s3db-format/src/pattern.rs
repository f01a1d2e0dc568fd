//! Patterns of string rules and filters: the linear-time engine first, and only for what it cannot express
//! (look-around, back-references) the backtracking one, with a limit on its steps.

use crate::error::DefinitionError;

/// Steps after which a backtracking match is given up.
const STEP_LIMIT: usize = 200_000;
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    engine: Engine,
}

#[derive(Debug, Clone)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A text that is no regular expression, or one that would grow too large.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let linear = regex::RegexBuilder::new(text).size_limit(SIZE_LIMIT).build();
        if let Ok(regex) = linear {
            return Ok(Self { engine: Engine::Linear(regex) });
        }
        fancy_regex::RegexBuilder::new(text)
            .backtrack_limit(STEP_LIMIT)
            .delegate_size_limit(SIZE_LIMIT)
            .build()
            .map(|regex| Self { engine: Engine::Backtracking(Box::new(regex)) })
            .map_err(|e| DefinitionError::new(format!("pattern '{text}' is not a regular expression: {e}")))
    }

    /// Whether the text matches; `None` if the match was given up for taking too many steps.
    pub fn is_match(&self, text: &str) -> Option<bool> {
        match &self.engine {
            Engine::Linear(regex) => Some(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).ok(),
        }
    }
}
