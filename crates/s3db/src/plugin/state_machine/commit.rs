//! Making a transition: one conditional write decides.
//!
//! Requests, warm: PUT of the state row, `If-Match`; PUT of its log row. Cold: GET of the state row and a
//! GET of the log row before. With actions, a PUT of a due key before, and a PUT of the state row and a
//! DELETE of the due key behind; with a timer, a PUT before and a DELETE when it is left or fires; tracked,
//! the two of the index.
//!
//! 1. The log row of the transition before this one, if this process did not write it. A crash leaves the
//!    log more complete.
//! 2. Due keys. A crash leaves keys that nothing confirms, which the sweep removes when they are an hour old.
//! 3. The state row, with the transition, its actions and timers in it. A crash leaves a transition that
//!    stands: its actions are found by the due key, its log row is taken from the state row.
//! 4. The log row, or the actions and then the log row; the due key of the timer that was left is deleted.

use std::sync::Arc;

use s3db_format::keys::Due;
use serde_json::{Map, Value};

use super::Core;
use super::due;
use super::engine::Decision;
use super::entity::{Deadline, Entity, Group, KEYS, KeyedSend, Outbox, Transition};
use super::ids::{Names, log_row};
use super::load::is_foreign;
use super::log::Log;
use super::machine::Machine;
use super::resources::BY_STATE;
use super::send::SendOptions;
use super::warm::Seen;
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// Transitions whose actions wait at most.
const MOST_GROUPS: usize = 64;
/// Bytes of an id that fits with every state.
const SHORT_ID: usize = 128;
/// What is added to the time-outs of actions before another process takes them over.
const MARGIN_MS: i64 = 5_000;

/// A transition to be made.
pub(super) struct Move<'a> {
    pub(super) names: &'a Names,
    pub(super) machine: &'a Machine,
    pub(super) decision: Decision,
    pub(super) payload: &'a Map<String, Value>,
    pub(super) payload_hash: Option<String>,
    pub(super) options: &'a SendOptions,
    pub(super) now_ms: i64,
}

/// A transition that stands.
pub(super) struct Committed {
    pub(super) seen: Seen,
    pub(super) transition: Transition,
    /// Its actions, if this process runs them.
    pub(super) group: Option<Group>,
    /// Whether its actions wait for older ones that another task runs.
    pub(super) pending: bool,
    /// Whether it came into a final state by it.
    pub(super) now_done: bool,
}

