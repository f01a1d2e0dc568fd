//! Reading an expression, so that every error names the field and the position.
//!
//! The rules are those of the Open Cron Pattern Specification 1.0 (revision 2) with its drafts 1.1 to 1.4
//! (<https://github.com/open-source-cron/ocps>). What passes here is written out again in plain numbers for the
//! library that searches.

use serde_json::json;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of an expression at most.
pub(super) const MOST_BYTES: usize = 256;

/// The fields in their order; an expression has the last five of the first six, the first six, or all.
pub(super) const SECOND: usize = 0;
pub(super) const MINUTE: usize = 1;
pub(super) const HOUR: usize = 2;
pub(super) const DAY: usize = 3;
pub(super) const MONTH: usize = 4;
pub(super) const WEEKDAY: usize = 5;
pub(super) const YEAR: usize = 6;

/// What a field may hold.
struct Kind {
    name: &'static str,
    least: u16,
    most: u16,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const KINDS: [Kind; 7] = [
    Kind { name: "second", least: 0, most: 59, names: &[] },
    Kind { name: "minute", least: 0, most: 59, names: &[] },
    Kind { name: "hour", least: 0, most: 23, names: &[] },
    Kind { name: "day of month", least: 1, most: 31, names: &[] },
    Kind { name: "month", least: 1, most: 12, names: &MONTHS },
    Kind { name: "day of week", least: 0, most: 7, names: &WEEKDAYS },
    Kind { name: "year", least: 1970, most: 2199, names: &[] },
];

/// Words for whole expressions.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// One item of a field's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// `*` or `?`, with a step.
    All(u16),
    /// `A`, `A-B`, `A-B/S`.
    Range(u16, u16, u16),
    /// `L`: the last day of the month.
    Last,
    /// `LW`: the last of Monday to Friday.
    LastWorkday,
    /// `15W`: of Monday to Friday the nearest.
    Nearest(u16),
    /// `MON#2`.
    Nth(u16, u16),
    /// `FRI#L`, `5L`.
    LastOf(u16),
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) items: Vec<Item>,
    /// Whether its text begins with `*`.
    pub(super) star: bool,
    /// `+` before the days of the week: both day fields must match.
    pub(super) and: bool,
}

impl Field {
    fn of(item: Item, star: bool) -> Self {
        Self { items: vec![item], star, and: false }
    }

    /// Whether everything matches: then the field restricts nothing, whatever else its list holds.
    pub(super) fn is_any(&self) -> bool {
        self.items.contains(&Item::All(1))
    }

