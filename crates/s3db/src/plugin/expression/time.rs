//! Durations and timestamps: read whole or refused, and in UTC.

use std::sync::{Arc, LazyLock};

use cel::ExecutionError;
use cel::common::types::{CelInt, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use regex::Regex;

use super::explain;
use super::meter::{self, ENV, Meter};

/// Whether all of `text` is a duration, such as `-1h30m` or `1.5s`.
///
/// The library reads as far as it can and leaves the rest: `1h7d` would be an hour.
pub(crate) fn is_duration(text: &str) -> bool {
    static DURATION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^-?(?:0|(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|us|ns))+)$").ok());
    text.len() <= 256 && DURATION.as_ref().is_none_or(|pattern| pattern.is_match(text))
}

/// The text about a duration that cannot be read.
pub(crate) fn unread_duration(text: &str) -> String {
    format!("'{}' is not one; write it in h, m, s, ms, us or ns, as in 1h30m, up to 292 years", explain::clipped(text))
}

/// Converts to a timestamp, in UTC so that `getHours()` and the like are: the library keeps the offset of the text.
pub(crate) fn utc_timestamp<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (meter, value, _) = meter::arguments(args)?;
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
