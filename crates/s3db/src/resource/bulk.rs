//! Inserting many records, with a result for each.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Record, Resource};
use crate::error::Error;

/// What a bulk operation does when a row fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Begin no further row.
    Stop,
    /// Go on, and say how many failed.
    Skip,
    /// Go on, and return every failure.
    #[default]
    Collect,
}

/// What a bulk insert did.
#[derive(Debug, Clone, Default)]
pub struct BulkReport {
    /// The records that were inserted.
    pub inserted: Vec<Record>,
    /// The rows that were not.
    pub failed: Vec<BulkFailure>,
    /// Rows that were not begun after a failure under [`OnError::Stop`].
    pub not_begun: usize,
}

/// A row that failed.
#[derive(Debug, Clone)]
pub struct BulkFailure {
    /// Its place in the input, from 0.
    pub index: usize,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Why.
    pub error: Error,
}

impl Serialize for BulkFailure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let error = self.error.to_json();
        json!({ "line": self.index + 1, "id": self.id, "error": error.get("error") }).serialize(serializer)
    }
}

impl Resource {
    /// Inserts records side by side and reports on each.
    ///
    /// Costs what the inserts cost, in ⌈n/64⌉ times two rounds. With [`OnError::Stop`] rows that
    /// were under way when one failed are still finished.
    pub async fn insert_many(&self, records: Vec<Value>, on_error: OnError) -> BulkReport {
        let mut report = BulkReport::default();
        let rows = stream::iter(records.into_iter().enumerate());
        let stopped = AtomicBool::new(false);
        let inserts = rows.map(|(index, record)| {
            let stopped = &stopped;
            async move {
                if stopped.load(Ordering::Relaxed) {
                    return None;
                }
                let id = record.get("id").and_then(Value::as_str).map(str::to_owned);
                let result = self.insert(record).await;
                stopped.fetch_or(result.is_err() && on_error == OnError::Stop, Ordering::Relaxed);
                Some((index, id, result))
            }
        });
        let mut results = std::pin::pin!(inserts.buffered(self.inner.parallel()));
        while let Some(result) = results.next().await {
            match result {
                None => report.not_begun += 1,
                Some((_, _, Ok(record))) => report.inserted.push(record),
                Some((index, id, Err(error))) => report.failed.push(BulkFailure { index, id, error }),
            }
        }
        report
    }
}
