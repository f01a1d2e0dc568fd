//! When a schedule is due.
//!
//! The search runs on wall-clock readings, which know no gaps, and the readings are mapped to instants here. A
//! schedule that follows the clock is searched between two changes of the offset at a time, so that a range that comes
//! twice is searched twice and one that is left out never.

use croner::errors::CronError;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;

use super::parse::{HOUR, MINUTE, SECOND};
use super::{Cron, Dst};

/// Readings of an overlap that are passed over at most, and pieces between changes of the clock.
const MOST_STEPS: usize = 100_000;
/// Beyond it nothing is searched: the last year that an expression can name.
const LAST: DateTime = DateTime::constant(2200, 1, 1, 0, 0, 0, 0);
const DAY_MS: i64 = 86_400_000;

/// Whether any day ever matches.
pub(super) fn is_possible(search: &croner::Cron) -> bool {
    reading_after(search, DateTime::constant(1969, 12, 31, 23, 59, 59, 0)).is_some()
}

/// The next reading of a wall clock that matches.
fn reading_after(search: &croner::Cron, after: DateTime) -> Option<DateTime> {
    let found: Result<DateTime, CronError> = search.find_next_occurrence(&after, false);
    found.ok().filter(|reading| *reading < LAST)
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

impl Cron {
    /// The first instant after this one at which the schedule is due; `None` if there is none before the year 2200.
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        if !self.possible {
            return None;
        }
        match self.follows_clock() {
            true => self.next_by_clock(after_ms),
            false => self.next_fixed(after_ms),
        }
    }

    /// The instants after this one, in order.
    pub fn iter_after(&self, after_ms: i64) -> impl Iterator<Item = i64> + '_ {
        std::iter::successors(self.next_after(after_ms), |last| self.next_after(*last))
    }

    /// A job of a fixed time: every reading counts once.
    fn next_fixed(&self, after_ms: i64) -> Option<i64> {
        let after = timestamp(after_ms);
        let mut reading = self.zone.to_datetime(after).with().subsec_nanosecond(0).build().ok()?;
        for _ in 0..MOST_STEPS {
            reading = reading_after(&self.search, reading)?;
            let found = match self.zone.to_ambiguous_timestamp(reading).offset() {
                AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                    offset.to_timestamp(reading).ok()
                }
                AmbiguousOffset::Gap { .. } if self.dst == Dst::Skip => None,
                AmbiguousOffset::Gap { after, .. } => self.end_of_gap(reading, after),
            };
            if let Some(found) = found.filter(|found| *found > after) {
                return Some(found.as_millisecond());
            }
        }
        None
    }

    /// The instant at which a gap ends that holds this reading: the change of the offset.
    fn end_of_gap(&self, reading: DateTime, after: jiff::tz::Offset) -> Option<Timestamp> {
        // With the later offset the reading lies before the change, by less than the gap is long.
        let early = after.to_timestamp(reading).ok()?;
        self.zone.following(early).next().map(|change| change.timestamp())
    }

    /// A job that follows the clock: every instant whose reading matches.
    fn next_by_clock(&self, after_ms: i64) -> Option<i64> {
        let mut after = timestamp(after_ms);
        for _ in 0..MOST_STEPS {
            let offset = self.zone.to_offset(after);
            let change = self.zone.following(after).next().map(|change| change.timestamp());
            let reading = offset.to_datetime(after).with().subsec_nanosecond(0).build().ok()?;
            let found = reading_after(&self.search, reading).and_then(|found| offset.to_timestamp(found).ok());
            let Some(change) = change else { return found.map(Timestamp::as_millisecond) };
            match found {
                Some(found) if found < change => return Some(found.as_millisecond()),
                None if self.is_over(reading) => return None,
                _ => {}
            }
            // The second at which the offset changes is searched with the new one.
            let first = self.zone.to_offset(change).to_datetime(change);
            if self.matches(first) {
                return Some(change.as_millisecond());
            }
            after = change;
        }
        None
    }

    /// Whether nothing matches any more, whatever the offset: a day's margin covers each of them.
    fn is_over(&self, reading: DateTime) -> bool {
        let earlier = reading.checked_sub(jiff::Span::new().days(1));
        earlier.is_ok_and(|earlier| reading_after(&self.search, earlier).is_none())
    }

    pub(super) fn matches(&self, reading: DateTime) -> bool {
        self.search.is_time_matching(&reading).unwrap_or(false)
    }

    /// The readings that match in a range of a wall clock.
    pub(super) fn readings(&self, from: DateTime, to: DateTime) -> impl Iterator<Item = DateTime> + '_ {
        let first = if self.matches(from) { Some(from) } else { reading_after(&self.search, from) };
        std::iter::successors(first, |last| reading_after(&self.search, *last)).take_while(move |reading| *reading < to)
    }

    /// The last instant at or before this one at which the schedule was due; `None` if there was none in 60 years.
    pub fn last_until(&self, until_ms: i64) -> Option<i64> {
        let mut window = 60_000;
        while window < 60 * 366 * DAY_MS {
            if let Some(last) = self.iter_after(until_ms - window).take_while(|ms| *ms <= until_ms).last() {
                return Some(last);
            }
            window *= 8;
        }
        None
    }

    /// How many instants lie after the first and up to the second one. Whole days without a change of the clock are
    /// counted at once, so that years of outage cost little.
    pub fn count_between(&self, after_ms: i64, until_ms: i64) -> u64 {
        let mut count = 0;
        let mut at = after_ms;
        while at < until_ms {
            let Some((start, end)) = self.day_of(at + 1) else { return count };
            if at < start && end <= until_ms + 1 && self.is_plain_day(start, end) {
                count += self.on_day(start);
                at = end - 1;
                continue;
            }
            let stop = until_ms.min(end - 1);
            count += self.iter_after(at).take_while(|ms| *ms <= stop).count() as u64;
            at = stop;
        }
        count
    }

    /// The first instant of the day that holds an instant, and of the next one.
    fn day_of(&self, ms: i64) -> Option<(i64, i64)> {
        let day = timestamp(ms).to_zoned(self.zone.clone()).start_of_day().ok()?;
        let next = day.tomorrow().ok()?.start_of_day().ok()?;
        let end = next.timestamp().as_millisecond();
        (end > ms).then(|| (day.timestamp().as_millisecond(), end))
    }

    fn is_plain_day(&self, start: i64, end: i64) -> bool {
        end - start == DAY_MS && self.zone.to_offset(timestamp(start - 1)) == self.zone.to_offset(timestamp(end))
    }

    /// Instants of a day without a change of the clock.
    fn on_day(&self, start: i64) -> u64 {
        let date = self.zone.to_datetime(timestamp(start)).date();
        let numbers = |field: usize| self.parsed.field(field).numbers(field);
        let (seconds, minutes, hours) = (numbers(SECOND), numbers(MINUTE), numbers(HOUR));
        let first = |of: &[u16]| of.first().and_then(|n| i8::try_from(*n).ok()).unwrap_or_default();
        let reading = date.at(first(&hours), first(&minutes), first(&seconds), 0);
        match self.matches(reading) {
            true => (seconds.len() * minutes.len() * hours.len()) as u64,
            false => 0,
        }
    }
}
