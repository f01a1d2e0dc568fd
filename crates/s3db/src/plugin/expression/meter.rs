//! The cost of an evaluation: counted in steps, and paid before the work is done.
//!
//! The interpreter has no limit of its own. So the compiled tree is rewritten: whatever is copied, compared, joined or
//! looped over goes through a function that counts its size first and fails when [`MAX_STEPS`] are spent. A step is the
//! evaluation of one node, one value copied or compared, or 32 bytes of text. A loop costs the size of what it loops
//! over and, for each item, the size of its body, whether or not it stops early. The count only depends on the
//! expression and its variables, so an evaluation that is within its limit once always is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::functions::Function;
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelString, CelTimestamp, DYN_TYPE, INT_TYPE, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex::Regex;

use super::explain;
use super::pattern::Pattern;

/// The steps one evaluation may take.
pub(crate) const MAX_STEPS: u64 = 5_000_000;
/// The name of the meter among the variables; no source can spell it.
pub(crate) const METER: &str = "@meter";

/// How many bytes of text are a step.
const BYTES_PER_STEP: u64 = 32;
/// What keeping a value in a list or a map costs, in steps for each value in it: it is copied twice and stays.
const KEEP_STEPS: u64 = 2;

/// Counts an argument.
const CHARGE: &str = "@charge";
/// Counts what a loop goes over.
const EACH: &str = "@each";
/// Matches one of the compiled patterns.
const MATCHES: &str = "@matches";
/// Converts to a timestamp in UTC.
const TIMESTAMP: &str = "@timestamp";

/// The environment of every expression: the standard library and the functions that count.
pub(crate) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    let arguments = || vec![Meter::cel_type().to_owned(), DYN_TYPE, INT_TYPE];
    let functions: [(&str, Function); 4] =
        [(CHARGE, charge), (EACH, each), (MATCHES, matches), (TIMESTAMP, utc_timestamp)];
    for (name, function) in functions {
        env.add_overload(name, name, arguments(), function).expect("no name of the standard library begins with @");
    }
    Arc::new(env)
});

