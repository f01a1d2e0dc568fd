//! `send`: an event for an entity.
//!
//! Of any number of senders on one version one wins. The others read again, ask the guards again about what
//! is there now, and go on or are told the truth. What is answered on a row that this process only remembers
//! is confirmed by a read before it is told.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::commit::{Committed, Move};
use super::engine::{Situation, Trigger};
use super::entity::{Entity, KeyedSend};
use super::ids::Names;
use super::judge::LiveJudge;
use super::load::ATTEMPTS;
use super::log::Log;
use super::warm::{Seen, kept};
use super::{Core, StateMachineEvent, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of an idempotency key at most.
const KEY_BYTES: usize = 256;
/// Bytes of the name of who sends, and of why, at most.
const NOTE_BYTES: usize = 1024;

/// How an event is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// A send with a key that this entity has seen, among the last 64, returns the first answer again. The
    /// same key with another event or payload is `Invalid`.
    pub idempotency_key: Option<String>,
    /// Who sends; guards and the log see it.
    pub actor: Option<String>,
    /// Why; guards and the log see it.
    pub reason: Option<String>,
    /// Only if the entity is at this version, else `Conflict` `{expected, found}`.
    pub expected_version: Option<u64>,
}

/// What became of the actions of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionsState {
    /// It has none.
    None,
    /// All were done.
    Done,
    /// At least one failed; the transition stands, and the log row says why.
    Failed,
    /// They wait for older ones that another process runs, or were left to the sweep.
    Pending,
}

impl ActionsState {
    /// Of actions that were all run.
    pub(super) fn of(results: &[super::ActionResult]) -> Self {
        if results.iter().all(|result| result.ok) { Self::Done } else { Self::Failed }
    }
}

/// A transition that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// The event.
    pub event: String,
    /// When, RFC 3339.
    pub timestamp: String,
    /// The entity's version after.
    pub version: u64,
    /// The transition's id.
    pub transition_id: String,
    /// Whether this is the answer to an earlier send with the same key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// What became of its actions.
    pub actions: ActionsState,
}

/// What is to be done to an entity.
pub(super) struct Order<'a> {
    pub(super) trigger: Trigger<'a>,
    pub(super) payload: &'a Map<String, Value>,
    pub(super) options: &'a SendOptions,
    /// The version whose timer it is, and when that was due.
    pub(super) timer_of: Option<(u64, i64)>,
}

impl StateMachinePlugin {
    /// Sends an event. The payload's members replace those of the context, in the same write.
    ///
    /// Returns when the transition stands and its actions, if there are any, were run. Costs 2 requests to an
    /// entity that this process knows, 4 to another; 2 more where states are tracked, 3 with actions, 2 with
    /// a timer. A refusal costs 1.
    ///
    /// # Errors
    /// `NotFound`; `InvalidEvent` `{state, validEvents}`; `GuardRejected` and `GuardError`
    /// `{guard, reason, state}`; `FinalState`; `Conflict` with [`SendOptions::expected_version`] or after 64
    /// lost races; `Invalid` for a payload that is no object; `Unsupported` if this process has not registered
    /// the machine's functions; `Unavailable`, with `applied: unknown` if the answer was lost and cannot be
    /// found out: with an idempotency key it can be sent again.
    pub async fn send(&self, machine: &str, entity: &str, event: &str, payload: Value) -> Result<Sent> {
        self.send_with(machine, entity, event, payload, &SendOptions::default()).await
    }

    /// As [`StateMachinePlugin::send`], with options.
    ///
    /// # Errors
    /// As [`StateMachinePlugin::send`].
    pub async fn send_with(
        &self,
        machine: &str,
        entity: &str,
        event: &str,
        payload: Value,
        options: &SendOptions,
    ) -> Result<Sent> {
        let names = Names::new(machine, entity)?;
        check_options(event, options)?;
        let payload = context_of(payload, "payload")?;
        let order = Order { trigger: Trigger::Event(event), payload: &payload, options, timer_of: None };
        // Boxed, as the larger parts below: what a caller awaits stays small.
        let sent = Box::pin(self.core.transition(&names, &order)).await;
        self.core.metrics.sent(machine, event, &sent);
        sent.map_err(|error| if options.idempotency_key.is_some() { error.retryable_by_key() } else { error })
    }
}

