//! Inserting many records, with a result for each.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};

use super::{InsertOptions, Record, Resource};
use crate::error::{Error, Result};

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
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let error = self.error.to_json();
        json!({ "line": self.index + 1, "id": self.id, "error": error.get("error") }).serialize(serializer)
    }
}

/// What became of one record of a stream.
#[derive(Debug)]
pub struct Inserted {
    /// Its place in the stream, from 0.
    pub index: usize,
    /// Its id, if it was given one.
    pub id: Option<String>,
    /// The record as stored, or why it was not.
    pub result: Result<Record>,
}

impl Resource {
    /// Inserts the records of a stream side by side, with a result for each, in their order. No more
    /// are taken from the stream than are written at once, so memory stays flat.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// # use s3db::{Database, ResourceDefinition};
    /// # let db = Database::connect("memory://insert-stream").await?;
    /// # let users = db.create_resource(ResourceDefinition::new("users").attribute("name", "string")).await?;
    /// use futures::{StreamExt as _, stream};
    /// let rows = stream::iter(["Ana", "Ben"]).map(|name| serde_json::json!({ "name": name }));
    /// let mut results = std::pin::pin!(users.insert_stream(rows, Default::default()));
    /// while let Some(row) = results.next().await {
    ///     println!("{}: {}", row.index, row.result?.id);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn insert_stream<'a>(
        &'a self,
        records: impl Stream<Item = Value> + Send + 'a,
        options: InsertOptions,
    ) -> impl Stream<Item = Inserted> + Send + 'a {
        let inserts = records.enumerate().map(move |(index, record)| async move {
            let id = record.get("id").and_then(Value::as_str).map(str::to_owned);
            Inserted { index, id, result: self.insert_with(record, options).await }
        });
        inserts.buffered(self.inner.parallel())
    }

    /// Inserts records side by side and reports on each.
    ///
    /// Costs what the inserts cost, in ⌈n/64⌉ times two rounds. With [`OnError::Stop`] rows that
    /// were under way when one failed are still finished.
    pub async fn insert_many(&self, records: Vec<Value>, on_error: OnError) -> BulkReport {
        let mut report = BulkReport::default();
        let stopped = AtomicBool::new(false);
        let (total, mut begun) = (records.len(), 0);
        let rows = stream::iter(records).take_while(|_| futures::future::ready(!stopped.load(Ordering::Relaxed)));
        let mut results = std::pin::pin!(self.insert_stream(rows, InsertOptions::default()));
        while let Some(Inserted { index, id, result }) = results.next().await {
            begun += 1;
            match result {
                Ok(record) => report.inserted.push(record),
                Err(error) => {
                    stopped.fetch_or(on_error == OnError::Stop, Ordering::Relaxed);
                    report.failed.push(BulkFailure { index, id, error });
                }
            }
        }
        report.not_begun = total - begun;
        report
    }
}
