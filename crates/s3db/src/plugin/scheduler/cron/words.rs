//! A schedule in words.

use super::parse::{DAY, Field, HOUR, Item, MINUTE, MONTH, Parsed, SECOND, WEEKDAY, YEAR};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 8] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
/// Numbers of one item that are too many to be written out.
const MANY: usize = 31;
/// Times of day that are written out.
const TIMES: usize = 6;

/// Says what an expression means.
pub(super) fn describe(parsed: &Parsed) -> String {
    let mut text = match times(parsed) {
        Some(times) => format!("at {}", and(&times)),
        None => clock(parsed),
    };
    let is_time = text.starts_with("at ") && !text.contains("every");
    match days(parsed) {
        Some(days) => text.push_str(&format!(" {days}")),
        None if is_time => text.push_str(" every day"),
        None => {}
    }
    if !parsed.field(MONTH).is_any() {
        text.push_str(&format!(" in {}", list(parsed.field(MONTH), MONTH, month)));
    }
    if !parsed.field(YEAR).is_any() {
        text.push_str(&format!(" in {}", list(parsed.field(YEAR), YEAR, |n| n.to_string())));
    }
    text
}

/// The times of day, if they are few.
fn times(parsed: &Parsed) -> Option<Vec<String>> {
    let numbers = |field: usize| parsed.field(field).numbers(field);
    let (seconds, minutes, hours) = (numbers(SECOND), numbers(MINUTE), numbers(HOUR));
    if seconds.len() * minutes.len() * hours.len() > TIMES || parsed.field(HOUR).is_any() {
        return None;
    }
    let mut found = Vec::new();
    for hour in &hours {
        for minute in &minutes {
            for second in &seconds {
                found.push(match second {
                    0 => format!("{hour:02}:{minute:02}"),
                    second => format!("{hour:02}:{minute:02}:{second:02}"),
                });
            }
        }
    }
    Some(found)
}

/// Seconds, minutes and hours that are too many for a list of times.
fn clock(parsed: &Parsed) -> String {
    let (second, minute, hour) = (parsed.field(SECOND), parsed.field(MINUTE), parsed.field(HOUR));
    let on_the_minute = second.items == [Item::Range(0, 0, 1)];
    let mut text = match (on_the_minute, minute.is_any()) {
        (false, true) => {
            let text = unit(second, SECOND, "second", 60);
            if text.starts_with("every") { text } else { format!("{text} of every minute") }
        }
        (false, false) => format!("{} of {}", unit(second, SECOND, "second", 60), named(minute, MINUTE, "minute")),
        (true, _) => unit(minute, MINUTE, "minute", 60),
    };
    if !hour.is_any() {
        text.push_str(&format!(" of {}", named(hour, HOUR, "hour")));
    } else if on_the_minute && !text.starts_with("every") {
        text.push_str(" of every hour");
    }
    text
}

/// `every 5 minutes`, or `at minute 5 and 35`.
fn unit(field: &Field, at: usize, name: &str, whole: u16) -> String {
    match field.items.as_slice() {
        _ if field.is_any() => format!("every {name}"),
        [Item::All(step)] if whole.is_multiple_of(*step) => format!("every {step} {name}s"),
        _ => format!("at {name} {}", list(field, at, |n| n.to_string())),
    }
}

/// `the minutes 5 and 35`, `every second hour`.
fn named(field: &Field, at: usize, name: &str) -> String {
    let count = field.numbers(at).len();
    let plural = if count == 1 { "" } else { "s" };
    format!("the {name}{plural} {}", list(field, at, |n| n.to_string()))
}

fn days(parsed: &Parsed) -> Option<String> {
    let (day, weekday) = (parsed.field(DAY), parsed.field(WEEKDAY));
    match (day.is_any(), weekday.is_any()) {
        (true, true) => None,
        (false, true) => Some(format!("on {}", day_list(day))),
        (true, false) => Some(format!("on {}", weekday_list(weekday))),
        (false, false) if weekday.and => Some(format!("on {}, if that is {}", day_list(day), weekday_list(weekday))),
        (false, false) => Some(format!("on {} or {}", day_list(day), weekday_list(weekday))),
    }
}

fn day_list(field: &Field) -> String {
    let plain: Vec<Item> =
        field.items.iter().filter(|i| matches!(i, Item::All(_) | Item::Range(..))).cloned().collect();
    let mut parts = Vec::new();
    if !plain.is_empty() {
        let plain = Field { items: plain, ..field.clone() };
        parts.push(format!("day {} of the month", list(&plain, DAY, |n| n.to_string())));
    }
    for item in &field.items {
        match item {
            Item::Last => parts.push("the last day of the month".into()),
            Item::LastWorkday => parts.push("the last Monday-to-Friday day of the month".into()),
            Item::Nearest(day) => parts.push(format!("the Monday-to-Friday day nearest to day {day} of the month")),
            _ => {}
        }
    }
    and(&parts)
}

fn weekday_list(field: &Field) -> String {
    let plain: Vec<Item> =
        field.items.iter().filter(|i| matches!(i, Item::All(_) | Item::Range(..))).cloned().collect();
    let mut parts = Vec::new();
    if !plain.is_empty() {
        let plain = Field { items: plain, ..field.clone() };
        parts.push(list(&plain, WEEKDAY, weekday));
    }
    for item in &field.items {
        match item {
            Item::Nth(day, n) => {
                let nth = ORDINALS.get(usize::from(n.saturating_sub(1))).copied().unwrap_or_default();
                parts.push(format!("the {nth} {} of the month", weekday(*day)));
            }
            Item::LastOf(day) => parts.push(format!("the last {} of the month", weekday(*day))),
            _ => {}
        }
    }
    and(&parts)
}

fn month(number: u16) -> String {
    MONTHS.get(usize::from(number.saturating_sub(1))).copied().unwrap_or_default().to_owned()
}

fn weekday(number: u16) -> String {
    WEEKDAYS.get(usize::from(number)).copied().unwrap_or_default().to_owned()
}

/// A field's plain items: ranges as ranges, steps as the numbers that they are.
fn list(field: &Field, at: usize, name: impl Fn(u16) -> String) -> String {
    let mut parts = Vec::new();
    for item in &field.items {
        match item {
            Item::Range(from, to, 1) if to - from > 1 => parts.push(format!("{} to {}", name(*from), name(*to))),
            Item::All(_) | Item::Range(..) => {
                let one = Field { items: vec![item.clone()], ..field.clone() };
                match (one.numbers(at).as_slice(), item) {
                    ([first, .., last], Item::All(step) | Item::Range(_, _, step)) if one.numbers(at).len() > MANY => {
                        parts.push(format!("{} to {} in steps of {step}", name(*first), name(*last)));
                    }
                    (numbers, _) => parts.extend(numbers.iter().map(|n| name(*n))),
                }
            }
            _ => {}
        }
    }
    let mut seen = Vec::new();
    parts.retain(|part| {
        let new = !seen.contains(part);
        seen.push(part.clone());
        new
    });
    and(&parts)
}

/// `a, b and c`.
fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