impl Core {
    pub(super) async fn transition(&self, names: &Names, order: &Order<'_>) -> Result<Sent> {
        let slot = self.warm.slot(names);
        let mut told: Option<(String, Error)> = None;
        for attempt in 0..ATTEMPTS {
            let mut place = slot.lock().await;
            let known = place.take();
            let was_known = known.is_some();
            let seen = match known {
                Some(seen) => seen,
                None => match self.load(names).await? {
                    Some(seen) => seen,
                    None if self.options.lenient && order.timer_of.is_none() => {
                        drop(place);
                        self.make_leniently(names).await?;
                        continue;
                    }
                    None => return Err(self.no_entity(names).await),
                },
            };
            if let Some((rev, error)) = told.take()
                && rev == seen.snapshot.rev()
            {
                *place = Some(seen);
                return Err(error);
            }
            match self.attempt(names, &seen, order).await {
                Ok(Attempt::Committed(committed)) => {
                    *place = kept(committed.seen.clone());
                    drop(place);
                    return Box::pin(self.finish(names, *committed, order)).await;
                }
                // The entity may have been deleted and begun anew since.
                Ok(Attempt::Duplicate(_)) if was_known => {}
                Ok(Attempt::Duplicate(sent)) => {
                    *place = Some(seen);
                    return Ok(sent);
                }
                Ok(Attempt::Lost) => {
                    drop(place);
                    self.db()?.inner.back_off(attempt.min(4)).await;
                }
                Ok(Attempt::FirstFinish) => {
                    drop(place);
                    self.take_over(names).await?;
                }
                Err(error) if was_known && is_refusal(&error) => told = Some((seen.snapshot.rev().to_owned(), error)),
                Err(error) => {
                    if is_refusal(&error) {
                        *place = Some(seen);
                    }
                    return Err(error);
                }
            }
        }
        Err(self.too_often(names))
    }

