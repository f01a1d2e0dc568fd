//! Running the actions of transitions: in the order of versions, by one process at a time, at least once.
//!
//! A transition's actions stand in the entity's row as a group, written with the transition itself. The
//! runner has until the group's time; after that another takes it over by a conditional write that raises
//! its fence. What came of the actions is merged only while the group with the own fence is still there.
//!
//! Requests of a group: PUT of the row with the results; PUT of the log row; DELETE of the due key; one PUT
//! more for each attempt that failed. A crash leaves the group, which the due key finds.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::action::ActionKind;
use super::due;
use super::engine::check_context;
use super::entity::{ActionResult, Entity, Group};
use super::facts::Facts;
use super::functions::{self, ActionCall, within};
use super::ids::Names;
use super::load::Change;
use super::log::Log;
use super::machine::{Effect, Machine};
use super::{ActionsState, Core, StateMachineEvent, StateMachinePlugin};
use crate::error::Result;

/// The pause before another attempt, times the number of the attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// Why an action that its runners did not survive counts as failed.
const DIED: &str = "each process that ran it ended before it did";

/// What became of the attempt to take a finished group out of the row.
enum Taken {
    /// It is out.
    Out(Box<Finished>),
    /// Another transition is the entity's last: these results have to be in the log before the group goes.
    LogFirst(Vec<ActionResult>),
}

/// What stands when a group is finished.
struct Finished {
    /// The transition, if it is still the entity's last: then its log row is still to come.
    transition: Option<super::entity::Transition>,
    /// The next group, which this process has taken.
    next: Option<Group>,
    /// What came of the actions, those included whose results were too large to be merged.
    results: Vec<ActionResult>,
}

impl Core {
    /// How long one attempt of an action may take.
    pub(super) fn limit_of(&self, effect: &Effect) -> Duration {
        let own = match &effect.kind {
            ActionKind::Webhook(webhook) => webhook.timeout,
            ActionKind::Exec(exec) => exec.timeout,
            _ => None,
        };
        own.unwrap_or(self.options.action_timeout)
    }

    fn attempts_of(&self, effect: &Effect) -> u32 {
        match &effect.kind {
            ActionKind::Webhook(webhook) => webhook.retries.map_or(self.options.action_attempts, |retries| retries + 1),
            _ => self.options.action_attempts,
        }
    }

    /// Runs a group that this process holds, and those that wait behind it.
    pub(super) async fn run_actions(&self, names: &Names, machine: &Machine, group: Group) -> Result<ActionsState> {
        let mut own = None;
        let mut next = Some(group);
        while let Some(group) = next.take() {
            let Some(group) = self.run_group(names, machine, group).await? else { break };
            let Some((finished, entity)) = self.finish_group(names, machine, &group).await? else { break };
            own.get_or_insert(ActionsState::of(&finished.results));
            for (ran, merged) in
                group.results.iter().zip(&finished.results).filter(|(ran, merged)| ran.ok && !merged.ok)
            {
                self.tell_action_error(
                    names,
                    &group,
                    &ran.name,
                    merged.error.as_deref().unwrap_or_default(),
                    ran.attempts,
                );
            }
            if let Some(transition) = &finished.transition
                && let Err(error) = self.log_last(names, &entity, transition).await
            {
                // The row carries the transition with its results: the next sender logs it.
                tracing::warn!(target: "s3db::state_machine", %error, "the log row of {} is left to the next sender", names.what());
            }
            self.drop_due(&[due::outbox(&entity, &group)]).await;
            next = finished.next;
        }
        // Another process took it over: it does what is left.
        Ok(own.unwrap_or(ActionsState::Pending))
    }

