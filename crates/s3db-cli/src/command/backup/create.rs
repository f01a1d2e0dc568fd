//! `s3db backup create`

use s3db::backup::{BackupReport, BackupStatus, BackupType};
use serde_json::json;

use super::{bar, bytes, connect, duration};
use crate::args::{BackupKind, Format, Reading};
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::signals::Interrupt;

pub(super) async fn run(context: &mut Context, kind: BackupKind) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = connect(context, &Reading::default()).await?;
    let kind = kind_of(kind);
    let (progress, tell) = bar(context, "backup");
    let mut interrupt = Interrupt::listen()?;
    let mut interrupted = false;
    let made = {
        let mut work = std::pin::pin!(backups.backup_with(kind, &tell));
        loop {
            tokio::select! {
                made = &mut work => break made,
                () = interrupt.came() => {
                    if interrupted {
                        return Ok(exit::INTERRUPTED);
                    }
                    interrupted = true;
                    printer.note("cancelling; once more to stop at once");
                    backups.cancel_all();
                }
            }
        }
    };
    drop(progress);
    match made {
        Ok(report) => {
            print(printer, &report)?;
            Ok(if report.status == BackupStatus::Completed { exit::DONE } else { exit::FAILED })
        }
        Err(error) => {
            let began = error.details().and_then(|details| details.get("status")).is_some();
            let failure = Failure::from(error);
            match began {
                true if interrupted => Err(failure.with_code(exit::INTERRUPTED)),
                true => Err(failure.with_code(exit::FAILED)),
                false => Err(failure),
            }
        }
    }
}

pub(super) fn kind_of(kind: BackupKind) -> BackupType {
    match kind {
        BackupKind::Full => BackupType::Full,
        BackupKind::Incremental => BackupType::Incremental,
        BackupKind::Differential => BackupType::Differential,
    }
}

fn print(printer: Printer, report: &BackupReport) -> Result<(), Failure> {
    for warning in &report.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    if let Some(reason) = &report.reason {
        printer.note(&format!("a full backup was made: {reason}"));
    }
    for place in report.destinations.iter().filter(|place| place.status == "failed") {
        printer.note(&format!("warning: {} failed: {}", place.location, place.error.as_deref().unwrap_or_default()));
    }
    if printer.format != Format::Table {
        return printer.one(&json!(report));
    }
    let counts = report.counts;
    printer.line(&report.id)?;
    printer.line(&format!("  type       {}", report.kind))?;
    printer.line(&format!("  status     {}", report.status.as_str()))?;
    if let Some(parent) = &report.parent {
        printer.line(&format!("  builds on  {parent}"))?;
    }
    printer.line(&format!(
        "  objects    {} in all; {} stored, {} gone since",
        counts.objects, counts.stored, counts.deleted
    ))?;
    printer.line(&format!("  size       {} ({} unpacked)", bytes(report.size), bytes(report.logical_size)))?;
    printer.line(&format!("  took       {}", duration(report.duration)))?;
    for place in report.destinations.iter().filter(|place| place.status == "completed") {
        printer.line(&format!("  at         {}/{}", place.location.trim_end_matches('/'), place.path))?;
    }
    Ok(())
}
