//! What a run knows, and what its function gets.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::SchedulerPlugin;
use crate::database::Database;
use crate::plugin::action::Situation;

/// What a run knows. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobContext {
    /// The job.
    pub job_name: String,
    /// The run: the same for all its attempts, what to be idempotent with.
    pub run_id: String,
    /// The planned instant; absent for manual runs.
    pub scheduled_time: Option<String>,
    /// When the attempt began.
    pub started_at: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the last success ended.
    pub last_success: Option<String>,
    /// What the caller of a manual run gave.
    pub context: Value,
    /// The job's `meta`.
    pub meta: Map<String, Value>,
}

/// Tells a run that it should end: it took too long, was cancelled, or its process stops.
#[derive(Debug, Clone)]
pub struct Cancellation(pub(super) watch::Receiver<bool>);

impl Cancellation {
    /// Whether it should end.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it should end.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        // Without a sender the run is over.
        let _over = receiver.wait_for(|cancelled| *cancelled).await;
    }
}

/// What a job's function gets.
#[derive(Debug, Clone)]
pub struct JobCall {
    /// The database.
    pub db: Database,
    /// What the run knows.
    pub context: JobContext,
    /// The scheduler.
    pub scheduler: SchedulerPlugin,
    /// Tells the run that it should end. One that does not is dropped at its next pause ten seconds later.
    pub cancellation: Cancellation,
}

type Boxed = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;

/// A job's function.
#[derive(Clone)]
pub(super) struct JobFunction(Arc<dyn Fn(JobCall) -> Boxed + Send + Sync>);

impl std::fmt::Debug for JobFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobFunction")
    }
}

impl JobFunction {
    pub(super) fn new<F, O, E>(function: F) -> Self
    where
        F: Fn(JobCall) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Value, E>> + Send + 'static,
        E: Display,
    {
        Self(Arc::new(move |call| {
            let future = function(call);
            Box::pin(async move { future.await.map_err(|e| e.to_string()) })
        }))
    }

    pub(super) fn call(&self, call: JobCall) -> Boxed {
        (self.0)(call)
    }
}

impl JobContext {
    /// What an action that is data knows.
    pub(super) fn situation(&self, now_ms: i64, error: Option<&str>) -> Situation {
        let pairs = [
            ("job", json!(self.job_name)),
            ("runId", json!(self.run_id)),
            ("scheduledTime", json!(self.scheduled_time)),
            ("startedAt", json!(self.started_at)),
            ("attempt", json!(self.attempt)),
            ("lastSuccess", json!(self.last_success)),
            ("context", if self.context.is_null() { json!({}) } else { self.context.clone() }),
            ("meta", Value::Object(self.meta.clone())),
            ("error", json!(error)),
            ("token", json!(self.run_id)),
            ("now", json!(s3db_format::date::rfc3339(now_ms))),
        ];
        let token = if error.is_some() { format!("{}/onFailure", self.run_id) } else { self.run_id.clone() };
        Situation {
            variables: pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            token,
            actor: format!("job:{}", self.job_name),
            now_ms,
        }
    }
}
