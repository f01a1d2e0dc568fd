//! The cost of an evaluation: counted in steps, and paid before the work is done.
//!
//! The interpreter has no limit of its own. So the compiled tree is rewritten: whatever is copied, compared, joined or
//! looped over goes through a function of this module that counts its size first, and fails when [`MAX_STEPS`] are
//! spent. A step is the evaluation of one node, one value copied or compared, or 32 bytes of text. A loop costs the
//! size of what it loops over and, for each item, the size of its body, whether or not it stops early. The count only
//! depends on the expression and its variables, so an evaluation that is within its limit once always is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelString, DYN_TYPE, INT_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};

use super::pattern::Pattern;
use super::time;

/// The steps one evaluation may take.
pub(crate) const MAX_STEPS: u64 = 5_000_000;
/// The name of the meter among the variables; no source can spell it.
pub(crate) const METER: &str = "@meter";

/// How many bytes of text are a step.
pub(crate) const BYTES_PER_STEP: u64 = 32;
/// What keeping a value in a list or a map costs, in steps for each value in it: it is copied twice and stays.
const KEEP_STEPS: u64 = 2;

/// Counts an argument.
pub(crate) const CHARGE: &str = "@charge";
/// Counts what a loop goes over.
pub(crate) const EACH: &str = "@each";
/// Matches one of the compiled patterns.
pub(crate) const MATCHES: &str = "@matches";
/// Converts to a timestamp in UTC.
pub(crate) const TIMESTAMP: &str = "@timestamp";

/// The environment of every expression: the standard library and the functions that count.
pub(crate) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    let arguments = || vec![Meter::cel_type().to_owned(), DYN_TYPE, INT_TYPE];
    let functions: [(&str, Function); 4] =
        [(CHARGE, charge), (EACH, each), (MATCHES, matches), (TIMESTAMP, time::utc_timestamp)];
    for (name, function) in functions {
        env.add_overload(name, name, arguments(), function).expect("no name of the standard library begins with @");
    }
    Arc::new(env)
});

/// How an argument is counted; the number is in the tree.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// By all that is in it.
    Deep = 0,
    /// As one step, unless it is a text.
    Flat = 1,
    /// By all that is in it, except that a map is looked up in one step.
    Within = 2,
    /// As an index of a list or a map: only a number, a text or a bool.
    Index = 3,
    /// As a term of `+`: a map is refused, for its keys have no order to be joined in.
    Term = 4,
    /// As something a list or a map keeps.
    Keep = 5,
    /// As the text of a duration, of which all must be read.
    Duration = 6,
}

impl Mode {
    /// The mode with the number `number`.
    fn of(number: i64) -> Mode {
        let all = [Mode::Flat, Mode::Within, Mode::Index, Mode::Term, Mode::Keep, Mode::Duration];
        all.into_iter().find(|mode| *mode as i64 == number).unwrap_or(Mode::Deep)
    }
}

/// The steps left of one evaluation, and the patterns it matches.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// Steps left. All are taken at once when they do not suffice, so that nothing else runs either.
    left: Arc<AtomicU64>,
    /// The patterns, by index.
    patterns: Arc<[Pattern]>,
}

impl Meter {
    /// A meter with all its steps.
    pub(crate) fn new(patterns: Arc<[Pattern]>) -> Self {
        Self { left: Arc::new(AtomicU64::new(MAX_STEPS)), patterns }
    }

    /// The text about an evaluation that ran out, if it did.
    pub(crate) fn exhausted(&self) -> Option<String> {
        (self.left() == 0).then(out_of_steps)
    }

    /// The steps left.
    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `steps`.
    pub(crate) fn take(&self, steps: u64) -> Result<(), ExecutionError> {
        // An evaluation runs on one thread: the count is atomic because a value must be shareable.
        let left = self.left().saturating_sub(steps);
        self.left.store(left, Ordering::Relaxed);
        if left == 0 { Err(ExecutionError::function_error("limit", out_of_steps())) } else { Ok(()) }
    }
}

/// The text about an evaluation that ran out of steps.
fn out_of_steps() -> String {
    format!("the expression takes more than {MAX_STEPS} steps; loop over less, or compute the value when it changes")
}

