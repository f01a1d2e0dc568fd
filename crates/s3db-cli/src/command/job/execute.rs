//! `s3db job run`, `cancel` and `backfill`.

use s3db::scheduler::{RunOptions, RunStatus};
use serde_json::{Value, json};

use super::connect;
use crate::context::{Context, Whole};
use crate::exit;
use crate::input;
use crate::output::Failure;
use crate::signals::Interrupt;

/// How long a run has to end after Ctrl-C.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

pub(crate) async fn now(context: &mut Context, name: &str, told: Option<&String>, force: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let told = told.map_or(Ok(Value::Null), |text| input::json(text, "the context"))?;
    let (db, scheduler) = connect(context, Whole::Yes).await?;
    let busy = scheduler.get_job_status(name).await?.running;
    if let (Some(run), false) = (busy.first(), force) {
        printer.note(&format!(
            "run {} is under way since {}; this one may have to wait for it (--force does not)",
            run.run_id, run.started_at
        ));
    }
    let mut interrupt = Interrupt::listen()?;
    let options = RunOptions { force };
    let mut run = std::pin::pin!(scheduler.run_job_with(name, told, options));
    let report = tokio::select! {
        report = &mut run => report?,
        () = interrupt.came() => {
            printer.note("stopping; the run is asked to end");
            let (_, ended) = tokio::join!(db.stop(DEADLINE), tokio::time::timeout(3 * DEADLINE, run));
            if let Ok(Ok(report)) = ended {
                printer.one(&json!(report))?;
            }
            return Ok(exit::INTERRUPTED);
        }
    };
    printer.one(&json!(report))?;
    Ok(if report.status == RunStatus::Success { exit::DONE } else { exit::FAILED })
}

pub(super) async fn cancel(context: &mut Context, run: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    scheduler.cancel_run(run).await?;
    printer.one(&json!({ "run": run, "cancelRequested": true }))?;
    printer.note("its process hears it within ten seconds");
    Ok(exit::DONE)
}

pub(super) async fn backfill(context: &mut Context, name: &str, from: i64, to: i64) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (db, scheduler) = connect(context, Whole::Yes).await?;
    let mut interrupt = Interrupt::listen()?;
    let work = std::pin::pin!(scheduler.backfill(name, from, to));
    tokio::select! {
        report = work => {
            let report = report?;
            printer.one(&json!(report))?;
            Ok(if report.failed == 0 { exit::DONE } else { exit::FAILED })
        }
        () = interrupt.came() => {
            printer.note("stopping; the run under way is asked to end; the same command goes on");
            db.stop(DEADLINE).await?;
            Ok(exit::INTERRUPTED)
        }
    }
}
