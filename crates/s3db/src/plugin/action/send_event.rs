//! `send_event`: an event for another entity, or for all entities in a state.
//!
//! Each event carries a key made from the action's token, so that one that is sent again changes nothing.

use serde_json::{Map, Value};

use super::{Fields, Situation, Template, id_from, object_of, text_of};
use crate::error::ErrorKind;
use crate::plugin::state_machine::{SendOptions, StateMachinePlugin};

/// An event to be sent.
#[derive(Debug)]
pub(crate) struct SendEvent {
    machine: Template,
    to: To,
    event: Template,
    payload: Option<Template>,
}

#[derive(Debug)]
enum To {
    Entity(Template),
    AllIn(Template),
}

impl SendEvent {
    pub(crate) fn compile(fields: &mut Fields<'_>) -> Option<Self> {
        let machine = fields.only(&["machine", "entity", "state", "event", "payload"]).text("machine");
        let event = fields.text("event");
        let to = match (fields.get("entity").is_some(), fields.get("state").is_some()) {
            (true, false) => fields.text("entity").map(To::Entity),
            (false, true) => fields.text("state").map(To::AllIn),
            _ => {
                fields.problem("entity", "needs either 'entity' or 'state', whose entities all get the event");
                None
            }
        };
        let payload = fields.get("payload").is_some().then(|| fields.object("payload")).flatten();
        Some(Self { machine: machine?, to: to?, event: event?, payload })
    }

    pub(crate) async fn run(&self, machines: &StateMachinePlugin, situation: &Situation) -> Result<usize, String> {
        let told = |e: crate::Error| e.to_string();
        let variables = &situation.variables;
        let machine = text_of(self.machine.render(variables)?, "'machine'")?;
        let event = text_of(self.event.render(variables)?, "'event'")?;
        let payload = match &self.payload {
            Some(payload) => object_of(payload.render(variables)?, "'payload'")?,
            None => Map::new(),
        };
        let entities = match &self.to {
            To::Entity(entity) => vec![text_of(entity.render(variables)?, "'entity'")?],
            To::AllIn(state) => {
                let state = text_of(state.render(variables)?, "'state'")?;
                let found = machines.entities_in(&machine, &state, None).await.map_err(told)?;
                found.into_iter().map(|summary| summary.entity).collect()
            }
        };
        let all = matches!(self.to, To::AllIn(_));
        let mut failures = Vec::new();
        let mut sent_to = 0;
        for entity in entities {
            let options = SendOptions {
                idempotency_key: Some(id_from(&situation.token)),
                actor: Some(situation.actor.clone()),
                ..SendOptions::default()
            };
            // The other machine may lead back here: the future needs a size.
            let sent =
                Box::pin(machines.send_with(&machine, &entity, &event, Value::Object(payload.clone()), &options));
            match sent.await {
                Ok(_) => sent_to += 1,
                // Of many, those that have moved on meanwhile are not meant any more.
                Err(e) if all && matches!(e.kind(), ErrorKind::InvalidEvent | ErrorKind::FinalState) => {}
                Err(e) => failures.push(format!("{event} to {machine}/{entity}: {e}")),
            }
        }
        // Every entity got its event before a failure of one is told.
        if let Some(first) = failures.first() {
            return Err(format!("{} of the sends failed: {first}", failures.len()));
        }
        Ok(sent_to)
    }
}
