//! A cron scheduler without a server: each planned instant runs once, however many processes are up.
//!
//! A job is stored as one small object. The write that puts a run into it is the claim: of all processes that try one
//! wins, the others are refused. The end of a run is a row of the history, under an id that follows from the job and the
//! instant. A process that dies leaves a run whose heartbeat stands still; others end it, or take it over.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
//! use s3db::scheduler::{Action, JobDefinition, RunStatus, SchedulerPlugin};
//! use s3db::{Database, ResourceDefinition};
//! use serde_json::json;
//!
//! let cleanup = JobDefinition::new("cleanup", "0 3 * * *")
//!     .timezone("America/Sao_Paulo")
//!     .action(Action::new("delete_where").field("resource", "sessions").field("where", json!({"expired": true})));
//! let plugin = SchedulerPlugin::builder()
//!     .job(cleanup)
//!     .job_fn(JobDefinition::new("report", "*/5 * * * *"), |call| async move {
//!         let count = call.db.resource("sessions").await?.count().await?;
//!         Ok::<_, s3db::Error>(json!({"sessions": count}))
//!     })
//!     .build()?;
//! let db = Database::builder("memory://jobs").plugin(plugin).connect().await?;
//! let sessions = db.create_resource(ResourceDefinition::new("sessions").attribute("expired", "boolean")).await?;
//! sessions.insert(json!({"id": "a", "expired": true})).await?;
//!
//! let scheduler = db.plugin::<SchedulerPlugin>()?;
//! let run = scheduler.run_job("cleanup", json!({})).await?;
//! assert_eq!((run.status, &run.result), (RunStatus::Success, &json!({"deleted": 1})));
//! assert_eq!(scheduler.get_job_status("cleanup").await?.statistics.success, 1);
//! db.stop(std::time::Duration::from_secs(5)).await?;
//! # Ok(()) }
//! ```
//!
//! `docs/scheduler.md` leads from the first job to several processes; `docs/cron.md` has every form of an expression.

mod action;
mod attempt;
mod backfill;
mod background;
mod builder;
mod cancel;
mod cell;
mod claim;
mod configure;
mod context;
mod cron;
mod decide;
#[cfg(test)]
mod decide_tests;
mod definition;
mod events;
mod heartbeat;
mod history;
mod jobs;
mod local;
mod manual;
mod metrics;
mod record;
mod retention;
mod rows;
mod run;
mod settings;
mod statistics;
mod status;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::Plugin;
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Events, Sender};
use crate::resource::Resource;

pub use backfill::BackfillReport;
pub use builder::SchedulerBuilder;
pub use context::{Cancellation, JobCall, JobContext};
pub use cron::{Cron, Dst, Explanation};
pub use definition::{Action, Allow, Backoff, CatchUp, JobDefinition, OnDeath, Overlap, Verb};
pub use events::SchedulerEvent;
pub use history::{HistoryOptions, HistoryPage};
pub use manual::{RunOptions, RunReport};
pub use metrics::{Metrics, RunCount};
pub use record::{Totals, Trigger};
pub use rows::{Attempt, HistoryRow};
pub use settings::{HistoryRetention, SchedulerSettings};
pub use statistics::JobStatistics;
pub use status::RunStatus;
pub use view::{JobStatus, RunningJob};

use cell::Cell;
use context::JobFunction;
pub(crate) use definition::jobs_schema;
use definition::{Compiled, Standard};
use record::JobRecord;

/// The plugin for jobs.
#[derive(Debug, Clone)]
pub struct SchedulerPlugin {
    core: Arc<Core>,
}

/// A definition as it was read, and the job if this process can run it.
type Read = (Value, Option<Arc<Compiled>>);
type Cells = HashMap<String, Arc<tokio::sync::Mutex<Cell>>>;