    /// Runs the actions of a group that are left; `None` if another process took it over.
    async fn run_group(&self, names: &Names, machine: &Machine, mut group: Group) -> Result<Option<Group>> {
        let mut context = self.glance(names, |seen| seen.entity.context.clone()).await?;
        for result in &group.results {
            merge_result(&mut context, result);
        }
        while let Some(name) = group.actions.get(group.results.len()).cloned() {
            let repeated = group.actions.iter().take(group.results.len()).filter(|other| **other == name).count();
            let Some(effect) = machine.effect(&name) else {
                group.results.push(failed(&name, 0, "the definition has no such action"));
                continue;
            };
            // Past its time another process may have taken the group over.
            if self.now_ms() + millis(self.limit_of(effect)) > group.until_ms
                && !self.save_progress(names, machine, &mut group).await?
            {
                return Ok(None);
            }
            let attempt = group.attempts;
            match self.run_one(names, effect, &group, &context, repeated).await {
                Ok(result) => {
                    let result = Some(result).filter(Value::is_object);
                    let done = ActionResult { name, ok: true, attempts: attempt, result, error: None };
                    merge_result(&mut context, &done);
                    group.results.push(done);
                    group.attempts = 1;
                    // Attempts count for one action: the next begins with its own.
                    if attempt > 1 && !self.save_progress(names, machine, &mut group).await? {
                        return Ok(None);
                    }
                }
                Err(why) => {
                    self.tell_action_error(names, &group, &name, &why, attempt);
                    if attempt >= self.attempts_of(effect) {
                        group.results.push(failed(&name, attempt, &why));
                        group.attempts = 1;
                        continue;
                    }
                    group.attempts += 1;
                    if !self.save_progress(names, machine, &mut group).await? {
                        return Ok(None);
                    }
                    self.db()?.inner.clock.sleep(PAUSE * attempt).await;
                }
            }
        }
        Ok(Some(group))
    }

    /// One attempt of one action.
    async fn run_one(
        &self,
        names: &Names,
        effect: &Arc<Effect>,
        group: &Group,
        context: &Map<String, Value>,
        repeated: usize,
    ) -> std::result::Result<Value, String> {
        let db = self.db().map_err(|e| e.to_string())?;
        let clock = &*db.inner.clock;
        let limit = self.limit_of(effect);
        let token = token(names, group, &effect.name, repeated);
        if matches!(effect.kind, ActionKind::Function) {
            let action = self.functions.action(&effect.name).ok_or("this process has no such action")?;
            let call = ActionCall {
                db: db.clone(),
                machine: names.machine.clone(),
                entity: names.entity.clone(),
                action: effect.name.clone(),
                event: group.event.clone(),
                from: group.from.clone(),
                to: group.to.clone(),
                version: group.version,
                transition_id: group.transition_id.clone(),
                context: context.clone(),
                payload: group.payload.clone(),
                actor: group.actor.clone(),
                reason: group.reason.clone(),
                token,
                attempt: group.attempts,
            };
            return functions::run(clock, limit, action, call).await;
        }
        let facts = Facts {
            machine: names.machine.clone(),
            entity: names.entity.clone(),
            state: group.from.clone(),
            target: Some(group.to.clone()),
            version: group.version,
            event: group.event.clone(),
            context: Arc::new(context.clone()),
            payload: Arc::new(group.payload.clone()),
            actor: group.actor.clone(),
            reason: group.reason.clone(),
            token: Some(token),
            now_ms: self.now_ms(),
        };
        let situation = facts.situation();
        match &effect.kind {
            ActionKind::Record(action) => within(clock, limit, action.run(db, &situation)).await,
            ActionKind::SendEvent(action) => {
                let core = self.me.upgrade().ok_or("the plugin is gone")?;
                within(clock, limit, action.run(&StateMachinePlugin { core }, &situation)).await.map(|_| Value::Null)
            }
            ActionKind::Webhook(action) => within(clock, limit, action.run(&situation)).await,
            ActionKind::Exec(action) => {
                let folder = self.options.exec_folder.as_deref();
                within(clock, limit, action.run(folder, &situation)).await
            }
            ActionKind::Function | ActionKind::Assign(_) => Ok(Value::Null),
        }
    }

