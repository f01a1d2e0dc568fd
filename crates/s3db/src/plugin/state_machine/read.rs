//! Looking at an entity.

use serde::Serialize;
use serde_json::{Map, Value};

use super::engine::{Judge, Situation, Trigger};
use super::entity::{ActionResult, Entity};
use super::ids::Names;
use super::judge::LiveJudge;
use super::{Core, StateMachinePlugin};
use crate::error::{ErrorKind, Result};

/// An entity as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntityView {
    /// The machine.
    pub machine: String,
    /// The entity.
    pub entity: String,
    /// Its state.
    pub state: String,
    /// Transitions so far.
    pub version: u64,
    /// Its context.
    pub context: Map<String, Value>,
    /// Whether its state is final.
    pub done: bool,
    /// When it came into its state, RFC 3339.
    pub updated_at: String,
    /// The hash of the definition that it runs on; `None` for a row of s3db.js.
    pub definition: Option<String>,
    /// The id of its last log row.
    pub last_transition: Option<String>,
    /// Timers that run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<RunningTimer>,
    /// Actions that are not done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingActions>,
    /// Entry actions that failed when the entity began; those of later transitions are in the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<ActionResult>,
}

/// A timer that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningTimer {
    /// As it was written: `30m`.
    pub after: String,
    /// When it runs out, RFC 3339.
    pub due_at: String,
}

/// Actions of a transition that are not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingActions {
    /// The version of the transition.
    pub version: u64,
    /// The actions that are left.
    pub actions: Vec<String>,
    /// Until when nobody else takes them over, RFC 3339.
    pub until: String,
}

impl EntityView {
    pub(super) fn of(entity: &Entity) -> Self {
        let instant = s3db_format::date::rfc3339;
        let timers = entity.deadlines.iter();
        let groups = entity.outbox.groups.iter();
        Self {
            machine: entity.machine.clone(),
            entity: entity.entity.clone(),
            state: entity.state.clone(),
            version: entity.version.unwrap_or_default(),
            context: entity.context.clone(),
            done: entity.done,
            updated_at: entity.updated_at.clone(),
            definition: entity.definition.clone(),
            last_transition: entity.last_transition.clone(),
            timers: timers.map(|d| RunningTimer { after: d.after.clone(), due_at: instant(d.at_ms) }).collect(),
            pending: groups
                .map(|group| PendingActions {
                    version: group.version,
                    actions: group.actions.iter().skip(group.results.len()).cloned().collect(),
                    until: instant(group.until_ms),
                })
                .collect(),
            failed: entity.outbox.failed.clone(),
        }
    }
}

impl StateMachinePlugin {
    /// The state of an entity. Costs one request, a strong read.
    ///
    /// # Errors
    /// `NotFound`, unless the plugin is lenient: then the initial state is returned.
    pub async fn get_state(&self, machine: &str, entity: &str) -> Result<String> {
        Ok(self.get_entity(machine, entity).await?.state)
    }

    /// An entity. Costs one request, a strong read.
    ///
    /// # Errors
    /// As [`StateMachinePlugin::get_state`].
    pub async fn get_entity(&self, machine: &str, entity: &str) -> Result<EntityView> {
        let names = Names::new(machine, entity)?;
        match self.core.load(&names).await? {
            Some(seen) => self.core.view(&seen.entity).await,
            None if self.core.options.lenient => self.core.would_be(&names).await,
            None => Err(self.core.no_entity(&names).await),
        }
    }

    /// The events that an entity accepts in its state, in order; `*` where it takes any. Guards are not asked.
    ///
    /// # Errors
    /// As [`StateMachinePlugin::get_state`].
    pub async fn get_valid_events(&self, machine: &str, entity: &str) -> Result<Vec<String>> {
        let view = self.get_entity(machine, entity).await?;
        let definition = self.core.definition_of(&view).await?;
        Ok(definition.state(&view.state).map(|state| definition.events(state)).unwrap_or_default())
    }

    /// As [`StateMachinePlugin::get_valid_events`], only those that the guards and `authorize` let pass with
    /// this payload and sender.
    ///
    /// # Errors
    /// As [`StateMachinePlugin::get_state`]; `Unsupported` if this process could not send at all.
    pub async fn get_passing_events(
        &self,
        machine: &str,
        entity: &str,
        payload: Value,
        actor: Option<&str>,
    ) -> Result<Vec<String>> {
        let payload = super::send::context_of(payload, "payload")?;
        let view = self.get_entity(machine, entity).await?;
        let definition = self.core.definition_of(&view).await?;
        self.core.check_runnable(&definition)?;
        let Some(state) = definition.state(&view.state) else { return Ok(Vec::new()) };
        let judge: &dyn Judge = &LiveJudge(&self.core);
        let mut events = Vec::new();
        for event in definition.events(state) {
            let situation = Situation {
                machine: &definition,
                entity,
                state,
                version: view.version,
                context: &view.context,
                trigger: Trigger::Event(&event),
                payload: &payload,
                actor,
                reason: None,
                now_ms: self.core.now_ms(),
            };
            match situation.decide(judge).await {
                Ok(_) => events.push(event),
                // One whose guard fails, or whose assignments cannot be computed, would be refused, too.
                Err(error) if is_refused(error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }

    /// The events that a state of a machine's current definition accepts, in order.
    ///
    /// # Errors
    /// `NotFound` for the machine or the state.
    pub async fn events_for_state(&self, machine: &str, state: &str) -> Result<Vec<String>> {
        let machine = self.core.current(machine).await?;
        let number = machine.state(state).ok_or_else(|| super::entities::unknown_state(&machine, state))?;
        Ok(machine.events(number))
    }
}

fn is_refused(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::GuardRejected | ErrorKind::GuardError | ErrorKind::Invalid)
}

impl Core {
    /// What callers get of an entity. A row of s3db.js does not say whether its state is final.
    pub(super) async fn view(&self, entity: &Entity) -> Result<EntityView> {
        let mut view = EntityView::of(entity);
        if entity.version.is_some() {
            return Ok(view);
        }
        match self.current(&entity.machine).await {
            Ok(machine) => {
                view.done = machine.state(&entity.state).is_some_and(|state| machine.is_final(state));
                Ok(view)
            }
            // Nobody has defined its machine here yet.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(view),
            Err(error) => Err(error),
        }
    }

    async fn definition_of(&self, view: &EntityView) -> Result<std::sync::Arc<super::machine::Machine>> {
        match &view.definition {
            Some(hash) => self.machine(&view.machine, hash).await,
            None => self.current(&view.machine).await,
        }
    }

    /// The entity that the first event would make.
    async fn would_be(&self, names: &Names) -> Result<EntityView> {
        let machine = self.current(&names.machine).await?;
        let entity = Entity {
            machine: names.machine.clone(),
            entity: names.entity.clone(),
            state: machine.state_name(machine.initial()).to_owned(),
            done: machine.is_final(machine.initial()),
            definition: Some(machine.hash.clone()),
            ..Entity::default()
        };
        Ok(EntityView::of(&entity))
    }
}