    async fn make_leniently(&self, names: &Names) -> Result<()> {
        match self.initialize(names, Value::Object(Map::new())).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn attempt(&self, names: &Names, seen: &Seen, order: &Order<'_>) -> Result<Attempt> {
        let entity = &seen.entity;
        let machine = self.machine_of(entity).await?;
        self.check_runnable(&machine)?;
        let payload_hash = order.options.idempotency_key.is_some().then(|| payload_hash(order.payload));
        if let Some(known) = known_send(names, entity, order, payload_hash.as_deref())? {
            return Ok(Attempt::Duplicate(self.first_answer(names, seen, known).await?));
        }
        let version = entity.version.unwrap_or_default();
        if let Some(expected) = order.options.expected_version.filter(|expected| *expected != version) {
            return Err(version_conflict(names, expected, version));
        }
        let now_ms = self.now_ms();
        if let Trigger::Timer(after) = order.trigger
            && !(order.timer_of.is_some_and(|(of, _)| of == version)
                && entity.deadlines.iter().any(|d| d.after == after && d.at_ms <= now_ms))
        {
            return Err(Error::new(ErrorKind::NotFound, format!("the timer {after} of {} runs no more", names.what())));
        }
        if entity.outbox.groups.first().is_some_and(|head| head.until_ms <= now_ms) && !self.db()?.inner.is_paused() {
            return Ok(Attempt::FirstFinish);
        }
        let situation = Situation {
            machine: &machine,
            entity: &names.entity,
            state: self.state_of(&machine, entity)?,
            version,
            context: &entity.context,
            trigger: order.trigger,
            payload: order.payload,
            actor: order.options.actor.as_deref(),
            reason: order.options.reason.as_deref(),
            now_ms,
        };
        let decision = situation.decide(&LiveJudge(self)).await?;
        let step = Move {
            names,
            machine: &machine,
            decision,
            payload: order.payload,
            payload_hash,
            options: order.options,
            now_ms: self.now_ms(),
        };
        Ok(match Box::pin(self.commit(seen, step)).await? {
            Some(committed) => Attempt::Committed(Box::new(committed)),
            None => Attempt::Lost,
        })
    }

    /// The first answer to a send again, with what has become of its actions meanwhile.
    async fn first_answer(&self, names: &Names, seen: &Seen, known: &KeyedSend) -> Result<Sent> {
        let entity = &seen.entity;
        let waits = entity.outbox.groups.iter().any(|group| group.version == known.version);
        let last = entity.outbox.transition.as_ref().filter(|t| t.version == known.version);
        let actions = match (known.has_actions, waits, last) {
            (false, ..) => ActionsState::None,
            (true, true, _) => ActionsState::Pending,
            (true, false, Some(last)) => ActionsState::of(&last.actions),
            (true, false, None) if self.options.persist_transitions => {
                let resource = self.log_to_write().await?;
                let log = Log { resource: &resource, names, row: seen.snapshot.id() };
                let row = log.read(known.version).await?;
                row.map_or(ActionsState::Done, |row| ActionsState::of(&row.actions))
            }
            (true, false, None) => ActionsState::Done,
        };
        Ok(Sent {
            from: known.from.clone(),
            to: known.to.clone(),
            event: known.event.clone(),
            timestamp: s3db_format::date::rfc3339(known.timestamp_ms),
            version: known.version,
            transition_id: known.transition_id.clone(),
            duplicate: true,
            actions,
        })
    }

    /// What follows a transition that stands: events, actions, the log row.
    pub(super) async fn finish(&self, names: &Names, committed: Committed, order: &Order<'_>) -> Result<Sent> {
        let Committed { seen, transition, group, pending, now_done } = committed;
        self.tell_transition(names, &seen.entity, &transition, now_done);
        if let Trigger::Timer(after) = order.trigger {
            let due_at = order.timer_of.map_or(transition.timestamp_ms, |(_, at_ms)| at_ms);
            self.tell(&format!("the timer {after} of {} ran out", names.what()));
            self.events.emit(|| StateMachineEvent::TimerFired {
                machine_id: names.machine.clone(),
                entity_id: names.entity.clone(),
                state: transition.from.clone(),
                due_at: s3db_format::date::rfc3339(due_at),
            });
        }
        let actions = match group {
            Some(group) => {
                let machine = self.machine_of(&seen.entity).await?;
                self.run_actions(names, &machine, group).await.unwrap_or_else(|error| {
                    // The transition stands; the sweep finishes what this process could not.
                    tracing::warn!(target: "s3db::state_machine", %error, "actions of {} are left to the sweep", names.what());
                    ActionsState::Pending
                })
            }
            None => {
                self.log_now(names, &seen, &transition).await;
                if pending { ActionsState::Pending } else { ActionsState::None }
            }
        };
        Ok(Sent {
            from: transition.from,
            to: transition.to,
            event: transition.event,
            timestamp: s3db_format::date::rfc3339(transition.timestamp_ms),
            version: transition.version,
            transition_id: transition.transition_id,
            duplicate: false,
            actions,
        })
    }

    /// Writes the log row of a transition that stands. If that fails the next sender writes it.
    async fn log_now(&self, names: &Names, seen: &Seen, transition: &super::entity::Transition) {
        if !self.options.persist_transitions {
            return;
        }
        let written = async {
            let resource = self.log_to_write().await?;
            Log { resource: &resource, names, row: seen.snapshot.id() }.put(transition, &seen.entity).await
        };
        match written.await {
            Ok(()) => self.note_logged(names, transition.version).await,
            Err(error) => {
                tracing::warn!(target: "s3db::state_machine", %error, "the log row of {} is left to the next sender", names.what());
            }
        }
    }

    /// Remembers up to where this process knows the log to be complete.
    pub(super) async fn note_logged(&self, names: &Names, version: u64) {
        let slot = self.warm.slot(names);
        let mut place = slot.lock().await;
        if let Some(seen) = place.as_mut() {
            seen.logged = seen.logged.max(version);
        }
    }

    fn tell_transition(&self, names: &Names, entity: &Entity, transition: &super::entity::Transition, done: bool) {
        self.tell(&format!("{}: {} → {} by {}", names.what(), transition.from, transition.to, transition.event));
        self.events.emit(|| StateMachineEvent::Transition {
            machine_id: names.machine.clone(),
            entity_id: names.entity.clone(),
            from: transition.from.clone(),
            to: transition.to.clone(),
            event: transition.event.clone(),
            context: entity.context.clone(),
            version: transition.version,
            transition_id: transition.transition_id.clone(),
        });
        if done {
            self.tell_done(names, &transition.to);
        }
    }
}

enum Attempt {
    Committed(Box<Committed>),
    Duplicate(Sent),
    Lost,
    /// Actions of a process that died are to be run first.
    FirstFinish,
}

/// Whether an answer depends on the row, so that it has to be confirmed.
fn is_refusal(error: &Error) -> bool {
    !error.may_stand()
        && matches!(
            error.kind(),
            ErrorKind::InvalidEvent
                | ErrorKind::GuardRejected
                | ErrorKind::GuardError
                | ErrorKind::FinalState
                | ErrorKind::Conflict
                | ErrorKind::Invalid
                | ErrorKind::Busy
                | ErrorKind::NotFound
                | ErrorKind::Integrity
        )
}

/// An earlier send with the same key.
fn known_send<'a>(
    names: &Names,
    entity: &'a Entity,
    order: &Order<'_>,
    hash: Option<&str>,
) -> Result<Option<&'a KeyedSend>> {
    let Some(key) = &order.options.idempotency_key else { return Ok(None) };
    let Some(known) = entity.keys.iter().find(|known| known.key == *key) else { return Ok(None) };
    let same_event = matches!(order.trigger, Trigger::Event(asked) if asked == known.event);
    if same_event && hash == Some(&known.payload_hash) {
        return Ok(Some(known));
    }
    let KeyedSend { event, version, .. } = known;
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "the idempotency key '{key}' was used for another event or payload of {} ('{event}', version {version})",
            names.what()
        ),
    )
    .guide("use a fresh key for each event; nothing was changed")
    .detail(json!({ "fields": [{ "field": "idempotencyKey", "rule": "unique", "actual": key }] })))
}