/// How an argument is counted; the number is in the tree.
#[derive(Clone, Copy)]
enum Mode {
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
        (self.left.load(Ordering::Relaxed) == 0).then(out_of_steps)
    }

    /// Takes `steps`.
    fn take(&self, steps: u64) -> Result<(), ExecutionError> {
        // An evaluation runs on one thread: the count is atomic because a value must be shareable.
        let left = self.left.load(Ordering::Relaxed).saturating_sub(steps);
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
fn arguments<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<(Meter, CowVal<'b, 'v>, i64), ExecutionError> {
    let mut args = args.into_iter();
    if let (Some(meter), Some(value), Some(number)) = (args.next(), args.next(), args.next())
        && let (Some(meter), Some(number)) = (meter.downcast_ref::<Meter>(), number.downcast_ref::<CelInt>())
    {
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
    let cost = if shallow { 1 } else { steps(value.as_ref(), MAX_STEPS) };
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
            Some(text) if !is_duration(text.inner()) => {
                Err(ExecutionError::function_error("duration", unread_duration(text.inner())))
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
        let text: u64 = keys.iter().map(|key| steps(key.inner(), MAX_STEPS)).sum();
        meter.take(of_items(keys.len()).saturating_add(text.saturating_mul(KEEP_STEPS)))?;
        keys.sort();
        let keys: Vec<Box<dyn Val + 'v>> = keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect();
        return Ok(CowVal::owned(CelList::from(keys)));
    }
    if let Some(list) = range.downcast_ref::<CelList>() {
        meter.take(of_items(list.inner().len()).saturating_add(steps(list, MAX_STEPS)))?;
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

/// Whether all of `text` is a duration, such as `-1h30m` or `1.5s`.
///
/// The library reads as far as it can and leaves the rest: `1h7d` would be an hour.
fn is_duration(text: &str) -> bool {
    static DURATION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^-?(?:0|(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|us|ns))+)$").ok());
    text.len() <= 256 && DURATION.as_ref().is_none_or(|pattern| pattern.is_match(text))
}

/// The text about a duration that cannot be read.
fn unread_duration(text: &str) -> String {
    format!("'{}' is not one; write it in h, m, s, ms, us or ns, as in 1h30m, up to 292 years", explain::clipped(text))
}

/// Converts to a timestamp, in UTC so that `getHours()` and the like are: the library keeps the offset of the text.
fn utc_timestamp<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (meter, value, _) = arguments(args)?;
    meter.take(1)?;
    let text = value.downcast_ref::<CelString>().map(|text| explain::clipped(text.inner()));
    let kind = value.get_type().name().to_owned();
    let args = vec![value];
    let Some(conversion) = ENV.find_overload("timestamp", &args) else {
        return Err(ExecutionError::no_such_overload("timestamp", vec![kind]));
    };
    let value = conversion(args).map_err(|error| match text {
        Some(text) => ExecutionError::function_error("timestamp", format!("'{text}' is not {A_TIME}")),
        None => error,
    })?;
    match (value.downcast_ref::<CelTimestamp>(), EPOCH.as_ref()) {
        (Some(time), Some(epoch)) => {
            Ok(CowVal::owned(CelTimestamp::from(time.inner().with_timezone(epoch.inner().offset()))))
        }
        _ => Ok(value),
    }
}

/// What a timestamp is written as.
const A_TIME: &str = "a time such as 2026-01-31T12:00:00Z";

/// The start of 1970, which has the offset of UTC.
static EPOCH: LazyLock<Option<CelTimestamp>> = LazyLock::new(|| {
    let args = vec![CowVal::owned(CelInt::from(0))];
    ENV.find_overload("timestamp", &args)?(args).ok()?.downcast_ref::<CelTimestamp>().cloned()
});

/// A text as a timestamp.
pub(crate) fn timestamp<'v>(text: &str) -> Result<Box<dyn Val + 'v>, String> {
    let meter = CowVal::owned(Meter::new(Arc::new([])));
    let args = vec![meter, CowVal::owned(CelString::from(text.to_owned())), CowVal::owned(CelInt::from(0))];
    let time = utc_timestamp(args).map_err(|_| format!("'{}' is not {A_TIME}", explain::clipped(text)))?;
    Ok(time.into_owned())
}

/// Checks the literal text given to `duration` or `timestamp`.
pub(crate) fn literal(function: &str, text: &str) -> Result<(), String> {
    if function == "timestamp" {
        return timestamp(text).map(drop).map_err(|error| format!("timestamp: {error}"));
    }
    let args = vec![CowVal::owned(CelString::from(text.to_owned()))];
    let read = is_duration(text) && ENV.find_overload("duration", &args).is_some_and(|read| read(args).is_ok());
    if read { Ok(()) } else { Err(format!("duration: {}", unread_duration(text))) }
}

/// The tree with its costs counted; the patterns of `matches` are compiled into `patterns`.
pub(crate) fn metered(node: IdedExpr, patterns: &mut Vec<Pattern>) -> Result<IdedExpr, String> {
    let expr = match node.expr {
        Expr::Call(call) => metered_call(call, patterns)?,
        Expr::Comprehension(each) => metered_loop(*each, patterns)?,
        Expr::Select(mut select) => {
            *select.operand = metered(std::mem::take(&mut *select.operand), patterns)?;
            Expr::Select(select)
        }
        Expr::List(mut list) => {
            for element in &mut list.elements {
                *element = counted(std::mem::take(element), Mode::Keep, patterns)?;
            }
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = counted(std::mem::take(&mut entry.key), Mode::Keep, patterns)?;
                    entry.value = counted(std::mem::take(&mut entry.value), Mode::Keep, patterns)?;
                }
            }
            Expr::Map(map)
        }
        expr => expr,
    };
    Ok(IdedExpr { id: node.id, expr })
}

/// A call with its arguments counted in the way that fits the function.
fn metered_call(mut call: CallExpr, patterns: &mut Vec<Pattern>) -> Result<Expr, String> {
    if call.func_name == "matches" {
        return metered_matches(call, patterns);
    }
    if call.func_name == "timestamp" && call.args.len() == 1 {
        let argument = call.args.pop().unwrap_or_default();
        return Ok(counting(TIMESTAMP, metered(argument, patterns)?, 0).expr);
    }
    let name = call.func_name.clone();
    let plain = [
        operators::CONDITIONAL,
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::NOT_STRICTLY_FALSE,
        operators::NEGATE,
    ];
    let mode = |position: usize| match (name.as_str(), position) {
        (operators::INDEX, 0) => None,
        (operators::INDEX, _) => Some(Mode::Index),
        (operators::IN, 1) => Some(Mode::Within),
        (operators::ADD, _) => Some(Mode::Term),
        ("size" | "type" | "dyn", _) => Some(Mode::Flat),
        ("duration", _) => Some(Mode::Duration),
        (name, _) if plain.contains(&name) => None,
        _ => Some(Mode::Deep),
    };
    for (position, argument) in call.args.iter_mut().enumerate() {
        let node = std::mem::take(argument);
        *argument = match mode(position) {
            Some(mode) => counted(node, mode, patterns)?,
            None => metered(node, patterns)?,
        };
    }
    if let Some(target) = &mut call.target {
        let mode = if name == "size" { Mode::Flat } else { Mode::Deep };
        **target = counted(std::mem::take(&mut **target), mode, patterns)?;
    }
    Ok(Expr::Call(call))
}

