//! What an event does to an entity: a function of the definition, the state, the context and the event.
//!
//! Nothing here reads or writes a store. `send`, timers, `simulate` and `verify` all decide by this; what
//! they differ in is the judge that guards are put to, and what they do with the decision.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::action::ActionKind;
use super::definition::TIMER_PREFIX;
use super::facts::Facts;
use super::machine::{Candidate, Check, Effect, Machine, Timer};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a context, as JSON, at most.
pub(super) const CONTEXT_BYTES: usize = 1024 * 1024;

/// What comes to an entity.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trigger<'a> {
    /// An event that was sent.
    Event(&'a str),
    /// A timer of the state that has run out, as it was written: `30m`.
    Timer(&'a str),
}

/// An entity, and what comes to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'a> {
    pub(super) machine: &'a Machine,
    pub(super) entity: &'a str,
    pub(super) state: usize,
    pub(super) version: u64,
    pub(super) context: &'a Map<String, Value>,
    pub(super) trigger: Trigger<'a>,
    pub(super) payload: &'a Map<String, Value>,
    pub(super) actor: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) now_ms: i64,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) to: usize,
    pub(super) event: String,
    pub(super) context: Map<String, Value>,
    /// Actions to run after the write, in order.
    pub(super) effects: Vec<Arc<Effect>>,
    /// The timers that begin, as they were written, and when they run out.
    pub(super) deadlines: Vec<(String, i64)>,
    pub(super) done: bool,
    /// Since when the entity is in its state, where that is not now.
    pub(super) since: Option<String>,
}

/// Why a guard does not let an event pass.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It said no.
    Rejected(String),
    /// It could not say.
    Failed(String),
}

/// Answers guards.
#[async_trait]
pub(super) trait Judge: Send + Sync {
    async fn ask(&self, check: &Check, facts: &Facts) -> std::result::Result<(), Refusal>;
    /// Whether the sender may send at all, by the rule of the process.
    async fn may_send(&self, facts: &Facts) -> std::result::Result<(), Refusal>;
}

impl Situation<'_> {
    fn event(&self) -> String {
        match self.trigger {
            Trigger::Event(event) => event.to_owned(),
            Trigger::Timer(after) => format!("{TIMER_PREFIX}{after}"),
        }
    }

    fn what(&self) -> String {
        format!("{}/{}", self.machine.name(), self.entity)
    }

    fn facts(&self, context: Map<String, Value>) -> Facts {
        Facts {
            machine: self.machine.name().to_owned(),
            entity: self.entity.to_owned(),
            state: self.machine.state_name(self.state).to_owned(),
            target: None,
            version: self.version,
            event: self.event(),
            context: Arc::new(context),
            payload: Arc::new(self.payload.clone()),
            actor: self.actor.map(str::to_owned),
            reason: self.reason.map(str::to_owned),
            token: None,
            now_ms: self.now_ms,
        }
    }

    /// Decides: is the event accepted, may the sender send it, which guards pass, what is the context then.
    ///
    /// # Errors
    /// `FinalState`, `InvalidEvent`, `GuardRejected`, `GuardError`; `Invalid` for a context that is too
    /// large, or an assignment that cannot be computed.
    pub(super) async fn decide(&self, judge: &dyn Judge) -> Result<Decision> {
        let candidates = self.candidates()?;
        let mut context = self.context.clone();
        for (name, value) in self.payload {
            context.insert(name.clone(), value.clone());
        }
        let facts = self.facts(context);
        if let Trigger::Event(event) = self.trigger {
            let by_process = judge.may_send(&facts).await;
            by_process.map_err(|refusal| self.refused("authorize", None, refusal))?;
            if let Some(rule) = self.machine.authorize(event) {
                let allowed = judge.ask(rule, &facts).await;
                allowed.map_err(|refusal| self.refused("authorize", Some(&rule.name), refusal))?;
            }
        }
        let mut rejected: Option<Error> = None;
        for candidate in candidates {
            match self.passes(candidate, judge, &facts).await {
                Ok(()) => return apply(self.machine, self.what(), Some(self.state), candidate, facts),
                // A guard that fails closes the door: a later candidate is none that the author meant.
                Err(error) if error.kind() == ErrorKind::GuardError => return Err(error),
                Err(error) => rejected = Some(rejected.unwrap_or(error)),
            }
        }
        Err(rejected.unwrap_or_else(|| Error::new(ErrorKind::Internal, "an event without a target was compiled")))
    }

    fn candidates(&self) -> Result<&[Candidate]> {
        let found = match self.trigger {
            Trigger::Event(_) if self.machine.is_final(self.state) => return Err(self.is_final()),
            Trigger::Event(event) => self.machine.candidates(self.state, event),
            Trigger::Timer(after) => self.machine.timer(self.state, after).map(|t| t.candidates.as_slice()),
        };
        found.ok_or_else(|| self.invalid_event())
    }

    async fn passes(&self, candidate: &Candidate, judge: &dyn Judge, facts: &Facts) -> Result<()> {
        for check in &candidate.checks {
            let asked = judge.ask(check, facts).await;
            asked.map_err(|refusal| self.refused(&check.name, None, refusal))?;
        }
        Ok(())
    }

    fn is_final(&self) -> Error {
        let state = self.machine.state_name(self.state);
        Error::new(
            ErrorKind::FinalState,
            format!("{} is in the final state '{state}', which accepts no event", self.what()),
        )
        .guide("nothing was changed; begin with another entity")
        .detail(json!({ "state": state, "validEvents": [] }))
    }

    fn invalid_event(&self) -> Error {
        let state = self.machine.state_name(self.state);
        let events = self.machine.events(self.state);
        let event = self.event();
        let near = s3db_format::error::did_you_mean(&event, events.iter().map(String::as_str));
        let hint = near.unwrap_or_else(|| match events.as_slice() {
            [] => "this state accepts no event; its timers lead on".into(),
            events => format!("events of this state: {}", events.join(", ")),
        });
        Error::new(
            ErrorKind::InvalidEvent,
            format!("{} is in state '{state}', which does not accept '{event}'", self.what()),
        )
        .guide(hint)
        .detail(json!({ "state": state, "validEvents": events }))
    }

    fn refused(&self, guard: &str, rule: Option<&str>, refusal: Refusal) -> Error {
        let (kind, verb, reason, hint) = match refusal {
            Refusal::Rejected(reason) => (ErrorKind::GuardRejected, "refused", reason, "nothing was changed"),
            Refusal::Failed(reason) => (
                ErrorKind::GuardError,
                "failed on",
                reason,
                "nothing was changed; a guard that fails lets nothing pass",
            ),
        };
        let rule = rule.filter(|rule| *rule != guard).map(|rule| format!(" ({rule})")).unwrap_or_default();
        let event = self.event();
        Error::new(kind, format!("guard '{guard}'{rule} {verb} '{event}' for {}: {reason}", self.what()))
            .guide(hint)
            .detail(json!({ "guard": guard, "reason": reason, "state": self.machine.state_name(self.state) }))
    }
}

