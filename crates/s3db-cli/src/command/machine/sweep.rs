//! `s3db machine sweep`

use std::time::Duration;

use s3db::state_machine::SweepReport;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::connect;
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};

pub(super) async fn once(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let report = machines.sweep().await?;
    printer.one(&json!(report))?;
    if report.paused {
        printer.note("nothing was done: the database is paused until `s3db resume`");
    }
    Ok(if report.failures == 0 { exit::DONE } else { exit::FAILED })
}

/// Sweeps until it is told to stop; what it has begun it ends.
pub(super) async fn watch(context: &mut Context, every: Duration) -> Result<u8, Failure> {
    let mut printer = context.printer()?;
    if !printer.explicit {
        printer.format = crate::args::Format::Jsonl;
    }
    let (_db, machines) = connect(context).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut code = exit::DONE;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => code = exit::INTERRUPTED,
            _ = terminate.recv() => {}
        }
        printer.note("stopping; what is begun is ended");
    };
    printer.note(&format!("sweeping every {every:?}; stop with Ctrl-C or SIGTERM"));
    let mut gone = None;
    machines.sweep_every(every, stop, |swept| gone = gone.take().or(tell(printer, swept).err())).await;
    // Nobody reads what is printed any more.
    gone.map_or(Ok(code), Err)
}

/// Tells of a sweep that did something. What is due stays due while the store cannot be reached.
fn tell(printer: Printer, swept: Result<SweepReport, s3db::Error>) -> Result<(), Failure> {
    match swept {
        Ok(report) if report.due > report.waiting => printer.one(&json!(report)),
        Ok(_) => Ok(()),
        Err(error) => {
            printer.note(&format!("warning: {error}"));
            Ok(())
        }
    }
}