    /// The numbers that match, in order; those of `L`, `W` and `#` are none.
    pub(super) fn numbers(&self, field: usize) -> Vec<u16> {
        let Some(kind) = KINDS.get(field) else { return Vec::new() };
        let mut found = Vec::new();
        for item in &self.items {
            match item {
                Item::All(step) => found.extend((kind.least..=kind.most).step_by(usize::from(*step))),
                Item::Range(from, to, step) => found.extend((*from..=*to).step_by(usize::from(*step))),
                _ => {}
            }
        }
        if field == WEEKDAY {
            found.iter_mut().for_each(|day| *day %= 7);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// An expression in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Seven fields: seconds and years are filled in.
    pub(super) fields: Vec<Field>,
}

impl Parsed {
    /// The field of a number. There are always seven.
    pub(super) fn field(&self, at: usize) -> &Field {
        static NONE: Field = Field { items: Vec::new(), star: false, and: false };
        self.fields.get(at).unwrap_or(&NONE)
    }

    /// All seven fields in numbers.
    pub(super) fn plain(&self) -> String {
        let texts: Vec<String> = self.fields.iter().map(plain_field).collect();
        texts.join(" ")
    }
}

fn plain_field(field: &Field) -> String {
    let plus = if field.and { "+" } else { "" };
    if field.is_any() {
        return format!("{plus}*");
    }
    let items: Vec<String> = field.items.iter().map(plain_item).collect();
    format!("{plus}{}", items.join(","))
}

fn plain_item(item: &Item) -> String {
    match item {
        Item::All(1) => "*".into(),
        Item::All(step) => format!("*/{step}"),
        Item::Range(from, to, 1) if from == to => from.to_string(),
        Item::Range(from, to, 1) => format!("{from}-{to}"),
        Item::Range(from, to, step) => format!("{from}-{to}/{step}"),
        Item::Last => "L".into(),
        Item::LastWorkday => "LW".into(),
        Item::Nearest(day) => format!("{day}W"),
        Item::Nth(day, n) => format!("{day}#{n}"),
        Item::LastOf(day) => format!("{day}#L"),
    }
}

/// Where something is wrong, and what.
struct Wrong {
    /// The column, from 1.
    position: usize,
    what: String,
}

/// Reads an expression.
pub(super) fn parse(expression: &str) -> Result<Parsed> {
    if expression.len() > MOST_BYTES {
        return Err(refused(
            expression,
            None,
            1,
            &format!("it has {} bytes, at most {MOST_BYTES} are allowed", expression.len()),
        ));
    }
    if let Some(at) = expression.find(|c: char| c.is_control() && c != '\t') {
        let column = column(expression, at);
        return Err(refused(expression, None, column, "fields are separated by spaces or tabs, nothing else"));
    }
    let words = words(expression);
    let Some((first_at, first)) = words.first() else {
        return Err(refused(expression, None, 1, "it is empty"));
    };
    if first.starts_with('@') {
        if let Some((at, _)) = words.get(1) {
            return Err(refused(expression, None, *at, "a nickname stands alone"));
        }
        let Some((_, plain)) = NICKNAMES.iter().find(|(name, _)| name == first) else {
            return Err(refused(expression, None, *first_at, &unknown_nickname(first)));
        };
        return parse(plain);
    }
    let (first_field, count) = match words.len() {
        5 => (MINUTE, 5),
        6 => (SECOND, 6),
        7 => (SECOND, 7),
        n => {
            let what = format!(
                "it has {n} field{}, it needs 5 (minute hour day month weekday), 6 (second first) or 7 (year last)",
                if n == 1 { "" } else { "s" }
            );
            return Err(refused(expression, None, *first_at, &what));
        }
    };
    let mut fields = Vec::new();
    if count == 5 {
        fields.push(Field::of(Item::Range(0, 0, 1), false));
    }
    for (at, (start, word)) in words.iter().enumerate() {
        let field = first_field + at;
        let read = read_field(field, word, *start);
        fields.push(read.map_err(|wrong| refused(expression, Some(field), wrong.position, &wrong.what))?);
    }
    if count < 7 {
        fields.push(Field::of(Item::All(1), true));
    }
    Ok(Parsed { fields })
}

fn column(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.chars().count() + 1)
}

/// The words with their columns.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut offset = 0;
    while let Some(start) = rest.find(|c| c != ' ' && c != '\t') {
        let tail = rest.get(start..).unwrap_or_default();
        let end = tail.find([' ', '\t']).unwrap_or(tail.len());
        found.push((column(text, offset + start), tail.get(..end).unwrap_or_default()));
        offset += start + end;
        rest = tail.get(end..).unwrap_or_default();
    }
    found
}

fn unknown_nickname(word: &str) -> String {
    if word.eq_ignore_ascii_case("@reboot") {
        return "'@reboot' is no point in time; run the command when the process starts".into();
    }
    let known: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
    format!("'{word}' is no nickname; there are {}, in small letters", known.join(" "))
}

/// The error of an expression.
fn refused(expression: &str, field: Option<usize>, position: usize, what: &str) -> Error {
    let name = field.and_then(|at| KINDS.get(at)).map(|kind| kind.name);
    let place = name
        .map_or_else(|| format!("at column {position}"), |name| format!("in the field '{name}' at column {position}"));
    let shown: String = expression.chars().take(MOST_BYTES).collect();
    Error::new(ErrorKind::Invalid, format!("the cron expression '{shown}' is invalid {place}: {what}"))
        .guide("an expression is [second] minute hour day-of-month month day-of-week [year], such as '30 9 * * MON-FRI', in quotes in a shell; docs/cron.md has every form")
        .detail(json!({ "fields": [{ "field": name.unwrap_or("schedule"), "rule": "cron", "position": position, "message": what }] }))
}

fn read_field(field: usize, word: &str, start: usize) -> std::result::Result<Field, Wrong> {
    let mut position = start;
    let (and, list) = match word.strip_prefix('+') {
        Some(rest) if field == WEEKDAY => {
            position += 1;
            (true, rest)
        }
        _ => (false, word),
    };
    let mut items = Vec::new();
    for part in list.split(',') {
        let item = read_item(field, part).map_err(|what| Wrong { position, what })?;
        items.push(item);
        if [Item::Last, Item::LastWorkday].iter().all(|form| items.contains(form)) {
            // They are one condition for the search.
            return Err(Wrong { position, what: "'L' and 'LW' do not go together in one list".into() });
        }
        position += part.chars().count() + 1;
    }
    Ok(Field { items, star: list.starts_with('*'), and })
}

