//! `s3db backup cleanup`, `cancel`, `delete`, `pin`, `unpin`, `rekey`

use std::path::PathBuf;

use s3db::backup::CleanupRow;
use serde_json::json;

use super::{bytes, connect};
use crate::args::{Format, Reading};
use crate::context::Context;
use crate::exit;
use crate::output::Failure;
use crate::table;

pub(super) async fn cleanup(context: &mut Context, dry_run: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = connect(context, &Reading::default()).await?;
    let report = backups.cleanup(dry_run).await?;
    for warning in &report.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    if printer.format != Format::Table {
        return printer.one(&json!(report)).map(|()| exit::DONE);
    }
    let mut rows: Vec<(&CleanupRow, &str)> = report.kept.iter().map(|row| (row, "keep")).collect();
    rows.extend(report.deleted.iter().map(|row| (row, "delete")));
    rows.sort_by(|(a, _), (b, _)| (&b.started_at, &b.id).cmp(&(&a.started_at, &a.id)));
    let cells = rows.into_iter().map(|(row, what)| {
        vec![
            what.to_owned(),
            row.id.clone(),
            row.started_at.get(..10).unwrap_or_default().to_owned(),
            bytes(row.size),
            row.reasons.join(", "),
        ]
    });
    printer.line(&table::grid(&["", "backup", "day", "size", "why"], cells))?;
    for id in &report.swept {
        printer.line(&format!("unfinished: {id}"))?;
    }
    let (kept, deleted, swept) = (report.kept.len(), report.deleted.len(), report.swept.len());
    printer.note(&match dry_run {
        true => format!("would keep {kept}, delete {deleted} and sweep {swept} unfinished; nothing was changed"),
        false => format!("kept {kept}, deleted {deleted}, swept {swept} unfinished"),
    });
    Ok(exit::DONE)
}

pub(super) async fn cancel(context: &mut Context, id: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = connect(context, &Reading::default()).await?;
    backups.cancel(id).await?;
    printer.one(&json!({ "cancelled": id }))?;
    printer.note("it ends within five seconds");
    Ok(exit::DONE)
}

pub(super) async fn delete(context: &mut Context, id: &str, yes: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    if !yes {
        return Err(Failure::usage(
            format!("this would delete backup '{id}' wherever it stands"),
            "give --yes to do it",
        ));
    }
    let (_db, backups) = connect(context, &Reading::default()).await?;
    backups.delete(id).await?;
    printer.one(&json!({ "deleted": id })).map(|()| exit::DONE)
}

pub(super) async fn pin(context: &mut Context, id: &str, pinned: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = connect(context, &Reading::default()).await?;
    if pinned {
        backups.pin(id).await?;
    } else {
        backups.unpin(id).await?;
    }
    printer.one(&json!({ "id": id, "pinned": pinned })).map(|()| exit::DONE)
}

pub(super) async fn rekey(context: &mut Context, id: Option<&str>, identities: Vec<PathBuf>) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = connect(context, &Reading { identities, from: None }).await?;
    let report = backups.rekey(id).await?;
    printer.one(&json!(report)).map(|()| exit::DONE)
}
