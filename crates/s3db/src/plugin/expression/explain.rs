//! The texts for what goes wrong: they name the thing and the way out.

use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use cel::{ExecutionError, ParseErrors};
use serde_json::{Map, Value};

use super::MAX_NESTING;
use super::check::Findings;

/// The longest piece of the source or of the data a text quotes, in characters.
const MAX_QUOTED_CHARS: usize = 60;

/// `text`, cut when it is long.
pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A hint naming the nearest known word, if one is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Data can have keys of any length and number; the distance is only worth its time for short ones.
    let short = known.into_iter().filter(|k| k.len() <= MAX_QUOTED_CHARS).take(1000);
    s3db_format::error::did_you_mean(&clipped(word), short)
}

/// What a value is, with the value itself when it is short.
pub(crate) fn described(value: &dyn Val) -> String {
    let kind = type_name(value.get_type().name());
    let shown = if let Some(text) = value.downcast_ref::<CelString>() {
        format!("'{}'", clipped(text.inner()))
    } else if let Some(int) = value.downcast_ref::<CelInt>() {
        int.inner().to_string()
    } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
        uint.inner().to_string()
    } else if let Some(double) = value.downcast_ref::<CelDouble>() {
        double.inner().to_string()
    } else if let Some(flag) = value.downcast_ref::<CelBool>() {
        flag.inner().to_string()
    } else if value.downcast_ref::<CelNull>().is_some() {
        return kind.to_owned();
    } else {
        return format!("a {kind}");
    };
    format!("the {kind} {shown}")
}

/// The name of a type as it is written in an expression.
fn type_name(name: &str) -> &str {
    match name {
        "google.protobuf.Timestamp" => "timestamp",
        "google.protobuf.Duration" => "duration",
        "null_type" => "null",
        "float" => "double",
        name => name,
    }
}

/// The text for a source that cannot be parsed.
pub(crate) fn syntax(errors: &ParseErrors) -> String {
    if errors.errors.iter().any(|error| error.msg.contains("Recursion limit")) {
        return format!("the expression is more than {MAX_NESTING} levels deep; split it into several");
    }
    // What follows the first wrong token is often a consequence of it, sorted by where the part it is in begins.
    let first = errors.errors.iter().find(|error| error.msg.starts_with("Syntax error")).or(errors.errors.first());
    let Some(error) = first else {
        return "the expression cannot be parsed".to_owned();
    };
    let text = error.msg.trim_start_matches("Syntax error: ");
    let text = match text {
        "unsupported syntax '.?'" | "unsupported syntax '?'" | "unsupported syntax '[?'" => {
            "optional syntax is not supported; test for a key with has(context.key)"
        }
        "invalid argument to has() macro" => "has takes one field selection, as in has(context.key)",
        // What follows is the inside of the parser, or a list of every token there is.
        text => [" expecting ", ": Invalid", ": Missing"]
            .iter()
            .fold(text, |text, end| text.split(end).next().unwrap_or(text)),
    };
    let (line, column) = error.pos;
    format!("line {line}, column {column}: {}", clipped_twice(text))
}

/// A text of the parser's, which quotes the source itself.
fn clipped_twice(text: &str) -> String {
    let mut text: String = text.chars().take(2 * MAX_QUOTED_CHARS).collect();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text.trim_end_matches('.').replace('\n', " ")
}

/// The text for an evaluation that failed.
pub(crate) fn execution(error: &ExecutionError, findings: &Findings, variables: &Map<String, Value>) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => missing_key(key, findings, variables),
        ExecutionError::NoSuchOverload(overload) => {
            let types: Vec<&str> = overload.argument_types().iter().map(|name| type_name(name)).collect();
            no_overload(overload.function(), &types, overload.is_member_function())
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right)
        | ExecutionError::Overflow(operator, left, right) => {
            let symbol = match *operator {
                "add" => "_+_",
                "sub" => "_-_",
                "mul" => "_*_",
                "div" => "_/_",
                "rem" => "_%_",
                "negate" => "-_",
                other => other,
            };
            let (left, right) = (left.type_of().to_string(), right.type_of().to_string());
            let types = [type_name(&left), type_name(&right)];
            if matches!(error, ExecutionError::Overflow(..)) {
                let types = if symbol == "-_" { types.get(..1).unwrap_or_default() } else { &types };
                return format!("overflow: {} does not fit", call_text(symbol, types, false));
            }
            no_overload(symbol, &types, false)
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            let (left, right) = (left.type_of().to_string(), right.type_of().to_string());
            no_overload("_<_", &[type_name(&left), type_name(&right)], false)
        }
        ExecutionError::UnexpectedType { want, got } if want == "iterable" => {
            format!(
                "{} cannot be looped over; all, exists, map and filter want a list or a map",
                clipped(type_name(got))
            )
        }
        ExecutionError::UnexpectedType { want, got } => {
            let hint = if want == "bool" { "; write a comparison" } else { "" };
            format!("expected {}, got {}{hint}", clipped(type_name(want)), clipped(type_name(got)))
        }
        ExecutionError::DivisionByZero(_) => "division by zero; test the divisor with != 0 first".to_owned(),
        ExecutionError::RemainderByZero(_) => "remainder by zero; test the divisor with != 0 first".to_owned(),
        ExecutionError::IndexOutOfBounds(index) => {
            format!("no item {} in the list; test size(…) first", short(index))
        }
        ExecutionError::UnsupportedIndex(..) => "a list is indexed with a whole number".to_owned(),
        ExecutionError::DuplicateKey(key) => format!("the map repeats the key {}", short(key)),
        ExecutionError::UnsupportedKeyType(key) => {
            let kind = key.type_of().to_string();
            format!("{} cannot be a map key; write string(…) around it", type_name(&kind))
        }
        ExecutionError::UndeclaredReference(name) => format!("'{}' is not known here", clipped(name)),
        ExecutionError::FunctionError { function, message } => format!("{function}: {}", clipped_twice(message)),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function wants {expected} arguments and got {actual}")
        }
        // The other texts print whole values.
        _ => "the expression cannot be evaluated".to_owned(),
    }
}

