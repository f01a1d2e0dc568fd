//! Functions that a process registers, and how they are run: in a task of their own, so that one that
//! panics or never returns harms nobody else.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use s3db_store::clock::Clock;
use serde_json::{Map, Value};

use super::machine::Registered;
use crate::database::Database;

/// What a guard is asked about.
#[derive(Debug, Clone)]
pub struct GuardCall {
    /// The database, to look things up. Guards are read-only: they may run several times for one event.
    pub db: Database,
    /// The machine.
    pub machine: String,
    /// The entity.
    pub entity: String,
    /// The state that it is in.
    pub state: String,
    /// Its version.
    pub version: u64,
    /// The event.
    pub event: String,
    /// The context, with the payload's members in it.
    pub context: Map<String, Value>,
    /// The payload.
    pub payload: Map<String, Value>,
    /// Who sends, where that was said.
    pub actor: Option<String>,
    /// Why, where that was said.
    pub reason: Option<String>,
}

/// What an action is to do.
#[derive(Debug, Clone)]
pub struct ActionCall {
    /// The database.
    pub db: Database,
    /// The machine.
    pub machine: String,
    /// The entity.
    pub entity: String,
    /// The action's name.
    pub action: String,
    /// The event that was accepted.
    pub event: String,
    /// The state before; the initial state itself where the entity was just initialised.
    pub from: String,
    /// The state after.
    pub to: String,
    /// The entity's version after.
    pub version: u64,
    /// The transition.
    pub transition_id: String,
    /// The context as it is now.
    pub context: Map<String, Value>,
    /// The payload.
    pub payload: Map<String, Value>,
    /// Who sent, where that was said.
    pub actor: Option<String>,
    /// Why, where that was said.
    pub reason: Option<String>,
    /// The same each time that this action runs for this transition: what to be idempotent with.
    pub token: String,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// What a guard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// It does not, and why.
    Reject(String),
}

impl From<bool> for Verdict {
    fn from(passes: bool) -> Self {
        if passes { Self::Pass } else { Self::Reject("it said no".into()) }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;
pub(super) type GuardFunction = Arc<dyn Fn(GuardCall) -> Boxed<Verdict> + Send + Sync>;
type ActionFunction = Arc<dyn Fn(ActionCall) -> Boxed<Value> + Send + Sync>;

/// The functions of a process.
#[derive(Default)]
pub(super) struct Functions {
    guards: HashMap<String, GuardFunction>,
    actions: HashMap<String, ActionFunction>,
    authorize: Option<GuardFunction>,
    pub(super) allow_exec: bool,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions")
            .field("guards", &self.guards.keys())
            .field("actions", &self.actions.keys())
            .field("allow_exec", &self.allow_exec)
            .finish_non_exhaustive()
    }
}

impl Registered for Functions {
    fn has_guard(&self, name: &str) -> bool {
        self.guards.contains_key(name)
    }

    fn has_action(&self, name: &str) -> bool {
        self.actions.contains_key(name)
    }

    fn may_exec(&self) -> bool {
        self.allow_exec
    }
}

impl Functions {
    pub(super) fn add_guard<F, O, V, E>(&mut self, name: &str, guard: F)
    where
        F: Fn(GuardCall) -> O + Send + Sync + 'static,
        O: Future<Output = Result<V, E>> + Send + 'static,
        V: Into<Verdict>,
        E: Display,
    {
        self.guards.insert(name.to_owned(), guard_function(guard));
    }

    pub(super) fn set_authorize<F, O, V, E>(&mut self, rule: F)
    where
        F: Fn(GuardCall) -> O + Send + Sync + 'static,
        O: Future<Output = Result<V, E>> + Send + 'static,
        V: Into<Verdict>,
        E: Display,
    {
        self.authorize = Some(guard_function(rule));
    }

    pub(super) fn add_action<F, O, E>(&mut self, name: &str, action: F)
    where
        F: Fn(ActionCall) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Value, E>> + Send + 'static,
        E: Display,
    {
        let action: ActionFunction = Arc::new(move |call| {
            let future = action(call);
            Box::pin(async move { future.await.map_err(|e| e.to_string()) })
        });
        self.actions.insert(name.to_owned(), action);
    }

    pub(super) fn guard(&self, name: &str) -> Option<GuardFunction> {
        self.guards.get(name).cloned()
    }

    pub(super) fn action(&self, name: &str) -> Option<ActionFunction> {
        self.actions.get(name).cloned()
    }

    pub(super) fn authorize(&self) -> Option<GuardFunction> {
        self.authorize.clone()
    }
}

fn guard_function<F, O, V, E>(guard: F) -> GuardFunction
where
    F: Fn(GuardCall) -> O + Send + Sync + 'static,
    O: Future<Output = Result<V, E>> + Send + 'static,
    V: Into<Verdict>,
    E: Display,
{
    Arc::new(move |call| {
        let future = guard(call);
        Box::pin(async move { future.await.map(Into::into).map_err(|e| e.to_string()) })
    })
}

/// Runs a function in a task of its own. What it is called with is made there, too, so that a panic
/// before its first pause is caught as well.
pub(super) async fn run<C, T>(
    clock: &dyn Clock,
    limit: Duration,
    function: Arc<dyn Fn(C) -> Boxed<T> + Send + Sync>,
    call: C,
) -> Result<T, String>
where
    C: Send + 'static,
    T: Send + 'static,
{
    let mut task = tokio::spawn(async move { function(call).await });
    // Whoever stops waiting, because it is dropped itself, stops the function, too.
    let _stopped_with_us = AbortOnDrop(task.abort_handle());
    let ended = match select(&mut task, clock.sleep(limit)).await {
        Either::Left((ended, _)) => Some(ended),
        Either::Right(_) => None,
    };
    match ended {
        Some(Ok(result)) => result,
        Some(Err(ended)) => Err(told_panic(ended)),
        None => {
            // A function that never pauses cannot be stopped, but nobody waits for it any more.
            Err(took_too_long(limit))
        }
    }
}

/// Stops a task when it is dropped; one that has ended is none.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for something that can be dropped.
pub(super) async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match select(std::pin::pin!(work), clock.sleep(limit)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(took_too_long(limit)),
    }
}

fn took_too_long(limit: Duration) -> String {
    format!("it did not end within {limit:?}")
}

fn told_panic(ended: tokio::task::JoinError) -> String {
    if !ended.is_panic() {
        return "it was stopped".into();
    }
    let panic = ended.into_panic();
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "it panicked".into(), |text| format!("it panicked: {text}"))
}