/// The beginning of an entity: its initial state, with the actions of its entry.
pub(super) fn begin(machine: &Machine, entity: &str, context: Map<String, Value>, now_ms: i64) -> Result<Decision> {
    let initial = machine.initial();
    let empty = Map::new();
    let situation = Situation {
        machine,
        entity,
        state: initial,
        version: 0,
        context: &empty,
        trigger: Trigger::Event("initialize"),
        payload: &empty,
        actor: None,
        reason: None,
        now_ms,
    };
    let facts = situation.facts(context);
    let candidate = Candidate { target: initial, checks: Vec::new(), actions: Vec::new() };
    apply(machine, situation.what(), None, &candidate, facts)
}

/// Takes a candidate: exit, transition, entry. Assignments are made, other actions are collected.
fn apply(
    machine: &Machine,
    what: String,
    from: Option<usize>,
    candidate: &Candidate,
    mut facts: Facts,
) -> Result<Decision> {
    let to = candidate.target;
    facts.target = Some(machine.state_name(to).to_owned());
    let exit = from.and_then(|from| machine.states.get(from)).map(|s| s.exit.as_slice()).unwrap_or_default();
    let state = machine.states.get(to);
    let entry = state.map(|s| s.entry.as_slice()).unwrap_or_default();
    let mut effects = Vec::new();
    for effect in exit.iter().chain(&candidate.actions).chain(entry) {
        let ActionKind::Assign(set) = &effect.kind else {
            effects.push(Arc::clone(effect));
            continue;
        };
        let rendered = set.render(&facts.variables());
        let Value::Object(members) = rendered.map_err(|why| not_computed(&what, &effect.name, &why))? else { continue };
        Arc::make_mut(&mut facts.context).extend(members);
    }
    check_context(&what, &facts.context)?;
    Ok(Decision {
        to,
        event: facts.event,
        deadlines: deadlines(machine, to, facts.now_ms),
        context: Arc::unwrap_or_clone(facts.context),
        effects,
        done: machine.is_final(to),
        since: None,
    })
}

/// The timers that begin in a state, as instants.
pub(super) fn deadlines(machine: &Machine, state: usize, now_ms: i64) -> Vec<(String, i64)> {
    let timers = machine.states.get(state).map(|s| s.timers.as_slice()).unwrap_or_default();
    let at_ms = |timer: &Timer| now_ms.saturating_add(i64::try_from(timer.delay.as_millis()).unwrap_or(i64::MAX));
    timers.iter().map(|timer| (timer.after.clone(), at_ms(timer))).collect()
}

fn not_computed(what: &str, action: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("action '{action}' cannot be computed for {what}: {why}"))
        .guide("nothing was changed; the expression needs what the context or the payload does not have")
}

/// Refuses a context that is too large.
pub(super) fn check_context(what: &str, context: &Map<String, Value>) -> Result<()> {
    let size = serde_json::to_vec(context).map_or(0, |bytes| bytes.len());
    if size <= CONTEXT_BYTES {
        return Ok(());
    }
    let message = format!("the context of {what} would have {size} bytes, at most {CONTEXT_BYTES} are allowed");
    let field =
        json!([{ "field": "context", "rule": "size", "expected": CONTEXT_BYTES, "actual": size, "message": message }]);
    Err(Error::new(ErrorKind::Invalid, message)
        .guide("keep large data in records or content, and their ids in the context; nothing was changed")
        .detail(json!({ "fields": field })))
}