impl Val for Meter {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = Type::new_unspecified_type(METER);
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Meter {}

/// The size of a value in steps, counted no further than `limit`.
fn steps(value: &dyn Val, limit: u64) -> u64 {
    let text = |bytes: usize| 1 + bytes as u64 / BYTES_PER_STEP;
    if let Some(string) = value.downcast_ref::<CelString>() {
        text(string.inner().len())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        text(bytes.inner().len())
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        let mut sum = 1;
        for item in list.inner() {
            if sum > limit {
                break;
            }
            sum += steps(item.as_ref(), limit - sum);
        }
        sum
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        let mut sum = 1;
        for (key, item) in map.inner() {
            if sum > limit {
                break;
            }
            sum += steps(key.inner(), limit) + steps(item.as_ref(), limit - sum);
        }
        sum
    } else {
        1
    }
}

/// The meter, the value and the number a counting function is called with.
pub(crate) fn arguments<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<(Meter, CowVal<'b, 'v>, i64), ExecutionError> {
    let mut args = args.into_iter();
    if let (Some(meter), Some(value), Some(number)) = (args.next(), args.next(), args.next())
        && let (Some(meter), Some(number)) = (meter.downcast_ref::<Meter>(), number.downcast_ref::<CelInt>())
    {
        // A loop that overrules errors goes on after the steps ran out; nothing more is counted for it then.
        meter.take(0)?;
        return Ok((meter.clone(), value, *number.inner()));
    }
    Err(ExecutionError::function_error("meter", "called without a meter"))
}

/// Counts a value in the mode of the third argument, and hands it on.
fn charge<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (meter, value, mode) = arguments(args)?;
    let mode = Mode::of(mode);
    let (is_map, is_list) = (value.downcast_ref::<CelMap>().is_some(), value.downcast_ref::<CelList>().is_some());
    let shallow = match mode {
        Mode::Flat => is_map || is_list,
        Mode::Within => is_map,
        _ => false,
    };
    let cost = if shallow { 1 } else { steps(value.as_ref(), meter.left()) };
    meter.take(if matches!(mode, Mode::Keep) { cost.saturating_mul(KEEP_STEPS) } else { cost })?;
    match mode {
        Mode::Index if is_map || is_list => {
            let kind = value.get_type().name().to_owned();
            Err(ExecutionError::UnexpectedType { got: kind, want: "an index or a key".to_owned() })
        }
        Mode::Index if value.downcast_ref::<CelDouble>().is_some_and(|index| index.inner().fract() != 0.0) => {
            Err(ExecutionError::function_error("index", "a list is indexed with a whole number"))
        }
        Mode::Term if is_map => {
            Err(ExecutionError::function_error("+", "a map cannot be added; list its keys with map(k, k)"))
        }
        Mode::Duration => match value.downcast_ref::<CelString>() {
            Some(text) if !time::is_duration(text.inner()) => {
                Err(ExecutionError::function_error("duration", time::unread_duration(text.inner())))
            }
            _ => Ok(value),
        },
        _ => Ok(value),
    }
}

/// Counts what a loop goes over and its body for each item, and hands on a list: of the keys in order, for a map.
fn each<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (meter, range, body) = arguments(args)?;
    let body = u64::try_from(body).unwrap_or(1);
    let of_items = |count: usize| (count as u64).saturating_mul(body);
    if let Some(map) = range.downcast_ref::<CelMap>() {
        let mut keys: Vec<_> = map.inner().keys().collect();
        let text: u64 = keys.iter().map(|key| steps(key.inner(), meter.left())).sum();
        meter.take(of_items(keys.len()).saturating_add(text.saturating_mul(KEEP_STEPS)))?;
        keys.sort();
        let keys: Vec<Box<dyn Val + 'v>> = keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect();
        return Ok(CowVal::owned(CelList::from(keys)));
    }
    if let Some(list) = range.downcast_ref::<CelList>() {
        meter.take(of_items(list.inner().len()).saturating_add(steps(list, meter.left())))?;
    }
    Ok(range)
}

/// Matches a text against the pattern with the index of the third argument.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (meter, value, index) = arguments(args)?;
    let Some(text) = value.downcast_ref::<CelString>() else {
        let types = vec![value.get_type().name().to_owned(), "string".to_owned()];
        return Err(ExecutionError::no_such_member_overload("matches", types));
    };
    let pattern = usize::try_from(index).ok().and_then(|index| meter.patterns.get(index));
    let pattern = pattern.ok_or_else(|| ExecutionError::function_error("matches", "called without a pattern"))?;
    meter.take(pattern.steps(text.inner()))?;
    Ok(CowVal::owned(CelBool::from(pattern.is_match(text.inner()))))
}