/// `matches` with its pattern compiled.
fn metered_matches(call: CallExpr, patterns: &mut Vec<Pattern>) -> Result<Expr, String> {
    let mut operands: Vec<IdedExpr> = call.target.map(|target| *target).into_iter().chain(call.args).collect();
    let (Some(pattern), Some(text), true) = (operands.pop(), operands.pop(), operands.is_empty()) else {
        return Err("matches takes a text and a pattern, as in context.key.matches('^a')".to_owned());
    };
    let Expr::Literal(LiteralValue::String(pattern)) = pattern.expr else {
        return Err("the pattern of matches must be a text in quotes".to_owned());
    };
    let compiled = Pattern::compile(pattern.inner(), patterns)?;
    let index = i64::try_from(patterns.len()).map_err(|_| "too many patterns".to_owned())?;
    patterns.push(compiled);
    let text = metered(text, patterns)?;
    Ok(counting(MATCHES, text, index).expr)
}

/// A loop with its range and its body counted.
fn metered_loop(mut each: ComprehensionExpr, patterns: &mut Vec<Pattern>) -> Result<Expr, String> {
    each.accu_init = metered(each.accu_init, patterns)?;
    each.loop_cond = metered(each.loop_cond, patterns)?;
    each.loop_step = metered(each.loop_step, patterns)?;
    each.result = metered(each.result, patterns)?;
    let body = nodes(&each.loop_cond) + nodes(&each.loop_step);
    let range = metered(each.iter_range, patterns)?;
    each.iter_range = counting(EACH, range, i64::try_from(body).unwrap_or(i64::MAX));
    Ok(Expr::Comprehension(Box::new(each)))
}

/// A node inside a call that counts its value, unless its value is known to be small.
fn counted(node: IdedExpr, mode: Mode, patterns: &mut Vec<Pattern>) -> Result<IdedExpr, String> {
    let small = match &node.expr {
        // The accumulator of a loop, which the interpreter recognises by its place in the tree.
        Expr::Ident(name) => name.starts_with('@'),
        Expr::Literal(LiteralValue::String(text)) => text.inner().len() as u64 <= BYTES_PER_STEP,
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() as u64 <= BYTES_PER_STEP,
        Expr::Literal(LiteralValue::Double(_)) => !matches!(mode, Mode::Index),
        Expr::Literal(_) => true,
        // Its parts are counted.
        Expr::List(_) => matches!(mode, Mode::Term),
        _ => false,
    };
    let node = metered(node, patterns)?;
    Ok(if small { node } else { counting(CHARGE, node, mode as i64) })
}

/// A call of a counting function.
fn counting(function: &str, node: IdedExpr, number: i64) -> IdedExpr {
    let id = node.id;
    let new = |expr: Expr| IdedExpr { id, expr };
    let args =
        vec![new(Expr::Ident(METER.to_owned())), node, new(Expr::Literal(LiteralValue::Int(CelInt::from(number))))];
    new(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
}

/// How many nodes are evaluated, but for the bodies of loops, which count for themselves.
fn nodes(node: &IdedExpr) -> usize {
    1 + match &node.expr {
        Expr::Call(call) => call.target.iter().map(|target| nodes(target)).chain(call.args.iter().map(nodes)).sum(),
        Expr::Select(select) => nodes(&select.operand),
        Expr::List(list) => list.elements.iter().map(nodes).sum(),
        Expr::Map(map) => map
            .entries
            .iter()
            .map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => nodes(&entry.key) + nodes(&entry.value),
                EntryExpr::StructField(field) => nodes(&field.value),
            })
            .sum(),
        Expr::Comprehension(each) => nodes(&each.iter_range) + nodes(&each.accu_init) + nodes(&each.result),
        _ => 0,
    }
}