fn version_conflict(names: &Names, expected: u64, found: u64) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} is at version {found}, expected {expected}", names.what()))
        .guide("read its state and decide on what it is now; nothing was changed")
        .detail(json!({ "expected": expected, "found": found }))
}

fn payload_hash(payload: &Map<String, Value>) -> String {
    s3db_format::resource::hash_json(&Value::Object(payload.clone()))
}

/// The object that a caller gave as context or payload; null is an empty one.
pub(super) fn context_of(value: Value, what: &str) -> Result<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        Value::Null => Ok(Map::new()),
        other => {
            let shown: String = other.to_string().chars().take(40).collect();
            let message = format!("the {what} must be a JSON object, this is {shown}");
            let fields = json!([{ "field": what, "rule": "type", "expected": "object", "message": message }]);
            Err(Error::new(ErrorKind::Invalid, message)
                .guide("write {} where there is nothing to say; nothing was changed")
                .detail(json!({ "fields": fields })))
        }
    }
}

fn check_options(event: &str, options: &SendOptions) -> Result<()> {
    let refuse = |field: &str, message: String| {
        let fields = json!([{ "field": field, "rule": "text", "message": message }]);
        Err(Error::new(ErrorKind::Invalid, message).guide("nothing was changed").detail(json!({ "fields": fields })))
    };
    if event.is_empty() || event.len() > super::definition::NAME_BYTES {
        return refuse(
            "event",
            format!("an event has 1 to {} bytes, this has {}", super::definition::NAME_BYTES, event.len()),
        );
    }
    if event == super::definition::ANY {
        return refuse("event", "'*' stands for any event in a definition and cannot be sent".into());
    }
    if super::definition::is_reserved(event) {
        return refuse("event", format!("'{event}' cannot be sent: {}", super::definition::RESERVED));
    }
    let texts = [
        ("idempotencyKey", &options.idempotency_key, KEY_BYTES, 1),
        ("actor", &options.actor, NOTE_BYTES, 0),
        ("reason", &options.reason, NOTE_BYTES, 0),
    ];
    for (field, text, most, least) in texts {
        if let Some(text) = text.as_ref().filter(|text| text.len() > most || text.len() < least) {
            return refuse(field, format!("'{field}' has {least} to {most} bytes, this has {}", text.len()));
        }
    }
    Ok(())
}
