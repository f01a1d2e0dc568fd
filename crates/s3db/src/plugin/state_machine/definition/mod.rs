//! Definitions of state machines, as people write them: JSON, TOML or Rust, one type.
//!
//! Definitions are data. What they name — guards and actions — is either data too (an expression, a
//! built-in action) or a function that a process registers.

mod file;
mod read;
mod schema;
mod write;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use file::MachineFile;
pub(crate) use file::toml_value;
pub use schema::schema;

pub use crate::plugin::problem::Problem;
pub(super) use crate::plugin::problem::{Problems, invalid};

/// States of a machine at most.
pub(super) const MOST_STATES: usize = 10_000;
/// Bytes of the name of a state or an event at most.
pub(super) const NAME_BYTES: usize = 128;
/// An entry of `on` that takes every event that has no entry of its own.
pub(super) const ANY: &str = "*";
/// How the events of timers begin in the log; events of callers cannot.
pub(super) const TIMER_PREFIX: &str = "after:";
/// The event of a migration in the log.
pub(super) const MIGRATE: &str = "migrate";
/// The event of the row that says where the history of an adopted entity begins.
pub(super) const BASELINE: &str = "baseline";
/// Why a reserved event is refused.
pub(super) const RESERVED: &str = "events cannot be 'migrate' or 'baseline' or begin with 'after:': the log says so of migrations, adopted entities and timers";

/// Whether the log uses an event for itself.
pub(super) fn is_reserved(event: &str) -> bool {
    event == MIGRATE || event == BASELINE || event.starts_with(TIMER_PREFIX)
}

/// A state machine.
///
/// ```
/// use s3db::state_machine::{MachineDefinition, State, Target};
/// use serde_json::json;
///
/// let built = MachineDefinition::new("door", "closed")
///     .state(State::new("closed").on("OPEN", Target::to("open").guard("hasKey")))
///     .state(State::new("open").on("CLOSE", "closed").after("30m", "closed").entry("onOpened"));
/// let written = MachineDefinition::from_json("door", &json!({
///     "initialState": "closed",
///     "states": {
///         "closed": { "on": { "OPEN": { "target": "open", "guard": "hasKey" } } },
///         "open": { "on": { "CLOSE": "closed" }, "after": { "30m": "closed" }, "entry": "onOpened" }
///     }
/// })).unwrap();
/// assert_eq!(built, written);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MachineDefinition {
    /// Its name: 1 to 64 of the characters `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// The state of a new entity.
    pub initial_state: String,
    /// The states in the order in which they were written.
    pub states: Vec<State>,
    /// What it is for.
    pub description: Option<String>,
    /// Whatever its author keeps with it.
    pub meta: Map<String, Value>,
    /// Whether an index says which entities are in which state.
    pub track_states: bool,
    /// Who may send: by event, or `*` for every event that is not named.
    pub authorize: Vec<(String, GuardRef)>,
    /// Guards by name that are data.
    pub guards: BTreeMap<String, Guard>,
    /// Actions by name that are data.
    pub actions: BTreeMap<String, Action>,
}

/// A state.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its name: any text of 1 to 128 bytes.
    pub name: String,
    /// Whether it accepts nothing any more.
    pub is_final: bool,
    /// Event, or `*`, and its targets: the first whose guards pass is taken.
    pub on: Vec<(String, Vec<Target>)>,
    /// Guards of all targets of an event.
    pub guards: Vec<(String, Vec<GuardRef>)>,
    /// Duration and its targets: timers, which run while an entity is in the state.
    pub after: Vec<(String, Vec<Target>)>,
    /// Actions of every transition into the state.
    pub entry: Vec<ActionRef>,
    /// Actions of every transition out of the state.
    pub exit: Vec<ActionRef>,
    /// What it is for.
    pub description: Option<String>,
    /// Whatever its author keeps with it; `color` is drawn.
    pub meta: Map<String, Value>,
}

/// Where an event leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The state.
    pub target: String,
    /// All of them must pass.
    pub guards: Vec<GuardRef>,
    /// Actions of this transition, between those of exit and entry.
    pub actions: Vec<ActionRef>,
}

/// A guard that is named, or written in place.
#[derive(Debug, Clone, PartialEq)]
pub enum GuardRef {
    /// A name.
    Named(String),
    /// The guard itself.
    Inline(Guard),
}

/// A guard as data: an expression over the context, the payload and records that are read first.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// The expression, in the Common Expression Language.
    pub cel: String,
    /// Variable and the record that it stands for.
    pub with: Vec<(String, Lookup)>,
}

/// A record that a guard looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The resource.
    pub resource: String,
    /// An expression whose value is the record's id.
    pub id: String,
}

/// An action that is named, or written in place.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionRef {
    /// A name.
    Named(String),
    /// The action itself.
    Inline(Action),
}

/// An action as data: `{"kind": "update", …}`; `docs/state-machines.md` lists the kinds.
#[derive(Debug, Clone, PartialEq)]
pub struct Action(pub Map<String, Value>);

