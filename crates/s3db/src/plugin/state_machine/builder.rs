//! Building the plugin: settings, definitions, functions.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;

use super::background::{Callback, Callbacks};
use super::definition::{MachineDefinition, MachineFile, invalid};
use super::functions::{ActionCall, Functions, GuardCall, Verdict};
use super::machine::{Machine, not_registered};
use super::{Core, Options, StateMachineEvent, StateMachinePlugin};
use crate::error::Result;
use crate::events::Sender;

/// Builds a [`StateMachinePlugin`].
#[derive(Default)]
pub struct StateMachineBuilder {
    options: Options,
    functions: Functions,
    definitions: Vec<MachineDefinition>,
    callbacks: Vec<Callback>,
}

impl std::fmt::Debug for StateMachineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMachineBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl StateMachineBuilder {
    /// Adds a machine. It is stored when the database connects, if it is not there already.
    #[must_use]
    pub fn machine(mut self, machine: MachineDefinition) -> Self {
        self.definitions.push(machine);
        self
    }

    /// Adds the machines of a file.
    #[must_use]
    pub fn machines(mut self, file: MachineFile) -> Self {
        self.definitions.extend(file.machines);
        self
    }

    /// Registers a guard: a function that says whether an event passes. It must not change anything, and may
    /// run several times for one event. One that fails, panics or takes longer than
    /// [`StateMachineBuilder::guard_timeout`] lets nothing pass.
    #[must_use]
    pub fn guard<F, O, V, E>(mut self, name: &str, guard: F) -> Self
    where
        F: Fn(GuardCall) -> O + Send + Sync + 'static,
        O: Future<Output = std::result::Result<V, E>> + Send + 'static,
        V: Into<Verdict>,
        E: Display,
    {
        self.functions.add_guard(name, guard);
        self
    }

    /// Registers an action. It runs after the transition stands, at least once: [`ActionCall::token`] is the
    /// same each time. An object that it returns is merged into the context.
    #[must_use]
    pub fn action<F, O, E>(mut self, name: &str, action: F) -> Self
    where
        F: Fn(ActionCall) -> O + Send + Sync + 'static,
        O: Future<Output = std::result::Result<Value, E>> + Send + 'static,
        E: Display,
    {
        self.functions.add_action(name, action);
        self
    }

    /// Registers who may send: asked before guards for every event of every machine, beside the rules of the
    /// definitions.
    #[must_use]
    pub fn authorize<F, O, V, E>(mut self, rule: F) -> Self
    where
        F: Fn(GuardCall) -> O + Send + Sync + 'static,
        O: Future<Output = std::result::Result<V, E>> + Send + 'static,
        V: Into<Verdict>,
        E: Display,
    {
        self.functions.set_authorize(rule);
        self
    }

    /// Calls a function for every event of this process's machines. It runs in a task of its own, so that it
    /// holds nobody up; events that it is too slow for are dropped and counted in
    /// [`super::Metrics::dropped_events`].
    #[must_use]
    pub fn on_event(mut self, callback: impl Fn(&StateMachineEvent) + Send + Sync + 'static) -> Self {
        self.callbacks.push(Arc::new(callback));
        self
    }

    /// Calls a function for every transition that stands.
    #[must_use]
    pub fn on_transition(self, callback: impl Fn(&StateMachineEvent) + Send + Sync + 'static) -> Self {
        self.on_event(move |event| {
            if matches!(event, StateMachineEvent::Transition { .. }) {
                callback(event);
            }
        })
    }

    /// Calls a function for every attempt of an action that failed.
    #[must_use]
    pub fn on_action_error(self, callback: impl Fn(&StateMachineEvent) + Send + Sync + 'static) -> Self {
        self.on_event(move |event| {
            if matches!(event, StateMachineEvent::ActionError { .. }) {
                callback(event);
            }
        })
    }

