//! Inserting many rows from a stream, with bounded memory.

use std::collections::HashMap;

use s3db::{OnError, Resource};
use serde_json::{Value, json};

use crate::args;
use crate::exit;
use crate::input::Row;
use crate::output::{Failure, Printer};
use crate::progress::Progress;

/// Rows that are inserted side by side.
const BATCH: usize = 1000;
/// Ids that are remembered, to say on which line one stood first.
const REMEMBERED_IDS: usize = 1_000_000;

/// Inserts rows and prints the summary. Returns exit code 5 if any failed.
pub(super) async fn insert(
    resource: &Resource,
    rows: impl Iterator<Item = Result<Row, Failure>>,
    on_error: args::OnError,
    printer: Printer,
) -> Result<u8, Failure> {
    let mut bulk =
        Bulk { resource, on_error, inserted: 0, failed: Vec::new(), failures: 0, first_lines: HashMap::new() };
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
    inserted: usize,
    failed: Vec<Value>,
    failures: usize,
    first_lines: HashMap<String, usize>,
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
            let failure = match self.accept(&row) {
                Err(failure) => failure,
                Ok(record) => {
                    let id = record.get("id").cloned();
                    match self.resource.insert(record).await {
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

    async fn send_side_by_side(&mut self, rows: Vec<Row>) {
        let (mut lines, mut records) = (Vec::new(), Vec::new());
        let mut broken = Vec::new();
        for row in rows {
            match self.accept(&row) {
                Ok(record) => {
                    lines.push(row.line);
                    records.push(record);
                }
                Err(reason) => broken.push((row.line, reason)),
            }
        }
        let report = self.resource.insert_many(records, OnError::Collect).await;
        self.inserted += report.inserted.len();
        let refused = report.failed.into_iter().map(|failure| {
            let line = lines.get(failure.index).copied().unwrap_or(failure.index + 1);
            let error = failure.error.to_json();
            (line, json!({ "line": line, "id": failure.id, "error": error.get("error") }))
        });
        let mut failures: Vec<(usize, Value)> = refused.chain(broken).collect();
        failures.sort_by_key(|(line, _)| *line);
        self.failures += failures.len();
        if self.on_error != args::OnError::Skip {
            self.failed.extend(failures.into_iter().map(|(_, failure)| failure));
        }
    }

    /// A row's record, if it is one and its id is the first of its kind in this input.
    fn accept(&mut self, row: &Row) -> Result<Value, Value> {
        let failure = |id: Option<&str>, kind: &str, message: String| json!({ "line": row.line, "id": id, "error": { "kind": kind, "message": message } });
        let record = row.record.as_ref().map_err(|reason| failure(None, "Invalid", reason.clone()))?;
        if let Some(id) = record.get("id").and_then(Value::as_str) {
            if let Some(first) = self.first_lines.get(id) {
                return Err(failure(
                    Some(id),
                    "AlreadyExists",
                    format!("id '{id}' stands in this input already, on line {first}"),
                ));
            }
            // Of the ids before the last million the store itself says that they exist.
            if self.first_lines.len() == REMEMBERED_IDS {
                self.first_lines.clear();
            }
            self.first_lines.insert(id.to_owned(), row.line);
        }
        Ok(record.clone())
    }
}