impl MachineDefinition {
    /// A machine without states.
    pub fn new(name: impl Into<String>, initial_state: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            initial_state: initial_state.into(),
            states: Vec::new(),
            description: None,
            meta: Map::new(),
            track_states: true,
            authorize: Vec::new(),
            guards: BTreeMap::new(),
            actions: BTreeMap::new(),
        }
    }

    /// Adds a state.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.states.push(state);
        self
    }

    /// Names a guard that is data.
    #[must_use]
    pub fn guard(mut self, name: impl Into<String>, guard: impl Into<Guard>) -> Self {
        self.guards.insert(name.into(), guard.into());
        self
    }

    /// Names an action that is data.
    #[must_use]
    pub fn action(mut self, name: impl Into<String>, action: Action) -> Self {
        self.actions.insert(name.into(), action);
        self
    }

    /// Says who may send an event; `*` is every event that is not named.
    #[must_use]
    pub fn authorize(mut self, event: impl Into<String>, rule: impl Into<GuardRef>) -> Self {
        self.authorize.push((event.into(), rule.into()));
        self
    }

    /// Whether an index says which entities are in which state. The default is `true`. The index is one of
    /// the state resource: it is kept as soon as one of the machines there wants it.
    #[must_use]
    pub fn track_states(mut self, track: bool) -> Self {
        self.track_states = track;
        self
    }
}

impl State {
    /// A state that accepts nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_final: false,
            on: Vec::new(),
            guards: Vec::new(),
            after: Vec::new(),
            entry: Vec::new(),
            exit: Vec::new(),
            description: None,
            meta: Map::new(),
        }
    }

    /// A state that accepts nothing any more.
    pub fn finished(name: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::new(name) }
    }

    /// Adds a target of an event, behind those that are there. The event `*` is every event that has none.
    #[must_use]
    pub fn on(mut self, event: impl Into<String>, target: impl Into<Target>) -> Self {
        add(&mut self.on, event.into(), target.into());
        self
    }

    /// Adds a guard for all targets of an event.
    #[must_use]
    pub fn guard(mut self, event: impl Into<String>, guard: impl Into<GuardRef>) -> Self {
        add(&mut self.guards, event.into(), guard.into());
        self
    }

    /// Adds a timer: `30m` after an entity came into the state, unless it has left.
    #[must_use]
    pub fn after(mut self, duration: impl Into<String>, target: impl Into<Target>) -> Self {
        add(&mut self.after, duration.into(), target.into());
        self
    }

    /// Adds an action of every transition into the state.
    #[must_use]
    pub fn entry(mut self, action: impl Into<ActionRef>) -> Self {
        self.entry.push(action.into());
        self
    }

    /// Adds an action of every transition out of the state.
    #[must_use]
    pub fn exit(mut self, action: impl Into<ActionRef>) -> Self {
        self.exit.push(action.into());
        self
    }

    /// Keeps something with the state; `color` is drawn.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }
}

fn add<T>(entries: &mut Vec<(String, Vec<T>)>, key: String, value: T) {
    match entries.iter_mut().find(|(k, _)| *k == key) {
        Some((_, values)) => values.push(value),
        None => entries.push((key, vec![value])),
    }
}

impl Target {
    /// A state.
    pub fn to(state: impl Into<String>) -> Self {
        Self { target: state.into(), guards: Vec::new(), actions: Vec::new() }
    }

    /// Adds a guard.
    #[must_use]
    pub fn guard(mut self, guard: impl Into<GuardRef>) -> Self {
        self.guards.push(guard.into());
        self
    }

    /// Adds an action of this transition.
    #[must_use]
    pub fn action(mut self, action: impl Into<ActionRef>) -> Self {
        self.actions.push(action.into());
        self
    }
}

impl<T: Into<String>> From<T> for Target {
    fn from(state: T) -> Self {
        Self::to(state)
    }
}

impl Guard {
    /// An expression.
    pub fn cel(expression: impl Into<String>) -> Self {
        Self { cel: expression.into(), with: Vec::new() }
    }

    /// Reads a record first, which is then a variable; `id` is an expression, as `context.productId`.
    #[must_use]
    pub fn with(mut self, variable: impl Into<String>, resource: impl Into<String>, id: impl Into<String>) -> Self {
        self.with.push((variable.into(), Lookup { resource: resource.into(), id: id.into() }));
        self
    }
}

impl Action {
    /// An action of a kind without fields.
    pub fn new(kind: &str) -> Self {
        Self(Map::from_iter([("kind".to_owned(), Value::from(kind))]))
    }

    /// Sets a field. Texts that begin with `=` are expressions.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Its kind; empty where none was written.
    pub fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }
}

impl From<&str> for GuardRef {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<Guard> for GuardRef {
    fn from(guard: Guard) -> Self {
        Self::Inline(guard)
    }
}

impl From<&str> for ActionRef {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<Action> for ActionRef {
    fn from(action: Action) -> Self {
        Self::Inline(action)
    }
}
