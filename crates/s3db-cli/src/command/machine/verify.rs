//! `s3db machine verify`

use s3db::ErrorKind;
use s3db::state_machine::{Drift, EntitySummary, VerifyReport};
use serde_json::json;

use super::connect;
use crate::args::Format;
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::progress::Progress;

pub(super) async fn one(context: &mut Context, machine: &str, entity: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let report = machines.verify(machine, entity).await?;
    if printer.format == Format::Table {
        print(printer, &report)?;
    } else {
        printer.one(&json!(report))?;
    }
    Ok(if report.valid { exit::DONE } else { exit::INTEGRITY })
}

pub(super) async fn all(context: &mut Context, machine: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let progress = Progress::start("entities", context.quiet());
    let (mut checked, mut rows, mut drifted) = (0u64, 0u64, Vec::new());
    for entity in machines.entities(machine, None).await? {
        let report = match machines.verify(machine, &entity.entity).await {
            Ok(report) => report,
            // Deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::Integrity => damaged(machine, &entity, &error),
            Err(error) => return Err(error.into()),
        };
        checked += 1;
        rows += report.rows;
        progress.set(checked);
        if !report.valid {
            drifted.push(report);
        }
    }
    drop(progress);
    if printer.format == Format::Table {
        drifted.iter().try_for_each(|report| print(printer, report))?;
        printer.line(&format!("{checked} entities, {rows} log rows, {} with drift", drifted.len()))?;
    } else {
        let valid = drifted.is_empty();
        printer.one(
            &json!({ "machine": machine, "valid": valid, "checked": checked, "rows": rows, "drifted": drifted }),
        )?;
    }
    Ok(if drifted.is_empty() { exit::DONE } else { exit::INTEGRITY })
}

/// An entity that cannot be replayed at all.
fn damaged(machine: &str, entity: &EntitySummary, error: &s3db::Error) -> VerifyReport {
    let EntitySummary { entity, state, version, .. } = entity.clone();
    let drift = vec![Drift { version, problem: error.to_string() }];
    VerifyReport { machine: machine.to_owned(), entity, valid: false, state, version, rows: 0, drift }
}

fn print(printer: Printer, report: &VerifyReport) -> Result<(), Failure> {
    let VerifyReport { machine, entity, state, version, rows, .. } = report;
    let verdict = if report.valid { "the log leads to it" } else { "DRIFT" };
    printer.line(&format!("{machine}/{entity}: '{state}' at version {version}, {rows} log rows: {verdict}"))?;
    report.drift.iter().try_for_each(|drift| printer.line(&format!("  version {}: {}", drift.version, drift.problem)))
}
