//! State machines: entities that move between states by events, with exactly one winner of each move.
//!
//! A machine is data: states, events, guards, actions, timers. An entity is a row that runs on it. Every
//! transition is one conditional write of that row, so that of any number of processes that send at once
//! one wins and the others are told the truth; every transition has its row in a log without gaps; actions
//! run at least once, by the winner or by whoever finds that it died.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
//! use s3db::Database;
//! use s3db::state_machine::{MachineDefinition, State, StateMachinePlugin};
//! use serde_json::json;
//!
//! let orders = MachineDefinition::new("order", "pending")
//!     .state(State::new("pending").on("CONFIRM", "confirmed").on("CANCEL", "cancelled"))
//!     .state(State::new("confirmed").on("SHIP", "shipped").guard("SHIP", "isPaid").entry("onConfirmed"))
//!     .state(State::finished("shipped"))
//!     .state(State::finished("cancelled"));
//! let plugin = StateMachinePlugin::builder()
//!     .machine(orders)
//!     .guard("isPaid", |call| async move { Ok::<_, String>(call.context["paid"] == true) })
//!     .action("onConfirmed", |call| async move {
//!         println!("order {} is confirmed", call.entity);
//!         Ok::<_, String>(json!({"confirmedBy": call.actor}))
//!     })
//!     .build()?;
//! let db = Database::builder("memory://orders").plugin(plugin).connect().await?;
//! let machines = db.plugin::<StateMachinePlugin>()?;
//!
//! machines.initialize_entity("order", "o1", json!({"total": 99.5})).await?;
//! let sent = machines.send("order", "o1", "CONFIRM", json!({"paid": true})).await?;
//! assert_eq!((sent.from.as_str(), sent.to.as_str(), sent.version), ("pending", "confirmed", 1));
//! machines.send("order", "o1", "SHIP", json!({})).await?;
//!
//! let refused = machines.send("order", "o1", "CANCEL", json!({})).await.unwrap_err();
//! assert_eq!(refused.kind(), s3db::ErrorKind::FinalState);
//! assert_eq!(machines.get_transition_history("order", "o1", &Default::default()).await?.items.len(), 2);
//! # Ok(()) }
//! ```
//!
//! `docs/state-machines.md` leads from an order to monitoring.

mod action;
mod background;
mod builder;
mod check;
mod commit;
mod configure;
mod definition;
mod delete;
mod due;
mod engine;
mod entities;
mod entity;
mod events;
mod facts;
mod functions;
mod history;
mod ids;
mod initialize;
mod judge;
mod load;
mod log;
mod machine;
mod machines;
mod metrics;
mod migrate;
mod outbox;
mod picture;
mod read;
mod resources;
mod send;
mod simulate;
mod sweep;
mod verify;
mod visualize;
mod warm;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::Plugin;
use crate::database::Database;
use crate::doctor::Finding;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Events, Sender};
use crate::resource::Resource;

pub use builder::StateMachineBuilder;
pub(crate) use definition::toml_value;
pub use definition::{
    Action, ActionRef, Guard, GuardRef, Lookup, MachineDefinition, MachineFile, Problem, State, Target, schema,
};
pub use delete::PruneReport;
pub use entities::EntitySummary;
pub use entity::ActionResult;
pub use events::StateMachineEvent;
pub use functions::{ActionCall, GuardCall, Verdict};
pub use history::{HistoryOptions, HistoryPage};
pub use log::HistoryRow;
pub use machines::{Defined, MachineVersion, MachineVersions, StoredMachine};
pub use metrics::{Metrics, TransitionCount};
pub use migrate::{MigrateOptions, MigrateReport, Unmapped};
pub use read::{EntityView, PendingActions, RunningTimer};
pub(crate) use resources::STATES;
pub use send::{ActionsState, SendOptions, Sent};
pub use simulate::{Simulation, SimulationStep};
pub use sweep::{SweepFailure, SweepReport};
pub use verify::{Drift, VerifyReport};
pub use visualize::{PictureFormat, VisualizeOptions};

