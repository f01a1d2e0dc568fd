//! Inserting many rows from a stream, with bounded memory.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use s3db::{InsertOptions, Inserted, Resource};
use serde_json::{Value, json};

use crate::args;
use crate::exit;
use crate::input::Row;
use crate::output::{Failure, Printer};
use crate::progress::Progress;

/// Rows that are inserted side by side.
const BATCH: usize = 1000;

/// Inserts rows and prints the summary. Returns exit code 5 if any failed.
pub(super) async fn insert(
    resource: &Resource,
    rows: impl Iterator<Item = Result<Row, Failure>>,
    on_error: args::OnError,
    options: InsertOptions,
    printer: Printer,
) -> Result<u8, Failure> {
    let mut bulk = Bulk { resource, on_error, options, inserted: 0, failed: Vec::new(), failures: 0 };
    let progress = Progress::start("rows", printer.quiet);
    let mut batch = Vec::with_capacity(BATCH);
    let mut stopped = false;
    for row in rows {
        batch.push(row?);
        if batch.len() == BATCH {
            stopped = bulk.send(std::mem::take(&mut batch)).await;
            progress.set(bulk.inserted as u64);
            if stopped {
                break;
            }
        }
    }
    if !stopped {
        stopped = bulk.send(batch).await;
    }
    drop(progress);
    if stopped {
        printer.note(&format!(
            "stopped at the first failure: {} rows were inserted and stay, the rest of the input was not begun",
            bulk.inserted
        ));
    }
    let mut summary = json!({ "inserted": bulk.inserted, "failed": bulk.failed });
    if let (args::OnError::Skip, Some(members)) = (on_error, summary.as_object_mut()) {
        members.insert("skipped".into(), json!(bulk.failures));
    }
    printer.one(&summary)?;
    Ok(if bulk.failures == 0 { exit::DONE } else { exit::INVALID })
}

struct Bulk<'a> {
    resource: &'a Resource,
    on_error: args::OnError,
    options: InsertOptions,
    inserted: usize,
    failed: Vec<Value>,
    failures: usize,
}

impl Bulk<'_> {
    /// Inserts a batch; whether the import is to stop.
    async fn send(&mut self, rows: Vec<Row>) -> bool {
        match self.on_error {
            args::OnError::Stop => self.send_one_by_one(rows).await,
            args::OnError::Skip | args::OnError::Collect => {
                self.send_side_by_side(rows).await;
                false
            }
        }
    }

    /// Nothing behind the first failure is begun, so rows go one after another.
    async fn send_one_by_one(&mut self, rows: Vec<Row>) -> bool {
        for row in rows {
            let failure = match accept(&row) {
                Err(failure) => failure,
                Ok(record) => {
                    let id = record.get("id").cloned();
                    match self.resource.insert_with(record, self.options).await {
                        Ok(_) => {
                            self.inserted += 1;
                            continue;
                        }
                        Err(error) => json!({ "line": row.line, "id": id, "error": error.to_json().get("error") }),
                    }
                }
            };
            self.failures += 1;
            self.failed.push(failure);
            return true;
        }
        false
    }

    /// Rows with one id go one after another, so that the store itself says which came second.
    async fn send_side_by_side(&mut self, mut rows: Vec<Row>) {
        let mut failures: Vec<(usize, Value)> = Vec::new();
        while !rows.is_empty() {
            let mut ids = HashSet::new();
            let (wave, later) = rows.into_iter().partition(|row| id_of(row).is_none_or(|id| ids.insert(id.to_owned())));
            self.send_wave(wave, &mut failures).await;
            rows = later;
        }
        failures.sort_by_key(|(line, _)| *line);
        self.failures += failures.len();
        if self.on_error != args::OnError::Skip {
            self.failed.extend(failures.into_iter().map(|(_, failure)| failure));
        }
    }

    async fn send_wave(&mut self, wave: Vec<Row>, failures: &mut Vec<(usize, Value)>) {
        let (mut lines, mut records) = (Vec::new(), Vec::new());
        for row in wave {
            match accept(&row) {
                Ok(record) => {
                    lines.push(row.line);
                    records.push(record);
                }
                Err(reason) => failures.push((row.line, reason)),
            }
        }
        let mut results = std::pin::pin!(self.resource.insert_stream(stream::iter(records), self.options));
        while let Some(Inserted { index, id, result }) = results.next().await {
            let Err(error) = result else {
                self.inserted += 1;
                continue;
            };
            let line = lines.get(index).copied().unwrap_or(index + 1);
            failures.push((line, json!({ "line": line, "id": id, "error": error.to_json().get("error") })));
        }
    }
}

fn id_of(row: &Row) -> Option<&str> {
    row.record.as_ref().ok()?.get("id")?.as_str()
}

/// A row's record, if it is one.
fn accept(row: &Row) -> Result<Value, Value> {
    let failure =
        |reason: &String| json!({ "line": row.line, "id": null, "error": { "kind": "Invalid", "message": reason } });
    row.record.clone().map_err(|reason| failure(&reason))
}