    /// Writes down that another attempt begins; `false` if another process took the group over.
    async fn save_progress(&self, names: &Names, machine: &Machine, group: &mut Group) -> Result<bool> {
        let left: Vec<String> = group.actions.iter().skip(group.results.len()).cloned().collect();
        group.until_ms = self.now_ms() + self.budget_ms(machine, &left);
        let saved = self.mutate(names, |entity| {
            *held(entity, group)? = group.clone();
            Some(())
        });
        Ok(saved.await?.is_some())
    }

    /// Takes a finished group out of the row, merges its results, and takes the next one. `None` if another
    /// process took it over.
    ///
    /// Nothing but the row and the log says what came of the actions. So while their transition is the
    /// entity's last, the row carries their results, and whoever comes next logs them; else they are logged
    /// before the group goes.
    async fn finish_group(
        &self,
        names: &Names,
        machine: &Machine,
        group: &Group,
    ) -> Result<Option<(Finished, Entity)>> {
        let mut logged = !self.options.persist_transitions || group.version == 0;
        loop {
            let taken = self.mutate_unless(names, |entity| self.take_out(names, machine, entity, group, logged));
            match taken.await? {
                None => return Ok(None),
                Some((Taken::Out(finished), entity)) => return Ok(Some((*finished, entity))),
                Some((Taken::LogFirst(results), _)) => {
                    self.log_older(names, group, &results).await?;
                    logged = true;
                }
            }
        }
    }

    /// Takes a group out of an entity.
    fn take_out(
        &self,
        names: &Names,
        machine: &Machine,
        entity: &mut Entity,
        group: &Group,
        logged: bool,
    ) -> Option<Change<Taken>> {
        held(entity, group)?;
        let is_last = entity.outbox.transition.as_ref().is_some_and(|t| t.transition_id == group.transition_id);
        let results = self.merge_results(names, entity, group);
        if !is_last && !logged {
            return Some(Change::Keep(Taken::LogFirst(results)));
        }
        entity.outbox.groups.remove(0);
        if group.version == 0 {
            // No log row says what became of the actions of the beginning.
            entity.outbox.failed = results.iter().filter(|result| !result.ok).cloned().collect();
        }
        let transition = entity.outbox.transition.as_mut().filter(|_| is_last).map(|transition| {
            transition.actions.clone_from(&results);
            transition.clone()
        });
        let next = entity.outbox.groups.first_mut().map(|next| {
            next.runner = Some(self.runner().to_owned());
            next.fence += 1;
            next.until_ms = self.now_ms() + self.budget_ms(machine, &next.actions);
            next.clone()
        });
        Some(Change::Write(Taken::Out(Box::new(Finished { transition, next, results }))))
    }

    /// Merges what actions returned into the context; a result that would make it too large is told as an
    /// error of its action.
    fn merge_results(&self, names: &Names, entity: &mut Entity, group: &Group) -> Vec<ActionResult> {
        let mut context = entity.context.clone();
        let mut results = group.results.clone();
        for result in &mut results {
            let before = result.result.is_some().then(|| context.clone());
            merge_result(&mut context, result);
            if let Some(before) = before
                && let Err(too_large) = check_context(&names.what(), &context)
            {
                context = before;
                result.ok = false;
                result.result = None;
                result.error = Some(format!("its result was not merged: {too_large}"));
            }
        }
        if context != entity.context {
            let committed = std::mem::replace(&mut entity.context, context);
            if let Some(transition) = &mut entity.outbox.transition {
                // The log row says the context that the transition was written with.
                transition.context.get_or_insert(committed);
            }
        }
        results
    }

    /// Logs the entity's last transition with what came of its actions.
    async fn log_last(&self, names: &Names, entity: &Entity, transition: &super::entity::Transition) -> Result<()> {
        if !self.options.persist_transitions {
            return Ok(());
        }
        let resource = self.log_to_write().await?;
        let row = self.glance(names, |seen| seen.snapshot.id().to_owned()).await?;
        Log { resource: &resource, names, row: &row }.put(transition, entity).await?;
        self.note_logged(names, transition.version).await;
        Ok(())
    }

