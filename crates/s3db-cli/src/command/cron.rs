//! `s3db cron …`: no database is needed.

use s3db::scheduler::{Cron, Dst, Explanation};
use s3db::store::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::args::{CronCommand, CronDst, Format, Schedule};
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

/// Runs that `explain` shows.
const SHOWN: usize = 5;
/// Runs that `next` prints at most.
const MOST: usize = 100_000;

pub(super) fn run(context: &mut Context, command: CronCommand) -> Result<u8, Failure> {
    let printer = context.printer()?;
    match command {
        CronCommand::Next { schedule, from, n } => next(printer, &read(&schedule)?, from.unwrap_or_else(now), n),
        CronCommand::Explain { schedule } => explain(printer, &read(&schedule)?.explain(now(), SHOWN)),
        CronCommand::Validate { schedule } => validate(printer, &read(&schedule)?),
    }
}

fn now() -> i64 {
    SystemClock.now_ms()
}

fn read(schedule: &Schedule) -> Result<Cron, Failure> {
    let dst = match schedule.dst {
        CronDst::Vixie => Dst::Vixie,
        CronDst::Skip => Dst::Skip,
    };
    Ok(Cron::parse(&schedule.expression, &schedule.tz, dst)?)
}

fn next(printer: Printer, cron: &Cron, from: i64, n: usize) -> Result<u8, Failure> {
    let found: Vec<i64> = cron.iter_after(from).take(n.min(MOST)).collect();
    if found.is_empty() && n > 0 {
        let why = cron.explain(from, 1).notes.join("; ");
        return Err(Failure::input(
            format!("'{}' has no next run: {why}", cron.expression()),
            "see `s3db cron explain`",
        ));
    }
    if n > MOST {
        printer.note(&format!("the first {MOST} of {n}"));
    }
    match printer.format {
        Format::Json => printer.one(&found.iter().map(|ms| json!(seconds(*ms))).collect::<Value>())?,
        Format::Jsonl => found.iter().try_for_each(|ms| printer.line(&json!(seconds(*ms)).to_string()))?,
        Format::Table => {
            let rows = found.iter().map(|ms| vec![seconds(*ms), cron.local(*ms)]);
            printer.line(&table::grid(&["utc", cron.zone()], rows))?;
        }
    }
    Ok(exit::DONE)
}

/// An instant on a whole second, as all of them are.
fn seconds(ms: i64) -> String {
    s3db::rfc3339(ms).replace(".000Z", "Z")
}

fn explain(printer: Printer, explained: &Explanation) -> Result<u8, Failure> {
    if printer.format != Format::Table {
        return printer.one(&json!(explained)).map(|()| exit::DONE);
    }
    printer.line(&format!("{}  ({}, {})", explained.expression, explained.timezone, explained.dst.as_str()))?;
    printer.line(&format!("{}\n", explained.text))?;
    let rows = explained.next.iter().zip(&explained.next_local);
    let rows = rows.map(|(utc, local)| vec![utc.replace(".000Z", "Z"), local.clone()]);
    if !explained.next.is_empty() {
        printer.line(&table::grid(&["next, utc", &explained.timezone], rows))?;
    }
    for note in &explained.notes {
        printer.line(&format!("\nnote: {note}"))?;
    }
    Ok(exit::DONE)
}

fn validate(printer: Printer, cron: &Cron) -> Result<u8, Failure> {
    let explained = cron.explain(now(), 1);
    if printer.format == Format::Table {
        printer.line(&format!("valid: {}", explained.text))?;
    } else {
        printer.one(&json!({ "valid": true, "expression": explained.expression, "text": explained.text }))?;
    }
    if explained.next.is_empty() {
        printer.note(&format!("warning: {}", explained.notes.join("; ")));
    }
    Ok(exit::DONE)
}
