//! Jobs as people write them: JSON, TOML or Rust, one type.

mod compile;
mod file;
mod read;
mod schema;
mod write;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::access::{Allow, Verb};
use crate::error::Result;
pub use crate::plugin::state_machine::Action;

pub(super) use compile::{Compiled, Standard, circles};
pub(super) use read::one_job;
pub(crate) use schema::jobs_schema;

/// How long before a run that is not claimed counts as missed. Nothing younger is ever skipped or missed: it is run,
/// only late.
pub(super) const GRACE: Duration = Duration::from_secs(60);
/// How far back missed instants are caught up.
pub(super) const CATCH_UP_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The first pause before a retry, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What happens to an instant that comes while the job still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out, with a row that says so, if the run goes on for a minute more.
    #[default]
    Skip,
    /// The first waits, the others are left out.
    BufferOne,
    /// All wait, one after the other.
    BufferAll,
    /// The run is asked to end; then the last one starts.
    CancelOther,
    /// The run is ended; then the last one starts.
    TerminateOther,
    /// It starts beside the others.
    AllowAll,
}

/// What happens to instants that no process was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are missed.
    #[default]
    None,
    /// The last one within the window is run.
    Last,
    /// All within the window are run.
    All,
}

/// What happens to a run whose process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDeath {
    /// It ends as `interrupted`: at most once.
    #[default]
    Interrupted,
    /// Another process begins it again: at least once.
    Retry,
}

/// The pauses between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt; each one after it is twice as long.
    pub initial: Duration,
    /// The longest.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: FIRST_PAUSE, max: LONGEST_PAUSE }
    }
}

/// A job: when, what, and what happens when that does not go well.
///
/// ```
/// use s3db::scheduler::{Action, CatchUp, JobDefinition};
/// use serde_json::json;
///
/// let cleanup = JobDefinition::new("daily_cleanup", "0 3 * * *")
///     .timezone("America/Sao_Paulo")
///     .retries(2)
///     .catch_up(CatchUp::Last)
///     .action(Action::new("delete_where").field("resource", "sessions").field("where", json!({"expiresAt": {"$lt": "$now"}})));
/// assert_eq!(cleanup.to_json()["action"]["kind"], "delete_where");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct JobDefinition {
    /// Its name.
    pub name: String,
    /// A cron expression.
    pub schedule: String,
    /// What it does; `None` is a function that a process registers.
    pub action: Option<Action>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it runs by itself, until `enable_job` or `disable_job` says otherwise.
    pub enabled: bool,
    /// The zone of the schedule; `None` is the plugin's.
    pub timezone: Option<String>,
    /// What happens where the clock is changed; `None` is the plugin's.
    pub dst: Option<super::Dst>,
    /// Attempts after the first; `None` is the plugin's.
    pub retries: Option<u32>,
    /// How long an attempt may take, zero for ever; `None` is the plugin's, and for ever for backups.
    pub timeout: Option<Duration>,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// What happens to an instant that comes while the job still runs.
    pub overlap: Overlap,
    /// What happens to instants that no process was there for.
    pub catch_up: CatchUp,
    /// How far back they are caught up.
    pub catch_up_window: Duration,
    /// Each run begins up to so much later, always the same for one instant.
    pub jitter: Duration,
    /// Jobs that must have succeeded at their last instant before this one's.
    pub depends_on: Vec<String>,
    /// What is done after the last attempt has failed.
    pub on_failure: Option<Action>,
    /// How late a run may begin before `job_late` is told.
    pub late_after: Option<Duration>,
    /// What the handle of a function may do.
    pub allow: Option<Allow>,
    /// What happens to a run whose process died.
    pub on_death: OnDeath,
    /// What the program wants to keep beside it.
    pub meta: Map<String, Value>,
}

impl JobDefinition {
    /// A job with everything else as it is by default, and no action yet: a function, unless
    /// [`JobDefinition::action`] says otherwise.
    pub fn new(name: impl Into<String>, schedule: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            schedule: schedule.into(),
            action: None,
            description: None,
            enabled: true,
            timezone: None,
            dst: None,
            retries: None,
            timeout: None,
            backoff: Backoff::default(),
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            catch_up_window: CATCH_UP_WINDOW,
            jitter: Duration::ZERO,
            depends_on: Vec::new(),
            on_failure: None,
            late_after: None,
            allow: None,
            on_death: OnDeath::default(),
            meta: Map::new(),
        }
    }

    /// Sets what it does.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// Sets what it is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets whether it runs by itself, until `enable_job` or `disable_job` says otherwise.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the zone of the schedule.
    #[must_use]
    pub fn timezone(mut self, zone: impl Into<String>) -> Self {
        self.timezone = Some(zone.into());
        self
    }

    /// Sets the attempts after the first.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// Sets how long an attempt may take; zero is for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the pauses between attempts.
    #[must_use]
    pub fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.backoff = Backoff { initial, max: max.max(initial) };
        self
    }

    /// Sets what happens to an instant that comes while the job still runs.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Sets what happens to instants that no process was there for.
    #[must_use]
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Sets how far back they are caught up.
    #[must_use]
    pub fn catch_up_window(mut self, window: Duration) -> Self {
        self.catch_up_window = window;
        self
    }

    /// Lets each run begin up to so much later.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Adds a job that must have succeeded at its last instant before.
    #[must_use]
    pub fn depends_on(mut self, job: impl Into<String>) -> Self {
        self.depends_on.push(job.into());
        self
    }

    /// Sets what is done after the last attempt has failed.
    #[must_use]
    pub fn on_failure(mut self, action: Action) -> Self {
        self.on_failure = Some(action);
        self
    }

    /// Sets how late a run may begin before `job_late` is told.
    #[must_use]
    pub fn late_after(mut self, late: Duration) -> Self {
        self.late_after = Some(late);
        self
    }

    /// Sets what the handle of a function may do.
    #[must_use]
    pub fn allow(mut self, allow: Allow) -> Self {
        self.allow = Some(allow);
        self
    }

    /// Sets what happens to a run whose process died.
    #[must_use]
    pub fn on_death(mut self, on_death: OnDeath) -> Self {
        self.on_death = on_death;
        self
    }

    /// Keeps a value beside it.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }

    /// Reads a job.
    ///
    /// # Errors
    /// `Invalid` with every problem, each with the path of its field.
    pub fn from_json(name: &str, value: &Value) -> Result<Self> {
        one_job(name, value)
    }
}

/// The word of a value, as it is written in JSON.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}