    /// Writes what came of actions into the row of a transition that is not the last any more.
    async fn log_older(&self, names: &Names, group: &Group, results: &[ActionResult]) -> Result<()> {
        let resource = self.log_to_write().await?;
        let row = self.glance(names, |seen| seen.snapshot.id().to_owned()).await?;
        let log = Log { resource: &resource, names, row: &row };
        log.set_actions(group.version, &group.transition_id, results).await
    }

    /// Takes over the group at the head of an entity's outbox if its runner's time is over, and runs it.
    /// Returns whether there was one.
    pub(super) async fn take_over(&self, names: &Names) -> Result<bool> {
        if self.db()?.inner.is_paused() {
            return Ok(false);
        }
        let seen = self.load_known(names).await?;
        let machine = self.machine_of(&seen.entity).await?;
        self.check_runnable(&machine)?;
        let taken = self.mutate(names, |entity| {
            let now_ms = self.now_ms();
            let head = entity.outbox.groups.first_mut().filter(|head| head.until_ms <= now_ms)?;
            // Whoever was to run it may have begun.
            if head.runner.is_some() {
                head.attempts += 1;
            }
            head.fence += 1;
            head.runner = Some(self.runner().to_owned());
            let gave_up = self.give_up_on_what_kills(&machine, head);
            let left: Vec<String> = head.actions.iter().skip(head.results.len()).cloned().collect();
            head.until_ms = now_ms + self.budget_ms(&machine, &left);
            Some((head.clone(), gave_up))
        });
        let Some(((group, gave_up), _)) = taken.await? else { return Ok(false) };
        if let Some(name) = gave_up {
            self.tell_action_error(names, &group, &name, DIED, self.options.action_attempts);
        }
        self.tell(&format!("the actions of version {} of {} were taken over", group.version, names.what()));
        self.run_actions(names, &machine, group).await?;
        Ok(true)
    }

    /// An action whose runners died as often as it may be begun counts as failed; returns its name.
    fn give_up_on_what_kills(&self, machine: &Machine, head: &mut Group) -> Option<String> {
        let name = head.actions.get(head.results.len())?.clone();
        let most = machine.effect(&name).map_or(self.options.action_attempts, |effect| self.attempts_of(effect));
        if head.attempts <= most {
            return None;
        }
        head.results.push(failed(&name, most, DIED));
        head.attempts = 1;
        Some(name)
    }

    fn tell_action_error(&self, names: &Names, group: &Group, name: &str, why: &str, attempt: u32) {
        self.metrics.action_failed();
        tracing::warn!(target: "s3db::state_machine", "action '{name}' of {}, attempt {attempt}: {why}", names.what());
        self.events.emit(|| StateMachineEvent::ActionError {
            action_name: name.to_owned(),
            error: why.to_owned(),
            machine_id: names.machine.clone(),
            entity_id: names.entity.clone(),
            version: group.version,
            attempt,
        });
    }
}

/// The group, if it is still at the head and nobody took it over.
fn held<'a>(entity: &'a mut Entity, group: &Group) -> Option<&'a mut Group> {
    let ours = |head: &&mut Group| head.transition_id == group.transition_id && head.fence == group.fence;
    entity.outbox.groups.first_mut().filter(ours)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

fn failed(name: &str, attempts: u32, why: &str) -> ActionResult {
    ActionResult { name: name.to_owned(), ok: false, attempts, result: None, error: Some(why.to_owned()) }
}

fn merge_result(context: &mut Map<String, Value>, result: &ActionResult) {
    if let Some(Value::Object(members)) = &result.result {
        context.extend(members.clone());
    }
}

/// What an action is to be idempotent with: machine, entity, version and action. The transition's id tells an
/// entity from one of the same name that was deleted.
fn token(names: &Names, group: &Group, action: &str, repeated: usize) -> String {
    let again = if repeated == 0 { String::new() } else { format!("#{}", repeated + 1) };
    let Names { machine, entity } = names;
    format!("{machine}/{entity}/{}/{action}{again}/{}", group.version, group.transition_id)
}