    /// Calls a function for every entity that came into a final state.
    #[must_use]
    pub fn on_done(self, callback: impl Fn(&StateMachineEvent) + Send + Sync + 'static) -> Self {
        self.on_event(move |event| {
            if matches!(event, StateMachineEvent::Done { .. }) {
                callback(event);
            }
        })
    }

    /// The resource of the log. The default is `transitions`, or s3db.js's `state_transitions` where that is
    /// there.
    #[must_use]
    pub fn transition_log_resource(mut self, name: impl Into<String>) -> Self {
        self.options.transition_log_resource = Some(name.into());
        self
    }

    /// The resource of entities. The default is `entity_states`.
    #[must_use]
    pub fn state_resource(mut self, name: impl Into<String>) -> Self {
        self.options.state_resource = Some(name.into());
        self
    }

    /// Whether transitions are logged. The default is `true`; entities are stored either way. Without the log
    /// there is no history, and `verify` can only look at the state.
    #[must_use]
    pub fn persist_transitions(mut self, persist: bool) -> Self {
        self.options.persist_transitions = persist;
        self
    }

    /// Whether an entity that does not exist counts as one in the initial state, which the first event makes.
    /// The default is `false`: it is `NotFound`.
    #[must_use]
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.options.lenient = lenient;
        self
    }

    /// Whether what happens is logged at level `info` instead of `debug`; changes nothing else.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.options.verbose = verbose;
        self
    }

    /// How long a guard may take. The default is 5 s.
    #[must_use]
    pub fn guard_timeout(mut self, timeout: Duration) -> Self {
        self.options.guard_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How long an attempt of an action may take. The default is 30 s.
    #[must_use]
    pub fn action_timeout(mut self, timeout: Duration) -> Self {
        self.options.action_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How often an action is begun before it counts as failed, at least once. The default is 3.
    #[must_use]
    pub fn action_attempts(mut self, attempts: u32) -> Self {
        self.options.action_attempts = attempts.max(1);
        self
    }

    /// How often a connected process looks for timers and unfinished actions; `None` leaves that to others.
    /// The default is 10 s, each look a LIST.
    #[must_use]
    pub fn sweep_interval(mut self, interval: Option<Duration>) -> Self {
        self.options.sweep_interval = interval.map(|i| i.max(Duration::from_millis(10)));
        self
    }

    /// Whether actions of the kind `exec` may run programs. The default is `false`.
    #[must_use]
    pub fn allow_exec(mut self, allow: bool) -> Self {
        self.functions.allow_exec = allow;
        self
    }

    /// The folder in which actions of the kind `exec` run. The default is the working directory.
    #[must_use]
    pub fn exec_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.exec_folder = Some(folder.into());
        self
    }

    /// Builds the plugin.
    ///
    /// # Errors
    /// `Invalid` with every problem of every machine.
    pub fn build(self) -> Result<StateMachinePlugin> {
        let mut problems = Vec::new();
        for (at, definition) in self.definitions.iter().enumerate() {
            if self.definitions.iter().take(at).any(|other| other.name == definition.name) {
                problems.push(super::Problem { path: definition.name.clone(), message: "is there twice".into() });
            }
            match Machine::compile(definition.clone(), &self.functions) {
                Err(found) => problems.extend(found),
                Ok((machine, _)) => {
                    problems.extend(machine.missing.iter().map(|m| not_registered(&definition.name, m)))
                }
            }
        }
        if !problems.is_empty() {
            return Err(invalid("the state machine plugin", &problems));
        }
        let core = Arc::new_cyclic(|me| Core {
            me: Weak::clone(me),
            options: self.options,
            functions: self.functions,
            definitions: self.definitions,
            callbacks: Callbacks::new(self.callbacks),
            db: Default::default(),
            runner: Default::default(),
            ready_states: Default::default(),
            ready_log: Default::default(),
            library: Default::default(),
            warm: Default::default(),
            events: Sender::new(),
            metrics: Default::default(),
            sweep_from: Default::default(),
            background: Default::default(),
        });
        Ok(StateMachinePlugin { core })
    }
}