/// The plugin for state machines.
#[derive(Debug, Clone)]
pub struct StateMachinePlugin {
    core: Arc<Core>,
}

/// Settings of the plugin, with the names of its documented options.
#[derive(Debug, Clone)]
struct Options {
    transition_log_resource: Option<String>,
    state_resource: Option<String>,
    persist_transitions: bool,
    lenient: bool,
    verbose: bool,
    guard_timeout: Duration,
    action_timeout: Duration,
    action_attempts: u32,
    sweep_interval: Option<Duration>,
    exec_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transition_log_resource: None,
            state_resource: None,
            persist_transitions: true,
            lenient: false,
            verbose: false,
            guard_timeout: Duration::from_secs(5),
            action_timeout: Duration::from_secs(30),
            action_attempts: 3,
            sweep_interval: Some(Duration::from_secs(10)),
            exec_folder: None,
        }
    }
}

/// What the plugin's handles share.
#[derive(Debug)]
struct Core {
    /// Itself, for actions that send events.
    me: Weak<Core>,
    options: Options,
    functions: functions::Functions,
    definitions: Vec<MachineDefinition>,
    callbacks: background::Callbacks,
    db: OnceLock<Database>,
    /// Who this process is, as runner of actions.
    runner: OnceLock<String>,
    ready_states: OnceCell<Resource>,
    ready_log: OnceCell<Resource>,
    library: machines::Library,
    warm: warm::Warm,
    events: Sender<StateMachineEvent>,
    metrics: metrics::Counters,
    /// The key behind which the next sweep begins, where the last one found more than it takes.
    sweep_from: Mutex<Option<String>>,
    background: background::Background,
}

