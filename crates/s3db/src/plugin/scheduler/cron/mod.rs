//! Cron expressions: what they mean, when they are due, what they say in words.
//!
//! The search on the calendar is the crate `croner`'s; the forms that are accepted, and what happens where a
//! clock is changed, are decided here.

mod next;
mod notes;
mod parse;
#[cfg(test)]
mod tests;
mod words;

use std::str::FromStr;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use parse::Parsed;

/// What happens to a schedule where a clock is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dst {
    /// As Vixie cron: a job of a fixed time runs once, right after a gap, and the first time of an overlap; a job whose
    /// minute or hour begins with `*` follows the clock.
    #[default]
    Vixie,
    /// As OCPS 1.4: what lies in a gap is left out, of an overlap the first time counts; every job.
    Skip,
}

impl Dst {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vixie => "vixie",
            Self::Skip => "skip",
        }
    }
}

impl FromStr for Dst {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Vixie, Self::Skip].into_iter().find(|dst| dst.as_str() == text).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("dst: '{text}' is no way to handle a change of the clock"))
                .guide("ways are vixie and skip")
        })
    }
}

/// A schedule: a cron expression in a time zone.
///
/// ```
/// use s3db::scheduler::{Cron, Dst};
///
/// let nightly = Cron::parse("30 2 * * *", "America/New_York", Dst::Vixie)?;
/// // 02:30 does not exist on 8 March 2026: the job runs once, right after the gap.
/// let before = s3db::instant("2026-03-08T06:00:00Z").unwrap();
/// assert_eq!(nightly.next_after(before), s3db::instant("2026-03-08T07:00:00Z"));
///
/// let wrong = Cron::parse("99 * * * *", "UTC", Dst::Vixie).unwrap_err();
/// assert!(wrong.to_string().contains("in the field 'minute' at column 1"));
/// # Ok::<(), s3db::Error>(())
/// ```
///
/// Instants are milliseconds since 1970, UTC. Nothing here costs a request.
#[derive(Debug, Clone)]
pub struct Cron {
    expression: String,
    zone_name: String,
    zone: TimeZone,
    dst: Dst,
    parsed: Parsed,
    search: croner::Cron,
    possible: bool,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// `Invalid`, naming the field and the column, or the zone.
    pub fn parse(expression: &str, zone: &str, dst: Dst) -> Result<Self> {
        let parsed = parse::parse(expression)?;
        let search = croner::Cron::from_str(&parsed.plain()).map_err(|e| {
            Error::new(ErrorKind::Invalid, format!("the cron expression '{expression}' is invalid: {e}"))
                .guide("docs/cron.md has every form")
        })?;
        let possible = next::is_possible(&search);
        let zone = time_zone(zone)?;
        let zone_name = zone.iana_name().unwrap_or("UTC").to_owned();
        Ok(Self { expression: expression.to_owned(), zone, zone_name, dst, parsed, search, possible })
    }

    /// The expression as it was given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the time zone.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// Whether any day ever matches: not so for 31 February.
    pub fn is_possible(&self) -> bool {
        self.possible
    }

    /// Whether every reading of the wall clock counts by itself, also one that comes twice.
    fn follows_clock(&self) -> bool {
        let star = |field| self.parsed.field(field).star;
        self.dst == Dst::Vixie && (star(parse::MINUTE) || star(parse::HOUR))
    }
}

/// A schedule in words, with its next runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The expression.
    pub expression: String,
    /// The zone.
    pub timezone: String,
    /// What happens where the clock is changed.
    pub dst: Dst,
    /// What it means.
    pub text: String,
    /// The next runs, RFC 3339.
    pub next: Vec<String>,
    /// The same by the clock of the zone.
    pub next_local: Vec<String>,
    /// What happens when the clock is changed next, and what else is worth knowing.
    pub notes: Vec<String>,
}

impl Cron {
    /// The schedule in words, with the next runs after an instant and what happens at the next changes of the clock.
    pub fn explain(&self, after_ms: i64, runs: usize) -> Explanation {
        let next: Vec<i64> = self.iter_after(after_ms).take(runs).collect();
        Explanation {
            expression: self.expression.clone(),
            timezone: self.zone_name.clone(),
            dst: self.dst,
            text: words::describe(&self.parsed),
            next: next.iter().map(|ms| s3db_format::date::rfc3339(*ms)).collect(),
            next_local: next.iter().map(|ms| self.local(*ms)).collect(),
            notes: notes::notes(self, after_ms, next.is_empty()),
        }
    }

    /// An instant by the clock of the zone, with the weekday.
    pub fn local(&self, ms: i64) -> String {
        let zoned = jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(self.zone.clone());
        zoned.strftime("%a %Y-%m-%d %H:%M:%S %z").to_string()
    }
}

/// The zone of a name.
pub(crate) fn time_zone(name: &str) -> Result<TimeZone> {
    // A name that the library keeps for a zone that is not known.
    let known = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    known.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("the time zone '{name}' is unknown"))
            .guide("write a name of the IANA database, such as UTC or America/Sao_Paulo")
    })
}
