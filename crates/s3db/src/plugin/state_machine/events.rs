//! What a process's machines tell.

use serde::Serialize;
use serde_json::{Map, Value};

/// An event of this process's machines.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum StateMachineEvent {
    /// The plugin is set up.
    Initialized {
        /// The machines that were given to it.
        machines: Vec<String>,
    },
    /// An entity was made.
    EntityInitialized {
        /// The machine.
        machine_id: String,
        /// The entity.
        entity_id: String,
        /// Its initial state.
        state: String,
        /// Its context.
        context: Map<String, Value>,
    },
    /// A transition stands.
    Transition {
        /// The machine.
        machine_id: String,
        /// The entity.
        entity_id: String,
        /// The state before.
        from: String,
        /// The state after.
        to: String,
        /// The event.
        event: String,
        /// The context after.
        context: Map<String, Value>,
        /// The entity's version after.
        version: u64,
        /// The transition's id.
        transition_id: String,
    },
    /// An attempt of an action failed.
    ActionError {
        /// The action.
        action_name: String,
        /// Why.
        error: String,
        /// The machine.
        machine_id: String,
        /// The entity.
        entity_id: String,
        /// The version of the transition.
        version: u64,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// An entity came into a final state.
    Done {
        /// The machine.
        machine_id: String,
        /// The entity.
        entity_id: String,
        /// The state.
        state: String,
    },
    /// A timer ran out, and its transition stands.
    TimerFired {
        /// The machine.
        machine_id: String,
        /// The entity.
        entity_id: String,
        /// The state whose timer it was.
        state: String,
        /// When it was due, RFC 3339.
        due_at: String,
    },
}
