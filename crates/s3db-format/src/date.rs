//! Dates: the instants that a `date` attribute holds, and the calendar day that s3db.js makes of a
//! text for a partition.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

/// The instant of an RFC 3339 text or of a calendar day (midnight UTC), in milliseconds since 1970.
pub fn instant(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let strict = text.len() == 10 && text.as_bytes().get(4) == Some(&b'-');
    let day = text.parse::<Date>().ok().filter(|_| strict)?;
    Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// An instant as s3db writes times: RFC 3339 in UTC with milliseconds.
pub fn rfc3339(milliseconds: i64) -> String {
    let at = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The UTC day of a text as JavaScript's `Date` parses it, for the forms that people use:
/// ISO days (a day past the month's end runs over), months, instants with an offset, and English
/// month names. `None` where V8 gives an invalid date, or where we do not follow its guesses.
pub fn js_day(text: &str) -> Option<String> {
    iso_day(text).or_else(|| offset_day(text)).or_else(|| named_month_day(text)).map(|d| d.to_string())
}

fn iso_day(text: &str) -> Option<Date> {
    let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let (year, month, day) = match parts.as_slice() {
        [y, m] if digits(y, 4) && digits(m, 2) => (*y, *m, "1"),
        [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2) => (*y, *m, *d),
        _ => return None,
    };
    let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    let day: i64 = day.parse().ok().filter(|d| (1..=31).contains(d))?;
    first.checked_add((day - 1).days()).ok()
}

fn offset_day(text: &str) -> Option<Date> {
    let at = text.parse::<Timestamp>().ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).date())
}

/// `March 7, 2024`, `Mar 7 2024`, `7 March 2024`; without a year V8 takes 2001.
fn named_month_day(text: &str) -> Option<Date> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let words: Vec<&str> = text.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let (a, b, year) = match words.as_slice() {
        [a, b, year] => (a, b, *year),
        [a, b] => (a, b, "2001"),
        _ => return None,
    };
    let (name, day) = if a.starts_with(|c: char| c.is_ascii_digit()) { (b, a) } else { (a, b) };
    let name = name.to_ascii_lowercase();
    let month = MONTHS.iter().position(|m| name.len() >= 3 && name.starts_with(m))?;
    let year: i16 = year.parse().ok()?;
    let year = match year {
        0..=49 => year + 2000,
        50..=99 => year + 1900,
        _ => year,
    };
    let first = Date::new(year, i8::try_from(month + 1).ok()?, 1).ok()?;
    let day: i64 = day.parse().ok().filter(|d| (1..=31).contains(d))?;
    first.checked_add((day - 1).days()).ok()
}
