//! What a process's scheduler tells.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Core;
use super::context::JobContext;

/// An event of this process's scheduler.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum SchedulerEvent {
    /// A run begins.
    JobStart {
        /// The job.
        job_name: String,
        /// What the run knows.
        context: Box<JobContext>,
    },
    /// A run succeeded.
    JobComplete {
        /// The job.
        job_name: String,
        /// The run.
        run_id: String,
        /// What it returned.
        result: Value,
        /// Milliseconds.
        duration: u64,
    },
    /// An attempt failed.
    JobError {
        /// The job.
        job_name: String,
        /// The run.
        run_id: String,
        /// Why.
        error: String,
        /// Which attempt, from 1.
        retry_count: u32,
    },
    /// An instant has waited for longer than `lateAfter`, or its run began so late.
    JobLate {
        /// The job.
        job_name: String,
        /// The instant, RFC 3339.
        scheduled_time: String,
        /// Milliseconds.
        late: u64,
    },
    /// An instant was left out.
    JobSkipped {
        /// The job.
        job_name: String,
        /// The instant, RFC 3339.
        scheduled_time: String,
        /// Why.
        reason: String,
    },
    /// No process was there for instants.
    JobMissed {
        /// The job.
        job_name: String,
        /// The first of them, RFC 3339.
        first: String,
        /// The last of them, RFC 3339.
        last: String,
        /// How many they are.
        count: u64,
    },
    /// A job was switched on.
    JobEnabled {
        /// The job.
        job_name: String,
    },
    /// A job was switched off.
    JobDisabled {
        /// The job.
        job_name: String,
    },
    /// A job was added, or changed.
    JobAdded {
        /// The job.
        job_name: String,
    },
    /// A job was removed.
    JobRemoved {
        /// The job.
        job_name: String,
    },
}

type OnStart = Arc<dyn Fn(&str, &JobContext) + Send + Sync>;
type OnComplete = Arc<dyn Fn(&str, &Value, Duration) + Send + Sync>;
type OnError = Arc<dyn Fn(&str, &str, u32) + Send + Sync>;

/// Functions that are called for runs.
#[derive(Default)]
pub(super) struct Callbacks {
    pub(super) start: Vec<OnStart>,
    pub(super) complete: Vec<OnComplete>,
    pub(super) error: Vec<OnError>,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Callbacks({}, {}, {})", self.start.len(), self.complete.len(), self.error.len())
    }
}

/// One that panics harms nobody else.
fn call(what: &str, callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!(target: "s3db::scheduler", "{what} panicked");
    }
}

impl Core {
    pub(super) fn tell_start(&self, context: &JobContext) {
        let name = &context.job_name;
        self.tell(&format!("job '{name}': run {} begins", context.run_id));
        for callback in &self.callbacks.start {
            call("onJobStart", || callback(name, context));
        }
        self.events.emit(|| SchedulerEvent::JobStart { job_name: name.clone(), context: Box::new(context.clone()) });
    }

    pub(super) fn tell_complete(&self, context: &JobContext, result: &Value, duration: Duration) {
        let name = &context.job_name;
        self.tell(&format!("job '{name}': run {} succeeded in {duration:?}", context.run_id));
        for callback in &self.callbacks.complete {
            call("onJobComplete", || callback(name, result, duration));
        }
        self.events.emit(|| SchedulerEvent::JobComplete {
            job_name: name.clone(),
            run_id: context.run_id.clone(),
            result: result.clone(),
            duration: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        });
    }

    pub(super) fn tell_error(&self, context: &JobContext, error: &str, retry_count: u32) {
        let name = &context.job_name;
        tracing::warn!(target: "s3db::scheduler::job", "job '{name}': attempt {retry_count} of run {} failed: {error}", context.run_id);
        for callback in &self.callbacks.error {
            call("onJobError", || callback(name, error, retry_count));
        }
        self.events.emit(|| SchedulerEvent::JobError {
            job_name: name.clone(),
            run_id: context.run_id.clone(),
            error: error.to_owned(),
            retry_count,
        });
    }
}