/// What the plugin's handles share.
#[derive(Debug)]
struct Core {
    settings: settings::Filled,
    standard: Standard,
    /// The jobs that this process was given.
    jobs: Vec<JobDefinition>,
    /// Whether those that are stored otherwise are left as they are.
    only_new: bool,
    functions: RwLock<BTreeMap<String, JobFunction>>,
    callbacks: events::Callbacks,
    folder: Option<PathBuf>,
    db: OnceLock<Database>,
    /// Who this process is, as owner of runs.
    owner: OnceLock<String>,
    ready_history: OnceCell<Resource>,
    cells: Mutex<Cells>,
    /// By name: the definition that was read last, and what became of it.
    compiled: Mutex<HashMap<String, Read>>,
    locals: local::Locals,
    events: Sender<SchedulerEvent>,
    metrics: metrics::Counters,
    /// The last instant of each job that was told to be late.
    late: Mutex<HashMap<String, i64>>,
    /// When the history of each job was last pruned here.
    pruned: Mutex<HashMap<String, Duration>>,
    background: background::Background,
}

impl Core {
    fn db(&self) -> Result<&Database> {
        self.db.get().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the plugin is not set up")
                .guide("give it to Database::builder(…).plugin(…), and find it with db.plugin::<SchedulerPlugin>()")
        })
    }

    /// The store's time.
    fn now_ms(&self) -> i64 {
        self.db.get().map_or(0, |db| db.inner.store.now_ms())
    }

    fn owner(&self) -> &str {
        self.owner.get().map_or("", String::as_str)
    }

    fn tell(&self, what: &str) {
        if self.settings.verbose {
            tracing::info!(target: "s3db::scheduler", "{what}");
        } else {
            tracing::debug!(target: "s3db::scheduler", "{what}");
        }
    }

    fn function(&self, job: &str) -> Option<JobFunction> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(job).cloned()
    }

    fn register(&self, job: &str, function: JobFunction) {
        self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(job.to_owned(), function);
    }

    /// What this process has of a job's record.
    fn cell(&self, job: &str) -> Arc<tokio::sync::Mutex<Cell>> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(job.to_owned()).or_default())
    }

    /// Forgets records that are not there any more.
    fn forget_cells(&self, there: &HashSet<String>) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|name, cell| there.contains(name) || Arc::strong_count(cell) > 1);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|name, _| there.contains(name));
    }

    /// A stored job, ready to run; `None` where this process cannot run it, which is told once.
    fn compiled(&self, record: &JobRecord) -> Option<Arc<Compiled>> {
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((definition, compiled)) = all.get(&record.name)
            && *definition == record.definition
        {
            return compiled.clone();
        }
        let read = JobDefinition::from_json(&record.name, &record.definition);
        let compiled = read.and_then(|definition| self.standard.compile(definition)).map(Arc::new);
        if let Err(error) = &compiled {
            tracing::error!(target: "s3db::scheduler", %error, "the stored job '{}' cannot be run by this process", record.name);
        }
        let compiled = compiled.ok();
        all.insert(record.name.clone(), (record.definition.clone(), compiled.clone()));
        compiled
    }

    /// The job as it was read last.
    fn compiled_before(&self, job: &str) -> Option<Arc<Compiled>> {
        let all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(job).and_then(|(_, compiled)| compiled.clone())
    }

    /// Whether an instant is told to be late for the first time.
    fn first_time_late(&self, job: &str, planned_ms: i64) -> bool {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.insert(job.to_owned(), planned_ms) != Some(planned_ms)
    }
}

impl SchedulerPlugin {
    /// Begins to build the plugin.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    /// The events of this process's scheduler from now on.
    pub fn subscribe(&self) -> Events<SchedulerEvent> {
        self.core.events.subscribe()
    }
}

#[async_trait]
impl Plugin for SchedulerPlugin {
    fn name(&self) -> &'static str {
        "SchedulerPlugin"
    }

    async fn setup(&self, db: Database) -> Result<()> {
        let core = &self.core;
        let owner = format!("process {} {}", std::process::id(), db.inner.ulid());
        if core.db.set(db).is_err() {
            return Err(Error::new(ErrorKind::Unsupported, "the plugin is set up for another connection already")
                .guide("build one plugin for each connection"));
        }
        let _first = core.owner.set(owner);
        core.store_given().await
    }

    async fn start(&self) -> Result<()> {
        background::start(&self.core);
        Ok(())
    }

    async fn stop(&self, deadline: Duration) -> Result<()> {
        self.core.stop(deadline).await
    }
}
