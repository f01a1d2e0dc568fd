//! `migrate`: entities move to another definition.
//!
//! Each step is a transition like any other: one conditional write, a version more, a log row `migrate`. A
//! crash leaves some entities moved and some not; the same call goes on. Passes are made until one finds
//! nothing, since other processes may make entities on the old definition meanwhile.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Map;

use super::commit::Move;
use super::definition::MIGRATE;
use super::engine::{self, Decision, Trigger};
use super::entities::EntitySummary;
use super::entity::Entity;
use super::ids::Names;
use super::load::ATTEMPTS;
use super::machine::Machine;
use super::send::{Order, SendOptions};
use super::warm::kept;
use super::{Core, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};

/// Passes over all entities at most.
const PASSES: u32 = 16;
/// Entities that are moved side by side.
const TOGETHER: usize = 16;
/// Entities that a report names.
const TOLD: usize = 100;

/// How a machine's entities are migrated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrateOptions {
    /// Only entities on this definition, by number or hash; `None` is on any other than the target.
    pub from: Option<String>,
    /// The definition to move to, by number or hash; `None` is the current one.
    pub to: Option<String>,
    /// Old state → new state, for states that the target does not have or that mean something else there.
    pub map: BTreeMap<String, String>,
    /// Who does it; the log says so.
    pub actor: Option<String>,
    /// Change nothing, and say what it would be.
    pub dry_run: bool,
}

/// What a migration came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrateReport {
    /// The hash of the definition that was moved to.
    pub to: String,
    /// Entities that were moved, or would be in a dry run.
    pub migrated: usize,
    /// How many of them by old and new state.
    pub moves: BTreeMap<String, usize>,
    /// Entities that were not moved.
    pub unmapped: usize,
    /// Some of them.
    pub problems: Vec<Unmapped>,
    /// Whether it was a dry run.
    pub dry_run: bool,
}

/// An entity that was not moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmapped {
    /// The entity.
    pub entity: String,
    /// Its state.
    pub state: String,
    /// Why.
    pub problem: String,
}

impl StateMachinePlugin {
    /// Moves the entities of a machine to a definition. Timers of a new state begin, those of a state that
    /// stays go on; entry actions do not run. Unfinished actions are finished first, by the old definition.
    ///
    /// Costs what finding the entities costs, and a transition for each.
    ///
    /// # Errors
    /// `NotFound` for the machine or a version; `Invalid` for a map to a state that the target does not have.
    /// Entities that cannot be moved are in the report.
    pub async fn migrate(&self, machine: &str, options: &MigrateOptions) -> Result<MigrateReport> {
        self.core.migrate(machine, options).await
    }
}

impl Core {
    async fn migrate(&self, name: &str, options: &MigrateOptions) -> Result<MigrateReport> {
        let hash = self.hash_of(name, options.to.as_deref()).await?;
        let from = match &options.from {
            Some(text) => Some(self.hash_of(name, Some(text)).await?),
            None => None,
        };
        let target = self.machine(name, &hash).await?;
        self.check_map(name, &target, options).await?;
        let mut report = MigrateReport { to: hash.clone(), dry_run: options.dry_run, ..MigrateReport::default() };
        for _ in 0..PASSES {
            let all = self.all_entities(name).await?;
            let left: Vec<EntitySummary> = all
                .into_iter()
                .filter(|e| e.definition.as_deref() != Some(hash.as_str()))
                .filter(|e| from.is_none() || e.definition == from)
                .collect();
            report.unmapped = 0;
            report.problems.clear();
            let moved = self.migrate_pass(name, &target, left, options, &mut report).await?;
            if moved == 0 || options.dry_run {
                break;
            }
        }
        Ok(report)
    }

    /// Each state of the map is one of some definition, and leads to one of the target.
    async fn check_map(&self, name: &str, target: &Machine, options: &MigrateOptions) -> Result<()> {
        if options.map.is_empty() {
            return Ok(());
        }
        let known = self.definitions_of(name).await?;
        for (old, new) in &options.map {
            let in_use = known.iter().any(|machine| machine.state(old).is_some());
            let missing = match (in_use, target.state(new)) {
                (false, _) if self.entities_in_state(name, old).await? == 0 => old,
                (_, None) => new,
                _ => continue,
            };
            let error = super::entities::unknown_state(target, missing);
            return Err(Error::new(ErrorKind::Invalid, format!("the map '{old}' → '{new}' cannot be: {error}"))
                .guide(error.guidance().unwrap_or_default().to_owned()));
        }
        Ok(())
    }