impl Core {
    fn db(&self) -> Result<&Database> {
        self.db.get().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the plugin is not set up")
                .guide("give it to Database::builder(…).plugin(…), and find it with db.plugin::<StateMachinePlugin>()")
        })
    }

    /// The store's time.
    fn now_ms(&self) -> i64 {
        self.db.get().map_or(0, |db| db.inner.store.now_ms())
    }

    fn runner(&self) -> &str {
        self.runner.get().map_or("", String::as_str)
    }

    /// Whether the index of states is wanted: by a machine that this process was given, else by one that is
    /// stored.
    async fn wants_index(&self) -> Result<bool> {
        if !self.definitions.is_empty() {
            return Ok(self.definitions.iter().any(|machine| machine.track_states));
        }
        for name in self.machine_names().await? {
            if self.current(&name).await?.definition.track_states {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tell(&self, what: &str) {
        if self.options.verbose {
            tracing::info!(target: "s3db::state_machine", "{what}");
        } else {
            tracing::debug!(target: "s3db::state_machine", "{what}");
        }
    }
}

impl StateMachinePlugin {
    /// Begins to build the plugin.
    pub fn builder() -> StateMachineBuilder {
        StateMachineBuilder::default()
    }

    /// The names of the resources of entities and of the log.
    pub(crate) fn resource_names(&self) -> (String, String) {
        let options = &self.core.options;
        let name = |set: &Option<String>, default: &str| set.clone().unwrap_or_else(|| default.to_owned());
        (name(&options.state_resource, resources::STATES), name(&options.transition_log_resource, resources::LOG))
    }

    /// The events of this process's machines from now on.
    pub fn subscribe(&self) -> Events<StateMachineEvent> {
        self.core.events.subscribe()
    }

    /// Stores a definition as the current one of its machine. An equal one costs a GET and changes nothing;
    /// another one becomes a new version, on which new entities run. Costs a GET and two PUTs.
    ///
    /// # Errors
    /// `Invalid` with every problem: unknown targets, functions that are not registered, …
    pub async fn define(&self, definition: MachineDefinition) -> Result<Defined> {
        self.core.define(definition).await
    }

    /// Checks a definition as [`StateMachinePlugin::define`] does, and stores nothing. Returns what is
    /// strange about it.
    ///
    /// # Errors
    /// As [`StateMachinePlugin::define`].
    pub fn validate(&self, definition: MachineDefinition) -> Result<Vec<Problem>> {
        Ok(self.core.compile(definition)?.1)
    }

    /// Reads a file of machines and checks all of them, as [`StateMachinePlugin::validate`] does. What is strange
    /// about them is in the file's warnings.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` with every problem of every machine at once.
    pub fn load_file(&self, path: &Path) -> Result<MachineFile> {
        let (mut file, problems) = MachineFile::open(path)?;
        file.warnings = self.check_file(&file, problems).map_err(|e| e.context(&path.display().to_string()))?;
        Ok(file)
    }

    /// Checks all machines of a file as [`StateMachinePlugin::validate`] does.
    ///
    /// # Errors
    /// `Invalid` with every problem of every machine.
    pub fn validate_file(&self, file: &MachineFile) -> Result<Vec<Problem>> {
        self.check_file(file, Vec::new())
    }

    fn check_file(&self, file: &MachineFile, mut problems: Vec<Problem>) -> Result<Vec<Problem>> {
        let mut warnings = file.warnings.clone();
        for machine in &file.machines {
            match machine::Machine::compile(machine.clone(), &self.core.functions) {
                Err(found) => problems.extend(found),
                Ok((compiled, strange)) => {
                    problems.extend(compiled.missing.iter().map(|m| machine::not_registered(&machine.name, m)));
                    warnings.extend(strange);
                }
            }
        }
        match problems.is_empty() {
            true => Ok(warnings),
            false => Err(definition::invalid("the file of machines", &problems)),
        }
    }

    /// The stored machines. Costs a LIST, and a GET for each.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get_machines(&self) -> Result<Vec<MachineVersions>> {
        let mut machines = Vec::new();
        for name in self.core.machine_names().await? {
            machines.push(MachineVersions::clone(&*self.core.versions(&name).await?));
        }
        Ok(machines)
    }

    /// A copy of a machine's definition; the current one unless a version is named by number or hash. Costs
    /// up to two GETs, none while it is known.
    ///
    /// # Errors
    /// `NotFound`, with the names that there are.
    pub async fn get_machine_definition(&self, machine: &str, version: Option<&str>) -> Result<StoredMachine> {
        self.core.stored(machine, version).await
    }

    /// The definitions of a machine from the first to the current one.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_machine_versions(&self, machine: &str) -> Result<MachineVersions> {
        Ok(MachineVersions::clone(&*self.core.versions(machine).await?))
    }
}

#[async_trait]
impl Plugin for StateMachinePlugin {
    fn name(&self) -> &'static str {
        "StateMachinePlugin"
    }

    async fn setup(&self, db: Database) -> Result<()> {
        let core = &self.core;
        let runner = db.inner.ulid();
        if core.db.set(db).is_err() {
            return Err(Error::new(ErrorKind::Unsupported, "the plugin is set up for another connection already")
                .guide("build one plugin for each connection"));
        }
        let _first = core.runner.set(runner);
        background::call_back(core);
        for definition in &core.definitions {
            for warning in core.define(definition.clone()).await?.warnings {
                tracing::warn!(target: "s3db::state_machine", "{}: {}", warning.path, warning.message);
            }
        }
        let machines = core.definitions.iter().map(|d| d.name.clone()).collect();
        core.events.emit(|| StateMachineEvent::Initialized { machines });
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        background::start(&self.core);
        Ok(())
    }

    async fn stop(&self, deadline: Duration) -> Result<()> {
        self.core.background.stop(&self.core, deadline).await
    }

    async fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        self.core.check(repair).await
    }
}

/// A text of a row; `None` where it is missing or no text.
fn record_text(row: &Map<String, Value>, name: &str) -> Option<String> {
    row.get(name).and_then(Value::as_str).map(str::to_owned)
}
