//! `migrate`: entities move to another definition.
//!
//! Each step is a transition like any other: one conditional write, a version more, a log row `migrate`. A
//! crash leaves some entities moved and some not; the same call goes on. Passes are made until one finds
//! nothing, since other processes may make entities on the old definition meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

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
/// The pause before an entity whose actions are run is looked at again, in milliseconds, at most.
const LOOK_MS: u64 = 2_000;
/// How often it is looked at.
const MOST_LOOKS: u32 = 1_000;
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
            let moved = self.migrate_pass(&target, left, from.as_deref(), options, &mut report).await?;
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
        target: &Machine,
        left: Vec<EntitySummary>,
        from: Option<&str>,
        options: &MigrateOptions,
        report: &mut MigrateReport,
    ) -> Result<usize> {
        let mut moved = 0;
        let work = stream::iter(left).map(|entity| async move {
            let result = match new_state(target, &entity.state, options) {
                None => Err(format!("the target has no state '{}'; give it in the map", entity.state)),
                Some(state) if options.dry_run => Ok(Some((entity.state.clone(), state))),
                Some(_) => self.migrate_one(&entity.entity, target, from, options).await.map_err(|e| e.to_string()),
            };
            (entity, result)
        });
        let mut work = std::pin::pin!(work.buffered(TOGETHER));
        while let Some((entity, result)) = work.next().await {
            match result {
                Ok(Some((old, state))) => {
                    moved += 1;
                    report.migrated += 1;
                    let key = format!("{old} → {}", target.state_name(state));
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

    /// Moves one entity, and returns its old and its new state; `None` if it is there already, or gone, or on
    /// another definition than those that are to be left.
    async fn migrate_one(
        &self,
        entity: &str,
        target: &Machine,
        from: Option<&str>,
        options: &MigrateOptions,
    ) -> Result<Option<(String, usize)>> {
        let names = Names::new(target.name(), entity)?;
        let slot = self.warm.slot(&names);
        let mut attempt = 0;
        while attempt < ATTEMPTS {
            let mut place = slot.lock().await;
            *place = None;
            let Some(seen) = self.load(&names).await? else { return Ok(None) };
            let is_on = seen.entity.definition.as_deref();
            if is_on == Some(target.hash.as_str()) || (from.is_some() && is_on != from) {
                return Ok(None);
            }
            if !seen.entity.outbox.groups.is_empty() {
                drop(place);
                self.finish_actions(&names).await?;
                attempt += 1;
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
                    return Ok(Some((seen.entity.state, to)));
                }
                None => {
                    drop(place);
                    self.db()?.inner.back_off(attempt.min(4)).await;
                    attempt += 1;
                }
            }
        }
        Err(self.too_often(&names))
    }
}

impl Core {
    /// Waits for the actions of an entity that another process runs, and takes over those whose time is over.
    async fn finish_actions(&self, names: &Names) -> Result<()> {
        for _ in 0..MOST_LOOKS {
            let seen = self.load_known(names).await?;
            let Some(head) = seen.entity.outbox.groups.first() else { return Ok(()) };
            if !self.take_over(names).await? {
                let left_ms = u64::try_from(head.until_ms - self.now_ms()).unwrap_or_default();
                self.db()?.inner.clock.sleep(Duration::from_millis(left_ms.clamp(100, LOOK_MS))).await;
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("the actions of {} do not come to an end", names.what()))
            .guide("see why they take so long; the same command goes on"))
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
