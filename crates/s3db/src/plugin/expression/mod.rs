//! Expressions in guards and computed values: the Common Expression Language, bounded.
//!
//! An expression such as `context.total > 99 && now - duration('1h') < timestamp(context.createdAt)` is compiled once
//! and evaluated many times over JSON variables. It has no side effects and no way to name anything but the variables
//! it was compiled for.
//!
//! # Values
//!
//! JSON whole numbers become `int`, those past `i64` become `uint`, all others `double`. The variable `now`, given as
//! an RFC 3339 text, is a `timestamp`. A result goes back to JSON: a timestamp as RFC 3339 text in UTC with
//! milliseconds, a duration as whole milliseconds (cut off, not rounded), bytes as base64 text, and a map with its keys
//! as text, in order. A `double` stays one (`4.0`), and one that is not finite is an error. Comparisons mix the number
//! types, arithmetic does not: that is the language's rule, and the error says which conversion to write.
//!
//! # Limits
//!
//! | what | limit |
//! |---|---|
//! | source | [`MAX_SOURCE_BYTES`] |
//! | brackets in brackets, `? :` in `? :` | [`MAX_NESTING`] |
//! | operators in a row, as in `a + b + c`, and calls in calls | [`MAX_DEPTH`] |
//! | `all`, `exists`, `exists_one`, `map`, `filter` inside one another | [`MAX_LOOPS`] |
//! | work of one evaluation | [`MAX_STEPS`](meter::MAX_STEPS) steps, see [`meter`] |
//! | compiled patterns of `matches` | [`MAX_PATTERN_BYTES`](pattern::MAX_PATTERN_BYTES) |
//! | JSON in JSON | [`MAX_JSON_DEPTH`](convert::MAX_JSON_DEPTH) |
//!
//! What stays unbounded is the size of the variables: the parts of them that the expression names are walked once
//! before it runs, so the caller bounds the documents it passes in.
//!
//! # Differences from the language's description
//!
//! The pattern of `matches` is a literal, so that it is compiled, and refused, with the expression. Loops over a map
//! visit its keys in order, and a map is not a term of `+`, so that the same input always gives the same result. The
//! parts of a timestamp are those in UTC unless a zone is given. Optional syntax (`a.?b`) and message literals are left
//! out: `has(a.b)` is the way to test for a key.

mod check;
mod convert;
mod explain;
mod meter;
mod pattern;
mod rewrite;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use cel::Context;
use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::common::value::Val;
use serde_json::{Map, Value};

use check::Findings;
use pattern::Pattern;

/// The longest source, in bytes.
pub(crate) const MAX_SOURCE_BYTES: usize = 4096;
/// How deep brackets and conditionals may be nested in the source.
pub(crate) const MAX_NESTING: u16 = 32;
/// How deep the parsed tree may be. Counting the costs at most doubles it.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many loops may be inside one another.
pub(crate) const MAX_LOOPS: usize = 3;
/// The stack of the thread that compiles.
///
/// Without optimisation the parser takes up to 170 KiB for each level of brackets.
const COMPILE_STACK_BYTES: usize = 64 << 20;
/// How deep a tree may be to be evaluated on the caller's thread.
///
/// Without optimisation the interpreter takes 40 KiB for each level, and a runtime's worker has 2 MiB. Most guards have
/// about eight levels.
const MAX_INLINE_LEVELS: usize = 16;
/// The stack of the thread that evaluates deeper trees.
const EVALUATE_STACK_BYTES: usize = 16 << 20;

/// A compiled expression. Cheap to clone; compiled once.
#[derive(Clone)]
pub(crate) struct Expression {
    /// What was compiled, shared by the clones.
    compiled: Arc<Compiled>,
}

/// What compiling an expression gives.
struct Compiled {
    /// The text it was compiled from.
    source: String,
    /// The tree, with its costs metered.
    tree: IdedExpr,
    /// How deep the tree is.
    levels: usize,
    /// What the tree reads.
    findings: Findings,
    /// The compiled patterns of `matches`, by the index in the tree.
    patterns: Arc<[Pattern]>,
}