impl Core {
    /// Writes a transition; `None` if somebody else wrote first. On success its log row is still to come.
    pub(super) async fn commit(&self, seen: &Seen, step: Move<'_>) -> Result<Option<Committed>> {
        let states = self.states_to_write().await?;
        self.complete_log(step.names, seen, step.machine, step.now_ms).await?;
        let (mut entity, transition) = self.after(&seen.entity, &step, seen.snapshot.id());
        let waits = !entity.outbox.groups.is_empty() || self.db()?.inner.is_paused();
        let group = self.group(&step, &transition, waits);
        if let Some(group) = &group {
            if entity.outbox.groups.len() >= MOST_GROUPS {
                return Err(too_many_groups(step.names));
            }
            entity.outbox.groups.push(group.clone());
        }
        let old_timer = due::timer(&seen.entity);
        let mut needed: Vec<Due> = group.iter().map(|group| due::outbox(&entity, group)).collect();
        needed.extend(due::timer(&entity));
        self.put_due(&needed).await?;
        let row = entity.write(seen.snapshot.attributes().clone());
        let swapped = states.swap(&seen.snapshot, row).await;
        let snapshot = match swapped {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                self.drop_due(&needed).await;
                return Ok(None);
            }
            // The row may be there or may still land, so what it needs must stay.
            Err(error) if error.may_stand() => return Err(error),
            Err(error) => {
                self.drop_due(&needed).await;
                return Err(error);
            }
        };
        self.drop_due(old_timer.as_slice()).await;
        let now_done = entity.done && !seen.entity.done;
        let pending = group.as_ref().is_some_and(|group| group.runner.is_none());
        let seen = Seen { snapshot, entity, logged: transition.version.saturating_sub(1) };
        Ok(Some(Committed { seen, transition, group: group.filter(|_| !pending), pending, now_done }))
    }

    /// Makes sure that the log has every row up to the entity's version.
    async fn complete_log(&self, names: &Names, seen: &Seen, machine: &Machine, now_ms: i64) -> Result<()> {
        if !self.options.persist_transitions {
            return Ok(());
        }
        let entity = &seen.entity;
        let resource = match (entity.version, &entity.outbox.transition) {
            (Some(version), Some(_)) if seen.logged < version => self.log_to_write().await?,
            (None, _) => self.log_to_write().await?,
            _ => return Ok(()),
        };
        let log = Log { resource: &resource, names, row: seen.snapshot.id() };
        match &entity.outbox.transition {
            Some(transition) => log.ensure(transition, entity).await,
            None => log.put_baseline(entity, &machine.hash, now_ms).await,
        }
    }

    /// The entity after a transition.
    fn after(&self, before: &Entity, step: &Move<'_>, row: &str) -> (Entity, Transition) {
        let version = before.version.unwrap_or_default() + 1;
        let to = step.machine.state_name(step.decision.to).to_owned();
        let transition = Transition {
            transition_id: self.ulid(step.now_ms),
            version,
            from: before.state.clone(),
            to: to.clone(),
            event: step.decision.event.clone(),
            context: None,
            payload: step.payload.clone(),
            timestamp_ms: step.now_ms,
            actor: step.options.actor.clone(),
            reason: step.options.reason.clone(),
            definition: step.machine.hash.clone(),
            idempotency_key: step.options.idempotency_key.clone(),
            actions: Vec::new(),
        };
        let mut keys = before.keys.clone();
        if let (Some(key), Some(payload_hash)) = (&step.options.idempotency_key, &step.payload_hash) {
            keys.push(KeyedSend {
                key: key.clone(),
                event: step.decision.event.clone(),
                payload_hash: payload_hash.clone(),
                from: transition.from.clone(),
                to: transition.to.clone(),
                version,
                timestamp_ms: step.now_ms,
                transition_id: transition.transition_id.clone(),
                has_actions: !step.decision.effects.is_empty(),
            });
            keys.drain(..keys.len().saturating_sub(KEYS));
        }
        let entity = Entity {
            machine: before.machine.clone(),
            entity: before.entity.clone(),
            state: to,
            context: step.decision.context.clone(),
            last_transition: Some(log_row(row, version)),
            updated_at: step.decision.since.clone().unwrap_or_else(|| s3db_format::date::rfc3339(step.now_ms)),
            version: Some(version),
            definition: Some(step.machine.hash.clone()),
            outbox: Outbox {
                transition: Some(transition.clone()),
                groups: before.outbox.groups.clone(),
                failed: before.outbox.failed.clone(),
            },
            deadlines: deadlines(&step.decision, &transition.transition_id),
            keys,
            done: step.decision.done,
        };
        (entity, transition)
    }

    /// The actions of a transition, to be run by this process unless they have to wait: older ones are being run, or
    /// all are paused.
    fn group(&self, step: &Move<'_>, transition: &Transition, waits: bool) -> Option<Group> {
        let actions: Vec<String> = step.decision.effects.iter().map(|effect| effect.name.clone()).collect();
        if actions.is_empty() {
            return None;
        }
        let until_ms = step.now_ms + self.budget_ms(step.machine, &actions);
        Some(Group {
            version: transition.version,
            transition_id: transition.transition_id.clone(),
            from: transition.from.clone(),
            to: transition.to.clone(),
            event: transition.event.clone(),
            payload: transition.payload.clone(),
            actor: transition.actor.clone(),
            reason: transition.reason.clone(),
            actions,
            results: Vec::new(),
            attempts: 1,
            runner: (!waits).then(|| self.runner().to_owned()),
            fence: 1,
            until_ms,
            due_ms: until_ms,
        })
    }

    /// How long a runner has for these actions before another takes them over.
    pub(super) fn budget_ms(&self, machine: &Machine, actions: &[String]) -> i64 {
        let each = actions.iter().filter_map(|name| machine.effect(name)).map(|effect| self.limit_of(effect));
        let sum: u128 = each.map(|limit| limit.as_millis()).sum();
        i64::try_from(sum).unwrap_or(i64::MAX / 4).min(i64::MAX / 4) + MARGIN_MS
    }

    /// Puts the row of an entity that is made, with what it needs.
    pub(super) async fn create(
        &self,
        names: &Names,
        machine: &Arc<Machine>,
        decision: Decision,
        now_ms: i64,
    ) -> Result<(Entity, Option<Group>)> {
        let states = self.states_to_write().await?;
        let none = Map::new();
        let options = SendOptions::default();
        let state = machine.state_name(decision.to).to_owned();
        let transition_id = self.ulid(now_ms);
        let mut entity = Entity {
            machine: names.machine.clone(),
            entity: names.entity.clone(),
            state: state.clone(),
            context: decision.context.clone(),
            updated_at: s3db_format::date::rfc3339(now_ms),
            version: Some(0),
            definition: Some(machine.hash.clone()),
            deadlines: deadlines(&decision, &transition_id),
            done: decision.done,
            ..Entity::default()
        };
        let beginning = Transition {
            transition_id,
            version: 0,
            from: state.clone(),
            to: state,
            event: decision.event.clone(),
            context: None,
            payload: Map::new(),
            timestamp_ms: now_ms,
            actor: None,
            reason: None,
            definition: machine.hash.clone(),
            idempotency_key: None,
            actions: Vec::new(),
        };
        let step = Move { names, machine, decision, payload: &none, payload_hash: None, options: &options, now_ms };
        let group = self.group(&step, &beginning, self.db()?.inner.is_paused());
        entity.outbox.groups.extend(group.clone());
        let needed = due::all(&entity);
        let id = self.free_row(&states, names).await?;
        self.check_keys(&states, names, machine, &id).await?;
        self.put_due(&needed).await?;
        let mut row = entity.write(Map::new());
        if let Some(members) = row.as_object_mut() {
            members.insert("id".into(), Value::String(id));
        }
        match states.insert(row).await {
            Ok(_) => Ok((entity, group)),
            Err(error) if error.may_stand() => Err(error),
            Err(error) => {
                self.drop_due(&needed).await;
                Err(if error.kind() == ErrorKind::AlreadyExists { already_exists(names) } else { error })
            }
        }
    }

    /// Refuses an entity that could not come into each state, because a key of the index would be too long.
    async fn check_keys(&self, states: &Resource, names: &Names, machine: &Machine, id: &str) -> Result<()> {
        let entry = states.catalog_entry().await?;
        let Some(partition) = entry.partition(BY_STATE).filter(|_| id.len() > SHORT_ID) else { return Ok(()) };
        for state in &machine.definition.states {
            let row = Map::from_iter([
                ("machineId".to_owned(), Value::from(names.machine.as_str())),
                ("currentState".to_owned(), Value::from(state.name.as_str())),
            ]);
            let values = partition.values(&row, &entry.current().name).unwrap_or_default();
            let key = partition.index_key(&entry.name, &values, id, &crate::entropy::earliest_ulid(0));
            s3db_format::keys::check_key(0, &key, "entity").map_err(|e| {
                Error::from(e).context(&format!("{} could never come into state '{}'", names.what(), state.name))
            })?;
        }
        Ok(())
    }

    /// The id for a new row. In a resource of s3db.js the likely one may be taken by another entity.
    async fn free_row(&self, states: &Resource, names: &Names) -> Result<String> {
        if !is_foreign(states).await? {
            return Ok(names.row());
        }
        if self.load(names).await?.is_some() {
            return Err(already_exists(names));
        }
        Ok(if states.exists(&names.row()).await? { names.escaped() } else { names.row() })
    }

    pub(super) fn ulid(&self, now_ms: i64) -> String {
        self.db.get().map_or_else(String::new, |db| crate::entropy::make_ulid(&*db.inner.entropy, now_ms))
    }
}

/// The timers that a transition begins.
fn deadlines(decision: &Decision, transition_id: &str) -> Vec<Deadline> {
    let each = decision.deadlines.iter().map(|(after, at_ms)| Deadline {
        after: after.clone(),
        at_ms: *at_ms,
        transition_id: transition_id.to_owned(),
    });
    each.collect()
}

fn already_exists(names: &Names) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{} exists already", names.what()))
        .guide("it was not changed; `s3db machine state` shows it")
}

fn too_many_groups(names: &Names) -> Error {
    Error::new(ErrorKind::Busy, format!("the actions of {MOST_GROUPS} transitions of {} wait already", names.what()))
        .guide("wait until its actions have caught up, or see why they take so long; nothing was changed")
}
