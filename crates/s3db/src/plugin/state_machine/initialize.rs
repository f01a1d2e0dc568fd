//! `initialize_entity`: an entity begins.
//!
//! Requests: PUT of the due keys of its timers and entry actions; PUT of the row, `If-None-Match`, with its
//! index key before. A crash leaves keys that nothing confirms, or an entity that stands.

use std::sync::Arc;

use serde_json::Value;

use super::engine;
use super::ids::Names;
use super::read::EntityView;
use super::send::context_of;
use super::{Core, StateMachineEvent, StateMachinePlugin};
use crate::error::Result;

impl StateMachinePlugin {
    /// Makes an entity in the initial state of a machine's current definition, and runs the actions of its
    /// entry. Costs 1 request, 1 more where states are tracked, and those of actions and timers.
    ///
    /// # Errors
    /// `NotFound` for the machine; `AlreadyExists`, and nothing is changed; `Invalid` for a context that is
    /// no object or too large; `Unsupported` if this process has not registered the machine's functions.
    pub async fn initialize_entity(&self, machine: &str, entity: &str, context: Value) -> Result<EntityView> {
        let names = Names::new(machine, entity)?;
        Box::pin(self.core.initialize(&names, context)).await
    }
}

impl Core {
    pub(super) async fn initialize(&self, names: &Names, context: Value) -> Result<EntityView> {
        let context = context_of(context, "context")?;
        let machine = self.current(&names.machine).await?;
        self.check_runnable(&machine)?;
        let now_ms = self.now_ms();
        let decision = engine::begin(&machine, &names.entity, context, now_ms)?;
        let (entity, group) = Box::pin(self.create(names, &Arc::clone(&machine), decision, now_ms)).await?;
        self.tell(&format!("{} begins in '{}'", names.what(), entity.state));
        self.events.emit(|| StateMachineEvent::EntityInitialized {
            machine_id: names.machine.clone(),
            entity_id: names.entity.clone(),
            state: entity.state.clone(),
            context: entity.context.clone(),
        });
        if entity.done {
            self.tell_done(names, &entity.state);
        }
        let Some(group) = group.filter(|group| group.runner.is_some()) else { return Ok(EntityView::of(&entity)) };
        if let Err(error) = Box::pin(self.run_actions(names, &machine, group)).await {
            // The entity stands; the sweep finishes what this process could not.
            tracing::warn!(target: "s3db::state_machine", %error, "entry actions of {} are left to the sweep", names.what());
        }
        // Results of the actions may be in the context now.
        Ok(EntityView::of(&self.load_known(names).await?.entity))
    }

    pub(super) fn tell_done(&self, names: &Names, state: &str) {
        self.events.emit(|| StateMachineEvent::Done {
            machine_id: names.machine.clone(),
            entity_id: names.entity.clone(),
            state: state.to_owned(),
        });
    }
}