    /// One pass; returns how many entities were moved.
    async fn migrate_pass(
        &self,
        name: &str,
        target: &Machine,
        left: Vec<EntitySummary>,
        options: &MigrateOptions,
        report: &mut MigrateReport,
    ) -> Result<usize> {
        let mut moved = 0;
        let work = stream::iter(left).map(|entity| async move {
            let result = match new_state(target, &entity.state, options) {
                None => Err(format!("the target has no state '{}'; give it in the map", entity.state)),
                Some(state) if options.dry_run => Ok(Some(state)),
                Some(state) => self
                    .migrate_one(name, &entity.entity, target, options)
                    .await
                    .map(|did| did.then_some(state))
                    .map_err(|e| e.to_string()),
            };
            (entity, result)
        });
        let mut work = std::pin::pin!(work.buffered(TOGETHER));
        while let Some((entity, result)) = work.next().await {
            match result {
                Ok(Some(state)) => {
                    moved += 1;
                    report.migrated += 1;
                    let key = format!("{} → {}", entity.state, target.state_name(state));
                    *report.moves.entry(key).or_default() += 1;
                }
                Ok(None) => {}
                Err(problem) => {
                    report.unmapped += 1;
                    if report.problems.len() < TOLD {
                        report.problems.push(Unmapped { entity: entity.entity, state: entity.state, problem });
                    }
                }
            }
        }
        Ok(moved)
    }

    /// Moves one entity; `false` if it is there already, or gone.
    async fn migrate_one(&self, name: &str, entity: &str, target: &Machine, options: &MigrateOptions) -> Result<bool> {
        let names = Names::new(name, entity)?;
        let slot = self.warm.slot(&names);
        for attempt in 0..ATTEMPTS {
            let mut place = slot.lock().await;
            *place = None;
            let Some(seen) = self.load(&names).await? else { return Ok(false) };
            if seen.entity.definition.as_deref() == Some(target.hash.as_str()) {
                return Ok(false);
            }
            if !seen.entity.outbox.groups.is_empty() {
                drop(place);
                // What another process still runs is waited for; what one left is taken over.
                if !self.take_over(&names).await? {
                    self.db()?.inner.clock.sleep(std::time::Duration::from_millis(500)).await;
                }
                continue;
            }
            let Some(to) = new_state(target, &seen.entity.state, options) else {
                return Err(Error::new(ErrorKind::Invalid, format!("the target has no state '{}'", seen.entity.state))
                    .guide("give it in the map"));
            };
            let now_ms = self.now_ms();
            let payload = Map::new();
            let send = SendOptions { actor: options.actor.clone(), ..SendOptions::default() };
            let decision = step(target, to, &seen.entity, now_ms);
            let order = Order { trigger: Trigger::Event(MIGRATE), payload: &payload, options: &send, timer_of: None };
            let step = Move {
                names: &names,
                machine: target,
                decision,
                payload: &payload,
                payload_hash: None,
                options: &send,
                now_ms,
            };
            match self.commit(&seen, step).await? {
                Some(committed) => {
                    *place = kept(committed.seen.clone());
                    drop(place);
                    self.finish(&names, committed, &order).await?;
                    return Ok(true);
                }
                None => {
                    drop(place);
                    self.db()?.inner.back_off(attempt.min(4)).await;
                }
            }
        }
        Err(self.too_often(&names))
    }
}

/// The state that an entity comes into.
fn new_state(target: &Machine, state: &str, options: &MigrateOptions) -> Option<usize> {
    target.state(options.map.get(state).map_or(state, String::as_str))
}

/// The step of a migration: no guard, no action. An entity that stays in its state stays there since when it
/// came, and timers that are the same go on; others begin.
fn step(target: &Machine, to: usize, entity: &Entity, now_ms: i64) -> Decision {
    let stays = target.state_name(to) == entity.state;
    let going_on = |after: &String| entity.deadlines.iter().find(|d| stays && d.after == *after).map(|d| d.at_ms);
    let mut deadlines = engine::deadlines(target, to, now_ms);
    for (after, at_ms) in &mut deadlines {
        *at_ms = going_on(after).unwrap_or(*at_ms);
    }
    Decision {
        to,
        event: MIGRATE.to_owned(),
        context: entity.context.clone(),
        effects: Vec::new(),
        deadlines,
        done: target.is_final(to),
        since: stays.then(|| entity.updated_at.clone()),
    }
}
