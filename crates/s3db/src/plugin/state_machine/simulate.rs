//! `simulate`: what events would do, by the same decisions as live, without writing anything.

use serde::Serialize;
use serde_json::{Map, Value};

use super::engine::{self, Situation, Trigger};
use super::judge::LiveJudge;
use super::{Core, SendOptions, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};

/// What events would do to a new entity.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// The machine.
    pub machine: String,
    /// The state before the first event.
    pub initial: String,
    /// What each event would do; ends with the first that is refused.
    pub steps: Vec<SimulationStep>,
    /// The state after the last.
    pub state: String,
    /// The context after the last.
    pub context: Map<String, Value>,
    /// Whether that state is final.
    pub done: bool,
}

/// What one event would do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimulationStep {
    /// The event.
    pub event: String,
    /// The state before.
    pub from: String,
    /// The state after; `None` if it is refused.
    pub to: Option<String>,
    /// The actions that would run after the write.
    pub actions: Vec<String>,
    /// Why it is refused: the error of a live send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    #[serde(skip)]
    refused: Option<Error>,
}

impl SimulationStep {
    /// Why it is refused: the error that a live send would return.
    pub fn refusal(&self) -> Option<&Error> {
        self.refused.as_ref()
    }
}

impl StateMachinePlugin {
    /// What events would do to a new entity with this context. Guards are asked as live, so those that look
    /// records up read them; assignments are made; other actions do not run, and nothing is written. An event
    /// is a name, or a name with a payload; `after:30m` is a timer that runs out.
    ///
    /// # Errors
    /// `NotFound` for the machine; `Unsupported` if this process has not registered its functions. An event
    /// that is refused ends the simulation and is in it.
    pub async fn simulate(
        &self,
        machine: &str,
        context: Value,
        events: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Simulation> {
        self.simulate_with(machine, context, events, &SendOptions::default()).await
    }

    /// As [`StateMachinePlugin::simulate`], with who sends and why; other options are left aside.
    ///
    /// # Errors
    /// As [`StateMachinePlugin::simulate`].
    pub async fn simulate_with(
        &self,
        machine: &str,
        context: Value,
        events: impl IntoIterator<Item = (String, Value)>,
        options: &SendOptions,
    ) -> Result<Simulation> {
        let events: Vec<(String, Value)> = events.into_iter().collect();
        self.core.simulate(machine, context, events, options).await
    }
}

impl Core {
    async fn simulate(
        &self,
        machine: &str,
        context: Value,
        events: Vec<(String, Value)>,
        options: &SendOptions,
    ) -> Result<Simulation> {
        let machine = self.current(machine).await?;
        self.check_runnable(&machine)?;
        let now_ms = self.now_ms();
        let begun = engine::begin(&machine, "simulation", super::send::context_of(context, "context")?, now_ms)?;
        let (mut state, mut context) = (begun.to, begun.context);
        let initial = machine.state_name(state).to_owned();
        let mut steps: Vec<SimulationStep> = Vec::new();
        for (event, payload) in events {
            let payload = super::send::context_of(payload, "payload")?;
            let timer = event.strip_prefix(super::definition::TIMER_PREFIX);
            let situation = Situation {
                machine: &machine,
                entity: "simulation",
                state,
                version: u64::try_from(steps.len()).unwrap_or_default(),
                context: &context,
                trigger: timer.map_or(Trigger::Event(&event), Trigger::Timer),
                payload: &payload,
                actor: options.actor.as_deref(),
                reason: options.reason.as_deref(),
                now_ms,
            };
            let from = machine.state_name(state).to_owned();
            match situation.decide(&LiveJudge(self)).await {
                Ok(decision) => {
                    let to = Some(machine.state_name(decision.to).to_owned());
                    let actions = decision.effects.iter().map(|effect| effect.name.clone()).collect();
                    steps.push(SimulationStep { event, from, to, actions, error: None, refused: None });
                    (state, context) = (decision.to, decision.context);
                }
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => {
                    let told = error.to_json().get("error").cloned();
                    let (to, actions) = (None, Vec::new());
                    steps.push(SimulationStep { event, from, to, actions, error: told, refused: Some(error) });
                    break;
                }
            }
        }
        let (name, done) = (machine.name().to_owned(), machine.is_final(state));
        let state = machine.state_name(state).to_owned();
        Ok(Simulation { machine: name, initial, steps, state, context, done })
    }
}