fn read_item(field: usize, part: &str) -> std::result::Result<Item, String> {
    if part.is_empty() {
        return Err("an item of a list is empty".into());
    }
    let special = match field {
        DAY => read_day(part),
        WEEKDAY => read_weekday(part),
        _ => None,
    };
    if let Some(special) = special {
        return special;
    }
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if range == "?" {
        return match (field, step) {
            (DAY | WEEKDAY, None) => Ok(Item::All(1)),
            (DAY | WEEKDAY, Some(_)) => Err("'?' takes no step; write '*'".into()),
            _ => Err("'?' is only for days; write '*'".into()),
        };
    }
    let bounds = match range.split_once('-') {
        _ if range == "*" => None,
        Some((from, to)) => {
            let from = number(field, from, part)?;
            // As an end, SUN is the seventh day.
            let to = if field == WEEKDAY && to.eq_ignore_ascii_case("SUN") { 7 } else { number(field, to, part)? };
            if from > to {
                return Err(format!("the range '{range}' ends before it begins"));
            }
            Some((from, to))
        }
        None => {
            let one = number(field, range, part)?;
            if step.is_some() {
                return Err(format!(
                    "a step follows '*' or a range, as in '*/{0}' or '{range}-{1}/{0}'",
                    step.unwrap_or_default(),
                    most(field)
                ));
            }
            Some((one, one))
        }
    };
    let step = step.map_or(Ok(1), read_step)?;
    Ok(match bounds {
        None => Item::All(step),
        Some((from, to)) => Item::Range(from, to, step),
    })
}

fn most(field: usize) -> u16 {
    KINDS.get(field).map_or(0, |kind| kind.most)
}

fn read_step(text: &str) -> std::result::Result<u16, String> {
    match digits(text) {
        Some(0) => Err("the step cannot be 0".into()),
        // Beyond every field it means the first value, as any step that is too long does.
        Some(step) => Ok(step),
        None => Err(format!("the step '{text}' is no number")),
    }
}

/// A number of plain digits; numbers that are too large are the largest.
fn digits(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().unwrap_or(u16::MAX))
}

fn number(field: usize, text: &str, part: &str) -> std::result::Result<u16, String> {
    let Some(kind) = KINDS.get(field) else { return Err("there is no such field".into()) };
    if text.is_empty() {
        return Err(format!("'{part}' lacks a number"));
    }
    if let Some(number) = digits(text) {
        return match (kind.least..=kind.most).contains(&number) {
            true => Ok(number),
            false => Err(format!("{text} is not between {} and {}", kind.least, kind.most)),
        };
    }
    if let Some(at) = kind.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(u16::try_from(at).unwrap_or_default() + kind.least);
    }
    let is_name = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(text));
    Err(match () {
        () if is_name(&MONTHS) => format!("'{text}' is a month, this is the field of the {}", kind.name),
        () if is_name(&WEEKDAYS) => format!("'{text}' is a day of the week, this is the field of the {}", kind.name),
        () if !kind.names.is_empty() && text.chars().all(char::is_alphabetic) => {
            format!("'{text}' is no name; names are {}", kind.names.join(" "))
        }
        () => format!("'{text}' is no number"),
    })
}

/// `L`, `LW`, `15W`; `None` for anything else.
fn read_day(part: &str) -> Option<std::result::Result<Item, String>> {
    let upper = part.to_ascii_uppercase();
    match upper.as_str() {
        "L" => return Some(Ok(Item::Last)),
        "LW" => return Some(Ok(Item::LastWorkday)),
        "W" => return Some(Err("'W' needs a day before it, as in '15W'".into())),
        _ => {}
    }
    if upper.starts_with('L') {
        return Some(Err(format!("'{part}' is not a form of 'L'; there are 'L' and 'LW'")));
    }
    let day = upper.strip_suffix('W')?;
    Some(match digits(day) {
        Some(_) => number(DAY, day, part).map(Item::Nearest),
        None => Err(format!("'W' follows one day, as in '15W', not '{day}'")),
    })
}

/// `MON#2`, `FRI#L`, `5L`; `None` for anything else.
fn read_weekday(part: &str) -> Option<std::result::Result<Item, String>> {
    if let Some((day, nth)) = part.split_once('#') {
        let day = match number(WEEKDAY, day, part) {
            Ok(day) => day % 7,
            Err(why) => return Some(Err(why)),
        };
        return Some(match digits(nth) {
            _ if nth.eq_ignore_ascii_case("L") => Ok(Item::LastOf(day)),
            Some(n) if (1..=5).contains(&n) => Ok(Item::Nth(day, n)),
            _ => Err(format!("'#{nth}' must be #1 to #5, or #L for the last one")),
        });
    }
    if part.eq_ignore_ascii_case("L") {
        return Some(Err("'L' needs a day before it, as in '5L' or 'FRI#L'".into()));
    }
    let day = part.strip_suffix(['L', 'l'])?;
    let read = number(WEEKDAY, day, part);
    // JUL and the like are names of another field, which the plain reading tells better.
    read.is_ok().then(|| read.map(|day| Item::LastOf(day % 7)))
}
