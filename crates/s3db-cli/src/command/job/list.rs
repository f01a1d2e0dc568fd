//! `s3db job list`, `show`, `history`, `stats` and `next`.

use s3db::scheduler::{HistoryOptions, HistoryRow, JobStatus, RunStatus};
use serde_json::{Value, json};

use super::connect;
use crate::args::{Format, RunState};
use crate::context::{Context, Whole};
use crate::exit;
use crate::output::{Failure, Printer, note};
use crate::table;

pub(super) async fn list(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    let jobs = scheduler.get_all_jobs_status().await?;
    if printer.format == Format::Table && !jobs.is_empty() {
        printer.line(&of_jobs(&jobs))?;
    } else {
        printer.list(&jobs.iter().map(|job| json!(job)).collect::<Vec<Value>>())?;
    }
    Ok(exit::DONE)
}

/// A table of jobs.
pub(crate) fn of_jobs(jobs: &[JobStatus]) -> String {
    let rows = jobs.iter().map(|job| {
        vec![
            job.name.clone(),
            job.schedule.clone(),
            job.timezone.clone(),
            job.action.clone(),
            if job.enabled { "yes" } else { "no" }.to_owned(),
            job.last_status.map_or("-", RunStatus::as_str).to_owned(),
            short(job.last_run.as_deref()),
            short(job.next_run.as_deref()),
            running(job),
        ]
    });
    let heading =
        ["job", "schedule", "zone", "action", "enabled", "last", "last run (utc)", "next run (utc)", "running"];
    table::grid(&heading, rows)
}

fn running(job: &JobStatus) -> String {
    let runs: Vec<&str> = job.running.iter().map(|run| run.run_id.as_str()).collect();
    runs.join(", ")
}

/// An instant without its milliseconds.
fn short(at: Option<&str>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.split('.').next().unwrap_or(at).replace('T', " "))
}

pub(super) async fn show(context: &mut Context, name: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    printer.one(&json!(scheduler.get_job_status(name).await?)).map(|()| exit::DONE)
}

pub(super) async fn history(
    context: &mut Context,
    name: &str,
    status: Option<RunState>,
    limit: usize,
    after: Option<String>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    let options = HistoryOptions { status: status.map(state), limit: Some(limit), cursor: after };
    let page = scheduler.get_job_history(name, &options).await?;
    if printer.format == Format::Table && !page.items.is_empty() {
        let heading = ["run", "planned (utc)", "started (utc)", "status", "duration", "attempts", "note"];
        printer.line(&table::grid(&heading, page.items.iter().map(shown)))?;
    } else {
        printer.list(&page.items.iter().map(HistoryRow::to_json).collect::<Vec<Value>>())?;
    }
    if let Some(cursor) = page.next {
        note(&format!("next: {cursor}"));
    }
    Ok(exit::DONE)
}

fn shown(row: &HistoryRow) -> Vec<String> {
    let several = row.last_time.as_deref().map(|last| format!("{} instants until {}", row.count, short(Some(last))));
    // The reason says why; then that it was stopped says nothing more.
    let error = row.error.clone().filter(|error| row.reason.is_none() || error != "it was stopped");
    let what = [several, row.reason.clone(), error].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let is_run = !matches!(row.status, RunStatus::Skipped | RunStatus::Missed);
    let has_ended = is_run && row.status != RunStatus::Running;
    let ran = |text: String| if is_run { text } else { "-".to_owned() };
    vec![
        row.run_id.clone(),
        short(row.scheduled_time.as_deref()),
        ran(short(Some(&row.start_time))),
        row.status.as_str().to_owned(),
        if has_ended { super::super::backup::duration(row.duration) } else { "-".to_owned() },
        if has_ended { row.attempts.len().to_string() } else { "-".to_owned() },
        cut(&what),
    ]
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

fn state(state: RunState) -> RunStatus {
    match state {
        RunState::Running => RunStatus::Running,
        RunState::Success => RunStatus::Success,
        RunState::Error => RunStatus::Error,
        RunState::Timeout => RunStatus::Timeout,
        RunState::Skipped => RunStatus::Skipped,
        RunState::Missed => RunStatus::Missed,
        RunState::Interrupted => RunStatus::Interrupted,
        RunState::Cancelled => RunStatus::Cancelled,
    }
}

pub(super) async fn stats(context: &mut Context, name: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    printer.one(&json!(scheduler.get_job_statistics(name).await?)).map(|()| exit::DONE)
}

pub(super) async fn next(context: &mut Context, name: &str, n: usize) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    let next: Vec<String> = scheduler.next_runs(name, n).await?;
    let status = scheduler.get_job_status(name).await?;
    print_next(printer, &next)?;
    if !status.enabled {
        printer.note(&format!("note: job '{name}' is off; `s3db job enable {name}` switches it on"));
    }
    Ok(exit::DONE)
}

fn print_next(printer: Printer, next: &[String]) -> Result<(), Failure> {
    match printer.format {
        Format::Json => printer.one(&json!(next)),
        Format::Jsonl => next.iter().try_for_each(|at| printer.line(&json!(at).to_string())),
        Format::Table => next.iter().try_for_each(|at| printer.line(at)),
    }
}