impl Expression {
    /// Compiles `source`. `variables` are the names that may be used at top level.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong and where: a syntax error, an unknown variable or function, a pattern, duration
    /// or timestamp literal that cannot be read, or a limit.
    pub(crate) fn compile(source: &str, variables: &[&str]) -> Result<Expression, String> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(format!(
                "the expression is {} bytes long, at most {MAX_SOURCE_BYTES} are allowed",
                source.len()
            ));
        }
        if source.trim().is_empty() {
            return Err("the expression is empty; write for example context.total > 99".to_owned());
        }
        // Parsing, and dropping a tree that turns out too deep, recurse further than a runtime's worker allows.
        let compiled = on_own_stack(COMPILE_STACK_BYTES, || compile_here(source, variables))?;
        Ok(Expression { compiled: Arc::new(compiled) })
    }

    /// The text it was compiled from.
    pub(crate) fn source(&self) -> &str {
        &self.compiled.source
    }

    /// Evaluates over JSON variables. Blocking CPU work, bounded by the limits of this module.
    ///
    /// Only the parts of the variables that the expression names are looked at.
    ///
    /// # Errors
    ///
    /// A text that says what went wrong and the way out: a missing key, types that do not go together, a division by
    /// zero, a result JSON cannot hold, or a limit.
    pub(crate) fn evaluate(&self, variables: &Map<String, Value>) -> Result<Value, String> {
        self.run(variables, |result| convert::to_json(result))
    }

    /// Evaluates a guard: the value must be a boolean.
    ///
    /// # Errors
    ///
    /// As for [`evaluate`](Self::evaluate), and a value that is not a boolean, with what it was.
    pub(crate) fn test(&self, variables: &Map<String, Value>) -> Result<bool, String> {
        self.run(variables, |result| match result.downcast_ref::<CelBool>() {
            Some(answer) => Ok(*answer.inner()),
            None => Err(format!(
                "the guard gives {}, not a bool; end it with a comparison such as == or !=",
                explain::described(result)
            )),
        })
    }

    /// Evaluates and hands the result to `finish` while it may still borrow from the variables.
    fn run<T: Send>(
        &self,
        variables: &Map<String, Value>,
        finish: impl FnOnce(&dyn Val) -> Result<T, String> + Send,
    ) -> Result<T, String> {
        let compiled = &*self.compiled;
        if compiled.levels > MAX_INLINE_LEVELS {
            return on_own_stack(EVALUATE_STACK_BYTES, || compiled.run_here(variables, finish));
        }
        // The interpreter has panics of its own for trees it does not expect; one must not end the caller's task.
        catch_unwind(AssertUnwindSafe(|| compiled.run_here(variables, finish))).unwrap_or_else(|_| Err(gave_up()))
    }
}

impl Compiled {
    /// Evaluates on the current thread.
    fn run_here<T>(
        &self,
        variables: &Map<String, Value>,
        finish: impl FnOnce(&dyn Val) -> Result<T, String>,
    ) -> Result<T, String> {
        let meter = meter::Meter::new(Arc::clone(&self.patterns));
        let mut context = Context::with_env(Arc::clone(&meter::ENV));
        for (name, need) in &self.findings.needs {
            let Some(value) = variables.get(name) else {
                return Err(format!("the variable '{name}' was not given"));
            };
            context.add_variable_as_val(name, convert::variable(name, value, need)?);
        }
        context.add_variable_as_val(meter::METER, Box::new(meter.clone()));
        let result = cel::Value::resolve_val(&self.tree, &context);
        // An error inside `||`, `exists` and the like can be overruled by what follows; running out cannot.
        if let Some(error) = meter.exhausted() {
            return Err(error);
        }
        match result {
            Ok(result) => finish(result.as_ref()),
            Err(error) => Err(explain::execution(&error, &self.findings, variables)),
        }
    }
}

/// Runs `work` on a thread with a stack of `bytes`, and waits for it.
fn on_own_stack<T: Send>(bytes: usize, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("expression".to_owned()).stack_size(bytes);
        match thread.spawn_scoped(scope, work) {
            Ok(running) => running.join().unwrap_or_else(|_| Err(gave_up())),
            Err(error) => Err(format!("no thread for the expression: {error}; try again when fewer are running")),
        }
    })
}

/// The text about a panic inside the interpreter.
fn gave_up() -> String {
    "the interpreter gave up on the expression; write it in simpler parts".to_owned()
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}

/// Compiles on the current thread, which has the stack for it.
fn compile_here(source: &str, variables: &[&str]) -> Result<Compiled, String> {
    let parser = meter::ENV.parser().max_recursion_depth(MAX_NESTING);
    let tree = parser.parse(source).map_err(|errors| explain::syntax(&errors))?;
    let findings = check::check(&tree, variables)?;
    let mut patterns = Vec::new();
    let tree = rewrite::metered(tree, &mut patterns)?;
    let levels = check::levels(&tree);
    Ok(Compiled { source: source.to_owned(), tree, levels, findings, patterns: patterns.into() })
}
