//! What `s3db run` prints: a line for people, or an object for programs, for each thing that happens.

use s3db::scheduler::SchedulerEvent;
use serde_json::{Value, json};

use super::generation::Summary;
use super::now;
use crate::args::Format;
use crate::output::{Failure, Printer};

/// It is ready.
pub(super) fn ready(printer: Printer, summary: &Summary) -> Result<(), Failure> {
    let enabled = summary.jobs.iter().filter(|job| job.enabled).count();
    let next = summary.jobs.iter().filter_map(|job| Some((job.next_run.clone()?, job.name.clone()))).min();
    if printer.format != Format::Table {
        let next = next.map(|(at, job)| json!({ "job": job, "at": at }));
        return line(
            printer,
            json!({ "type": "ready", "url": summary.url, "jobs": enabled, "machines": summary.machines, "next": next }),
        );
    }
    let first = next.map_or_else(|| "no job is due".to_owned(), |(at, job)| format!("next: {job} at {at}"));
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    printer.line(&format!(
        "{}  ready: {}, {}; {first}",
        now(),
        count(enabled, "job"),
        count(summary.machines, "machine")
    ))
}

/// Something happened to a job.
pub(super) fn event(printer: Printer, event: &SchedulerEvent) -> Result<(), Failure> {
    if printer.format != Format::Table {
        return line(printer, json!(event));
    }
    let text = match event {
        SchedulerEvent::JobStart { job_name, context } => format!("{job_name}  begins: {}", context.run_id),
        SchedulerEvent::JobComplete { job_name, result, duration, .. } => {
            let result = if result.is_null() { String::new() } else { format!(": {}", short(result)) };
            format!("{job_name}  succeeded in {}{result}", super::super::backup::duration(*duration))
        }
        SchedulerEvent::JobError { job_name, error, retry_count, .. } => {
            format!("{job_name}  attempt {retry_count} failed: {error}")
        }
        SchedulerEvent::JobLate { job_name, scheduled_time, late } => {
            format!("{job_name}  is late: {} behind {scheduled_time}", super::super::backup::duration(*late))
        }
        SchedulerEvent::JobSkipped { job_name, scheduled_time, reason } => {
            format!("{job_name}  skipped {scheduled_time}: {reason}")
        }
        SchedulerEvent::JobMissed { job_name, first, last, count } => {
            format!("{job_name}  missed {count}, from {first} to {last}")
        }
        SchedulerEvent::JobEnabled { job_name } => format!("{job_name}  is on"),
        SchedulerEvent::JobDisabled { job_name } => format!("{job_name}  is off"),
        SchedulerEvent::JobAdded { job_name } => format!("{job_name}  is stored"),
        SchedulerEvent::JobRemoved { job_name } => format!("{job_name}  is removed"),
        other => json!(other).to_string(),
    };
    printer.line(&format!("{}  {text}", now()))
}

/// Events were dropped, because nobody read what is printed.
pub(super) fn dropped(printer: Printer, count: u64) -> Result<(), Failure> {
    if printer.format != Format::Table {
        return line(printer, json!({ "type": "dropped", "count": count }));
    }
    printer.line(&format!("{}  {count} events were dropped: what is printed was not read", now()))
}

/// One object, the time first.
fn line(printer: Printer, value: Value) -> Result<(), Failure> {
    let mut members = serde_json::Map::from_iter([("time".to_owned(), json!(now()))]);
    if let Value::Object(rest) = value {
        members.extend(rest);
    }
    printer.line(&Value::Object(members).to_string())
}

fn short(result: &Value) -> String {
    let text = result.to_string();
    if text.chars().count() <= 80 { text } else { format!("{}…", text.chars().take(79).collect::<String>()) }
}
