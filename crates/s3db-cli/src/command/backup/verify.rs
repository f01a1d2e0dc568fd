//! `s3db backup verify`

use s3db::backup::VerifyLevel;
use serde_json::json;

use super::{bar, bytes, open};
use crate::args::{BackupLevel, Format, Reading};
use crate::context::Context;
use crate::exit;
use crate::output::Failure;
use crate::table;

pub(super) async fn run(context: &mut Context, id: &str, level: BackupLevel, reading: &Reading) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = open(context, reading).await?;
    let level = match level {
        BackupLevel::Quick => VerifyLevel::Quick,
        BackupLevel::Sample => VerifyLevel::Sample,
        BackupLevel::Full => VerifyLevel::Full,
        BackupLevel::Drill => VerifyLevel::Drill,
    };
    let (progress, tell) = bar(context, "verify");
    let report = backups.verify_with(id, level, &tell).await?;
    drop(progress);
    let code = if report.valid { exit::DONE } else { exit::INTEGRITY };
    if printer.format != Format::Table {
        return printer.one(&json!(report)).map(|()| code);
    }
    let verdict = if report.valid { "whole" } else { "NOT WHOLE" };
    printer.line(&format!("{id} is {verdict}"))?;
    let builds_on = report.backups.len().saturating_sub(1);
    let others = if builds_on == 0 { String::new() } else { format!(", with {builds_on} that it builds on") };
    printer.line(&format!(
        "  level {}: {} files, {} objects, {}{others}",
        report.level.as_str(),
        report.files,
        report.objects,
        bytes(report.bytes)
    ))?;
    if !report.opened {
        printer.note("no key that was given opens it, so that only the digests of its files were compared");
    }
    if !report.problems.is_empty() {
        let rows = report.problems.iter().map(|p| vec![p.backup.clone(), p.object.clone(), p.problem.clone()]);
        printer.line("")?;
        printer.line(&table::grid(&["backup", "object", "problem"], rows))?;
    }
    Ok(code)
}
