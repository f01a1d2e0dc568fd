//! Which backups are kept: the rules of restic's `forget`, and that nothing is kept without its parents.
//!
//! Newest first; a backup is kept if any rule keeps it. A count takes the newest backup of each calendar bucket
//! until it is used up; empty buckets cost nothing; the oldest backup is kept by each count that is not used
//! up. `within` measures back from the newest backup that is not in the future. Source: restic's documentation,
//! "Removing snapshots according to a policy".

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::settings::Retention;
use crate::error::{Error, ErrorKind, Result};

/// A policy that was checked.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    counts: Vec<Count>,
    within: Option<Span>,
    within_buckets: Vec<WithinBucket>,
    zone: TimeZone,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    bucket: Bucket,
    left: i64,
}

#[derive(Debug, Clone, Copy)]
struct WithinBucket {
    bucket: Bucket,
    span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bucket {
    Each,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Bucket {
    fn name(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// The number of the bucket that an instant falls into; `nr` counts backups.
    fn number(self, at: &Zoned, nr: usize) -> i64 {
        let (year, month, day) = (i64::from(at.year()), i64::from(at.month()), i64::from(at.day()));
        match self {
            Self::Each => i64::try_from(nr).unwrap_or(i64::MAX),
            Self::Hour => ((year * 100 + month) * 100 + day) * 100 + i64::from(at.hour()),
            Self::Day => (year * 100 + month) * 100 + day,
            Self::Week => {
                let week = at.date().iso_week_date();
                i64::from(week.year()) * 100 + i64::from(week.week())
            }
            Self::Month => year * 100 + month,
            Self::Year => year,
        }
    }
}

/// Years, months, days and hours, as restic writes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let mut span = Self::default();
        let mut rest = text;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at_checked(digits)?;
            let number: i64 = number.parse().ok().filter(|n| *n <= 1_000_000)?;
            let unit = tail.chars().next()?;
            match unit {
                'y' => span.years = number,
                'm' => span.months = number,
                'd' => span.days = number,
                'h' => span.hours = number,
                _ => return None,
            }
            rest = tail.get(1..)?;
        }
        Some(span)
    }

    /// The instant so long before another. Days that a month lacks run over into the next, as in restic.
    fn before(self, at: &Zoned) -> Option<Timestamp> {
        let months = i64::from(at.year()) * 12 + i64::from(at.month()) - 1 - self.years * 12 - self.months;
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let first = Date::new(year, i8::try_from(months.rem_euclid(12) + 1).ok()?, 1).ok()?;
        let days = i64::from(at.day()) - 1 - self.days;
        let date = first.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
        let zoned = date.to_datetime(at.time()).to_zoned(at.time_zone().clone()).ok()?;
        zoned.timestamp().checked_sub(jiff::SignedDuration::from_hours(self.hours)).ok()
    }
}

/// A backup to be decided on.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) at_ms: i64,
    pub(super) parent: Option<String>,
    pub(super) pinned: bool,
    pub(super) verified: bool,
}

/// What is decided on one: why it is kept; nothing is a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) id: String,
    pub(super) reasons: Vec<String>,
}

impl Policy {
    /// Checks a policy.
    ///
    /// # Errors
    /// `Invalid`, naming the rule.
    pub(super) fn new(settings: &Retention, zone: TimeZone) -> Result<Self> {
        let counts = [
            (Bucket::Each, settings.last),
            (Bucket::Hour, settings.hourly),
            (Bucket::Day, settings.daily),
            (Bucket::Week, settings.weekly),
            (Bucket::Month, settings.monthly),
            (Bucket::Year, settings.yearly),
        ];
        for (bucket, count) in counts {
            if let Some(wrong) = count.filter(|n| *n < -1) {
                return Err(Error::new(ErrorKind::Invalid, format!("retention.{} is {wrong}", bucket.name()))
                    .guide("write how many to keep, or -1 for all"));
            }
        }
        let span = |name: &str, text: &Option<String>| {
            let parse = |text: &String| {
                Span::parse(text).ok_or_else(|| {
                    Error::new(ErrorKind::Invalid, format!("retention.{name}: '{text}' is no duration"))
                        .guide("write years, months, days and hours, such as 1y5m7d2h")
                })
            };
            text.as_ref().map(parse).transpose()
        };
        let mut within_buckets = Vec::new();
        for (bucket, name, text) in [
            (Bucket::Hour, "withinHourly", &settings.within_hourly),
            (Bucket::Day, "withinDaily", &settings.within_daily),
            (Bucket::Week, "withinWeekly", &settings.within_weekly),
            (Bucket::Month, "withinMonthly", &settings.within_monthly),
            (Bucket::Year, "withinYearly", &settings.within_yearly),
        ] {
            within_buckets.extend(span(name, text)?.map(|span| WithinBucket { bucket, span }));
        }
        let counts = counts.into_iter().filter_map(|(bucket, n)| Some(Count { bucket, left: n.filter(|n| *n != 0)? }));
        Ok(Self { counts: counts.collect(), within: span("within", &settings.within)?, within_buckets, zone })
    }

