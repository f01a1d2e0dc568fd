//! `s3db doctor`

use s3db::{DoctorReport, Finding};
use serde_json::json;

use crate::args::Format;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, Printer};
use crate::progress::Progress;

pub(super) async fn run(context: &mut Context, repair: bool, end_sharing: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    if end_sharing {
        let ended = db.end_sharing().await?;
        printer.one(&json!({ "ended": ended }))?;
        printer.note("partitions are scanned until `s3db doctor --repair` has built their index");
        return Ok(exit::DONE);
    }
    let report = match (repair, printer.format) {
        (true, Format::Table) => {
            // What will be done is said before it is done.
            print(&printer, &examine(context, &db, false).await?)?;
            let report = examine(context, &db, true).await?;
            print_mended(&printer, &report)?;
            report
        }
        (_, Format::Table) => {
            let report = examine(context, &db, repair).await?;
            print(&printer, &report)?;
            if !report.findings.is_empty() {
                printer.line("")?;
                printer.line("nothing was changed; `s3db doctor --repair` does what is said above")?;
            }
            report
        }
        _ => {
            let report = examine(context, &db, repair).await?;
            printer.one(&json!(report))?;
            report
        }
    };
    Ok(if report.is_healthy() { exit::DONE } else { exit::INTEGRITY })
}

async fn examine(context: &Context, db: &s3db::Database, repair: bool) -> Result<DoctorReport, Failure> {
    let progress = Progress::start("objects", context.quiet());
    Ok(db.doctor(repair, &|what, done| progress.show(what, done as u64)).await?)
}

fn print(printer: &Printer, report: &DoctorReport) -> Result<(), Failure> {
    let checked = report.checked;
    printer.line(&format!(
        "looked at {}, {} and {}",
        count(checked.resources, "resource"),
        count(checked.records, "record"),
        count(checked.keys, "partition key")
    ))?;
    if report.findings.is_empty() {
        return printer.line("nothing is wrong");
    }
    for finding in &report.findings {
        printer.line("")?;
        print_finding(printer, finding)?;
    }
    Ok(())
}

fn print_mended(printer: &Printer, report: &DoctorReport) -> Result<(), Failure> {
    if report.findings.is_empty() {
        return Ok(());
    }
    let mended: usize = report.findings.iter().map(|f| f.repaired).sum();
    let found: usize = report.findings.iter().map(|f| f.count).sum();
    printer.line("")?;
    printer.line(&format!("mended {mended} of {found}"))
}

fn print_finding(printer: &Printer, finding: &Finding) -> Result<(), Failure> {
    let place = finding.resource.as_ref().map_or_else(String::new, |name| format!("{name}: "));
    printer.line(&format!("{place}{} ({})", finding.meaning, finding.count))?;
    for example in &finding.examples {
        printer.line(&format!("    {example}"))?;
    }
    if finding.count > finding.examples.len() {
        printer.line(&format!("    and {} more", finding.count - finding.examples.len()))?;
    }
    let outcome = if finding.action.starts_with("is ") || finding.action.starts_with("cannot ") {
        format!("this {}", finding.action)
    } else {
        format!("--repair {}", finding.action)
    };
    printer.line(&format!("  {outcome}"))
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
