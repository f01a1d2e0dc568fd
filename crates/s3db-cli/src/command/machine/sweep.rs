//! `s3db machine sweep`

use std::time::Duration;

use s3db::state_machine::{MachineFile, StateMachinePlugin, SweepReport};
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
    Ok(if report.failures == 0 { exit::DONE } else { exit::FAILED })
}

/// Sweeps until it is told to stop; what it has begun it ends.
pub(super) async fn watch(context: &mut Context, every: Duration) -> Result<u8, Failure> {
    let mut printer = context.printer()?;
    if !printer.explicit {
        printer.format = crate::args::Format::Jsonl;
    }
    let (_db, machines) = connect(context).await?;
    for file in MachineFile::configured(context.config()?)? {
        for machine in file.machines {
            machines.define(machine).await?;
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    printer.note(&format!("sweeping every {every:?}; stop with Ctrl-C or SIGTERM"));
    let mut pause = tokio::time::interval(every);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pause.tick() => tell(printer, &sweep(printer, &machines).await)?,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    printer.note("stopped");
    Ok(exit::DONE)
}

/// One sweep. What is due stays due while the store cannot be reached.
async fn sweep(printer: Printer, machines: &StateMachinePlugin) -> Option<SweepReport> {
    match machines.sweep().await {
        Ok(report) => Some(report),
        Err(error) => {
            printer.note(&format!("warning: {error}"));
            None
        }
    }
}

fn tell(printer: Printer, report: &Option<SweepReport>) -> Result<(), Failure> {
    match report {
        Some(report) if report.due > report.waiting => printer.one(&json!(report)),
        _ => Ok(()),
    }
}