/// A scalar, or the type of anything else.
fn short(value: &cel::Value) -> String {
    match value {
        cel::Value::Int(int) => int.to_string(),
        cel::Value::UInt(uint) => uint.to_string(),
        cel::Value::Float(double) => double.to_string(),
        cel::Value::Bool(flag) => flag.to_string(),
        cel::Value::String(text) => format!("'{}'", clipped(text)),
        other => other.type_of().to_string(),
    }
}

/// The text for a key that is not there.
fn missing_key(key: &str, findings: &Findings, variables: &Map<String, Value>) -> String {
    let shown = clipped(key);
    let of_variable = findings.paths.iter().find_map(|path| holder_of(key, path, variables));
    // The name of a loop has no data of its own to look at.
    let of_loop = || {
        let path = findings.paths.iter().find(|path| path.get(1).is_some_and(|field| field == key))?;
        path.first().filter(|root| !variables.contains_key(*root)).map(|root| (root.clone(), None))
    };
    let Some((holder, near)) = of_variable.or_else(of_loop) else {
        return format!(
            "no such key '{shown}'; test for it with '{shown}' in the map, or with has(context.key) for a field"
        );
    };
    let holder = clipped(&holder);
    let near = near.map(|near| format!("{near} ")).unwrap_or_default();
    format!("no such key '{shown}' in {holder}; {near}test for it with has({holder}.{shown})")
}

/// Where on `path` the variables lack `key`, and the hint naming a key that is there and near it.
fn holder_of(key: &str, path: &[String], variables: &Map<String, Value>) -> Option<(String, Option<String>)> {
    let (root, fields) = path.split_first()?;
    let mut at = variables.get(root)?;
    let mut holder = root.clone();
    for field in fields {
        let object = at.as_object()?;
        match object.get(field) {
            Some(inner) => at = inner,
            None if field == key => return Some((holder, did_you_mean(key, object.keys().map(String::as_str)))),
            None => return None,
        }
        holder = format!("{holder}.{field}");
    }
    None
}

/// A call as it is written, with types for values.
fn call_text(function: &str, types: &[&str], member: bool) -> String {
    match (function, types) {
        ("@in", [left, right]) => format!("{left} in {right}"),
        ("_[_]", [left, right]) => format!("{left}[{right}]"),
        ("-_" | "!_", [only]) => format!("{}{only}", function.trim_end_matches('_')),
        (operator, [left, right]) if operator.starts_with('_') => {
            format!("{left} {} {right}", operator.trim_matches('_'))
        }
        (name, [target, rest @ ..]) if member => format!("{target}.{name}({})", rest.join(", ")),
        (name, types) => format!("{name}({})", types.join(", ")),
    }
}

/// The text for types that do not go together.
fn no_overload(function: &str, types: &[&str], member: bool) -> String {
    if function == "_._" {
        return match types.first() {
            Some(&"null") => "null has no fields; test the value with != null first".to_owned(),
            kind => format!("{} has no fields, only a map does", kind.unwrap_or(&"the value")),
        };
    }
    let call = call_text(function, types, member);
    let any = |wanted: &[&str]| types.iter().any(|name| wanted.contains(name));
    let operator = function.starts_with('_') && function != "_[_]";
    let hint = if any(&["null"]) {
        "one side is null; test it with != null first"
    } else if !operator {
        match function {
            "@in" => "the right side of in is a list or a map",
            "_[_]" => "a list is indexed with a whole number and a map with a key",
            "-_" => "- wants an int or a double",
            "!_" => "! wants a bool; write a comparison",
            _ => "check the types of the arguments",
        }
    } else if any(&["timestamp"]) && any(&["string"]) {
        "write timestamp(…) around the text"
    } else if any(&["duration"]) && any(&["string"]) {
        "write duration(…) around the text"
    } else if any(&["timestamp", "duration"]) && any(&["int", "uint", "double"]) {
        "write the span as duration('90s')"
    } else if any(&["double"]) && any(&["int", "uint"]) {
        "write double(…) around the whole number"
    } else if any(&["int"]) && any(&["uint"]) {
        "write int(…) around the uint"
    } else if any(&["string"]) && any(&["int", "uint", "double", "bool"]) {
        if function == "_+_" {
            "write string(…) around the other side"
        } else {
            "write int(…) or double(…) around the text"
        }
    } else if function == "_&&_" || function == "_||_" {
        "both sides must be bool; write a comparison"
    } else {
        "both sides must be of one type"
    };
    format!("no such overload: {call}; {hint}")
}
