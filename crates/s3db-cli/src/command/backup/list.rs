//! `s3db backup list` and `show`

use s3db::backup::{BackupStatus, BackupSummary, ListOptions};
use serde_json::{Value, json};

use super::create::kind_of;
use super::{bytes, duration, open};
use crate::args::{BackupKind, BackupState, Format, Reading};
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

pub(super) async fn list(
    context: &mut Context,
    kind: Option<BackupKind>,
    status: Option<BackupState>,
    limit: Option<usize>,
    reading: &Reading,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = open(context, reading).await?;
    let options = ListOptions { kind: kind.map(kind_of), status: status.map(status_of), limit };
    let found = backups.list_backups(&options).await?;
    if printer.format != Format::Table {
        let values: Vec<Value> = found.iter().map(|backup| json!(backup)).collect();
        return printer.list(&values).map(|()| exit::DONE);
    }
    if found.is_empty() {
        printer.note("no backups");
        return Ok(exit::DONE);
    }
    let many = found.iter().any(|backup| backup.source != found.first().map_or("", |first| &first.source));
    let mut columns = vec!["id", "status", "started", "objects", "stored", "size", ""];
    if many {
        columns.insert(6, "database");
    }
    let rows = found.iter().map(|backup| {
        let mut row = vec![
            backup.id.clone(),
            backup.status.as_str().to_owned(),
            backup.started_at.get(..19).unwrap_or_default().replace('T', " "),
            backup.counts.objects.to_string(),
            backup.counts.stored.to_string(),
            bytes(backup.size),
            note(backup),
        ];
        if many {
            row.insert(6, backup.source.clone());
        }
        row
    });
    printer.line(&table::grid(&columns, rows)).map(|()| exit::DONE)
}

fn status_of(status: BackupState) -> BackupStatus {
    match status {
        BackupState::InProgress => BackupStatus::InProgress,
        BackupState::Completed => BackupStatus::Completed,
        BackupState::Partial => BackupStatus::Partial,
        BackupState::Failed => BackupStatus::Failed,
        BackupState::Cancelled => BackupStatus::Cancelled,
    }
}

/// What is to be known of a backup at a glance.
fn note(backup: &BackupSummary) -> String {
    let mut notes = Vec::new();
    if let Some(error) = &backup.error {
        notes.push(error.clone());
    }
    let damaged = backup.destinations.iter().find(|place| place.status != "completed");
    if let Some(damaged) = damaged.filter(|_| backup.error.is_none()) {
        let why = damaged.error.as_deref().unwrap_or_default();
        notes.push(format!("{} {}: {why}", damaged.location, damaged.status));
    }
    if let Some(phase) = &backup.phase {
        notes.push(phase.clone());
    }
    notes.extend(backup.encrypted.then(|| "encrypted".to_owned()));
    notes.extend(backup.pinned.then(|| "pinned".to_owned()));
    notes.extend(backup.verified_level.as_ref().map(|level| format!("verified ({level})")));
    notes.join(", ")
}

pub(super) async fn show(context: &mut Context, id: &str, reading: &Reading) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, backups) = open(context, reading).await?;
    let backup = backups.get_backup_status(id).await?;
    if printer.format != Format::Table {
        return printer.one(&json!(backup)).map(|()| exit::DONE);
    }
    print(printer, &backup).map(|()| exit::DONE)
}

fn print(printer: Printer, backup: &BackupSummary) -> Result<(), Failure> {
    let line = |name: &str, text: String| printer.line(&format!("{name:<12}{text}"));
    line("id", backup.id.clone())?;
    line("type", backup.kind.to_string())?;
    line("status", backup.status.as_str().to_owned())?;
    if let Some(error) = &backup.error {
        line("error", error.clone())?;
    }
    line("started", backup.started_at.clone())?;
    if let Some(took) = backup.duration {
        line("took", duration(took))?;
    }
    if let (Some(phase), Some(progress)) = (&backup.phase, &backup.progress) {
        let number = |name: &str| progress.get(name).and_then(Value::as_u64);
        let of = number("total").map_or_else(String::new, |total| format!(" of about {total}"));
        let eta = number("eta").map_or_else(String::new, |eta| format!(", {} left", duration(eta)));
        line("progress", format!("{phase}: {} objects{of}{eta}", number("objects").unwrap_or_default()))?;
    }
    if let Some(parent) = &backup.parent {
        line("builds on", parent.clone())?;
    }
    line("database", backup.source.clone())?;
    let counts = backup.counts;
    line("objects", format!("{} in all; {} stored, {} gone since", counts.objects, counts.stored, counts.deleted))?;
    line("size", format!("{} ({} unpacked)", bytes(backup.size), bytes(backup.logical_size)))?;
    let encrypted = if backup.encrypted { ", encrypted" } else { "" };
    if !backup.compression.is_empty() {
        line("files", format!("{}{encrypted}", backup.compression))?;
    }
    if backup.pinned {
        line("pinned", "cleanup never deletes it".to_owned())?;
    }
    if let (Some(level), Some(at)) = (&backup.verified_level, &backup.verified_at) {
        line("verified", format!("{level}, {at}"))?;
    }
    for place in &backup.destinations {
        let why = place.error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
        let at = format!("{}/{}", place.location.trim_end_matches('/'), place.path);
        line("at", format!("{at}  {}{why}", place.status))?;
    }
    let Some(resources) = backup.resources.as_ref().filter(|resources| !resources.is_empty()) else { return Ok(()) };
    printer.line("")?;
    let rows = resources.iter().map(|(name, held)| {
        let name = if name.is_empty() { "(catalog, definitions)" } else { name };
        vec![
            name.to_owned(),
            held.objects.to_string(),
            held.stored.to_string(),
            held.deleted.to_string(),
            bytes(held.bytes),
        ]
    });
    printer.line(&table::grid(&["resource", "objects", "stored", "gone", "bytes"], rows))
}
