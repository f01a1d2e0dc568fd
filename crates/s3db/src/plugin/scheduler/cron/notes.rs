//! What is worth knowing about a schedule: the next changes of the clock, and schedules that never fire.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan as _};

use super::{Cron, Dst};

/// How far ahead changes of the clock are told.
const DAYS: i64 = 400;
/// Readings that are named.
const NAMED: usize = 3;

pub(super) fn notes(cron: &Cron, after_ms: i64, never: bool) -> Vec<String> {
    if !cron.is_possible() {
        return vec!["it never fires: no month has such a day".into()];
    }
    if never {
        return vec!["it has no run from here to the end of the year 2199".into()];
    }
    let Ok(from) = Timestamp::from_millisecond(after_ms) else { return Vec::new() };
    let Ok(to) = from.checked_add((24 * DAYS).hours()) else { return Vec::new() };
    let changes = cron.zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < to).take(2);
    changes.filter_map(|at| note(cron, at)).collect()
}

/// What happens at a change of the clock; `None` if nothing does.
fn note(cron: &Cron, at: Timestamp) -> Option<String> {
    let before = cron.zone.to_offset(Timestamp::from_nanosecond(at.as_nanosecond() - 1).ok()?).to_datetime(at);
    let after = cron.zone.to_offset(at).to_datetime(at);
    let date = before.date();
    let zone = cron.zone();
    if after > before {
        let (missing, many) = named(cron, before, after)?;
        let exist = if many { "do not exist" } else { "does not exist" };
        let what = match (cron.follows_clock(), cron.dst) {
            (true, _) => "it does not run then".to_owned(),
            (false, Dst::Vixie) => format!("it runs once at {}", clock(after)),
            (false, Dst::Skip) if many => "those runs are left out".to_owned(),
            (false, Dst::Skip) => "that run is left out".to_owned(),
        };
        let gap = format!("on {date} the clock of {zone} goes from {} to {}", clock(before), until(before, after));
        return Some(format!("{gap}: {missing} {exist}, {what}"));
    }
    if after < before {
        let (twice, many) = named(cron, after, before)?;
        let come = if many { "come" } else { "comes" };
        let what = if cron.follows_clock() { "it runs both times" } else { "it runs the first time only" };
        let overlap =
            format!("on {date} the clock of {zone} goes back from {} to {}", clock(before), until(before, after));
        return Some(format!("{overlap}: {twice} {come} twice, {what}"));
    }
    None
}

/// The first readings of a range that match, and whether there are several; `None` if none does.
fn named(cron: &Cron, from: DateTime, to: DateTime) -> Option<(String, bool)> {
    let mut found: Vec<String> = cron.readings(from, to).take(NAMED + 1).map(clock).collect();
    if found.len() > NAMED {
        found.truncate(NAMED);
        return Some((format!("{} and so on", found.join(", ")), true));
    }
    (!found.is_empty()).then(|| (found.join(", "), found.len() > 1))
}

/// The reading that a clock is set to, with its date if that is another.
fn until(before: DateTime, after: DateTime) -> String {
    match before.date() == after.date() {
        true => clock(after),
        false => format!("{} of {}", clock(after), after.date()),
    }
}

fn clock(at: DateTime) -> String {
    match at.second() {
        0 => at.strftime("%H:%M").to_string(),
        _ => at.strftime("%H:%M:%S").to_string(),
    }
}