    /// Whether it says nothing: then nothing is deleted.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.within.is_none() && self.within_buckets.is_empty()
    }

    /// The rules alone: why each instant is kept, newest first. The instants have to come newest first.
    fn rules(&self, newest_first: &[i64], now_ms: i64) -> Vec<Vec<String>> {
        let zoned = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(self.zone.clone());
        let latest = newest_first.iter().copied().filter(|ms| *ms < now_ms).max().map(zoned);
        let after = |span: Span, at: &Zoned| {
            // What lies before the calendar is within any span.
            latest.as_ref().is_some_and(|latest| span.before(latest).is_none_or(|from| at.timestamp() > from))
        };
        let mut counts: Vec<(Count, Option<i64>)> = self.counts.iter().map(|count| (*count, None)).collect();
        let mut withins: Vec<(WithinBucket, Option<i64>)> = self.within_buckets.iter().map(|w| (*w, None)).collect();
        let oldest = newest_first.len().saturating_sub(1);
        let decide = |(nr, ms): (usize, &i64)| {
            let at = zoned(*ms);
            let mut reasons = Vec::new();
            if self.within.is_some_and(|span| after(span, &at)) {
                reasons.push("within".to_owned());
            }
            for (count, seen) in counts.iter_mut().filter(|(count, _)| count.left != 0) {
                let number = count.bucket.number(&at, nr);
                if *seen != Some(number) || nr == oldest {
                    let again = if *seen == Some(number) { "oldest " } else { "" };
                    reasons.push(format!("{again}{}", count.bucket.name()));
                    *seen = Some(number);
                    count.left -= i64::from(count.left > 0);
                }
            }
            for (within, seen) in &mut withins {
                let number = within.bucket.number(&at, nr);
                if after(within.span, &at) && (*seen != Some(number) || nr == oldest) {
                    reasons.push(format!("within_{}", within.bucket.name()));
                    *seen = Some(number);
                }
            }
            reasons
        };
        newest_first.iter().enumerate().map(decide).collect()
    }

    /// Decides on the good backups of one database at one place, given newest first.
    pub(super) fn decide(&self, newest_first: &[Candidate], now_ms: i64) -> Vec<Decision> {
        let mut order: Vec<usize> = (0..newest_first.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(newest_first.get(*at).map(|c| c.at_ms)));
        let times: Vec<i64> = order.iter().filter_map(|at| Some(newest_first.get(*at)?.at_ms)).collect();
        let mut reasons: Vec<Vec<String>> = vec![Vec::new(); newest_first.len()];
        for (at, why) in order.into_iter().zip(self.rules(&times, now_ms)) {
            if let Some(slot) = reasons.get_mut(at) {
                *slot = why;
            }
        }
        let mut verified = false;
        for (nr, (candidate, why)) in newest_first.iter().zip(&mut reasons).enumerate() {
            if self.is_empty() {
                why.push("no policy".into());
            }
            if candidate.pinned {
                why.push("pinned".into());
            }
            if nr == 0 {
                why.push("newest".into());
            }
            if candidate.verified && !verified {
                verified = true;
                why.push("newest verified".into());
            }
        }
        keep_parents(newest_first, &mut reasons);
        let ids = newest_first.iter().map(|candidate| candidate.id.clone());
        ids.zip(reasons).map(|(id, reasons)| Decision { id, reasons }).collect()
    }
}

/// A parent is kept with what builds on it. It is older, so one pass from the newest on would do if clocks
/// never went back.
fn keep_parents(candidates: &[Candidate], reasons: &mut [Vec<String>]) {
    let at = |id: &str| candidates.iter().position(|candidate| candidate.id == id);
    let mut waiting: Vec<usize> =
        (0..candidates.len()).filter(|at| reasons.get(*at).is_some_and(|r| !r.is_empty())).collect();
    while let Some(child) = waiting.pop() {
        let Some(candidate) = candidates.get(child) else { continue };
        let Some(parent) = candidate.parent.as_deref().and_then(at) else { continue };
        let Some(why) = reasons.get_mut(parent) else { continue };
        if why.is_empty() {
            waiting.push(parent);
        }
        let reason = format!("parent of {}", candidate.id);
        if !why.contains(&reason) {
            why.push(reason);
        }
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
