//! Asking guards for real: functions of this process, and expressions over records that are read first.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::Core;
use super::engine::{Judge, Refusal};
use super::facts::Facts;
use super::functions::{self, GuardCall, GuardFunction, Verdict, within};
use super::machine::{Check, CheckKind, CompiledGuard};

/// Asks the guards of this process.
#[derive(Debug)]
pub(super) struct LiveJudge<'a>(pub(super) &'a Core);

#[async_trait]
impl Judge for LiveJudge<'_> {
    async fn ask(&self, check: &Check, facts: &Facts) -> Result<(), Refusal> {
        match &check.kind {
            CheckKind::Function => match self.0.functions.guard(&check.name) {
                Some(guard) => self.call(guard, facts).await,
                None => Err(Refusal::Failed("this process has no such guard".into())),
            },
            CheckKind::Expression(guard) => self.evaluate(guard, facts).await,
        }
    }

    async fn may_send(&self, facts: &Facts) -> Result<(), Refusal> {
        match self.0.functions.authorize() {
            Some(rule) => self.call(rule, facts).await,
            None => Ok(()),
        }
    }
}

impl LiveJudge<'_> {
    async fn call(&self, guard: GuardFunction, facts: &Facts) -> Result<(), Refusal> {
        let db = self.0.db().map_err(|e| Refusal::Failed(e.to_string()))?;
        let call = GuardCall {
            db: db.clone(),
            machine: facts.machine.clone(),
            entity: facts.entity.clone(),
            state: facts.state.clone(),
            version: facts.version,
            event: facts.event.clone(),
            context: Map::clone(&facts.context),
            payload: Map::clone(&facts.payload),
            actor: facts.actor.clone(),
            reason: facts.reason.clone(),
        };
        let asked = functions::run(&*db.inner.clock, self.0.options.guard_timeout, guard, call).await;
        match asked.map_err(Refusal::Failed)? {
            Verdict::Pass => Ok(()),
            Verdict::Reject(reason) => Err(Refusal::Rejected(reason)),
        }
    }

    async fn evaluate(&self, guard: &CompiledGuard, facts: &Facts) -> Result<(), Refusal> {
        let db = self.0.db().map_err(|e| Refusal::Failed(e.to_string()))?;
        let mut variables = facts.variables();
        let reading = within(&*db.inner.clock, self.0.options.guard_timeout, async {
            let mut found = Vec::new();
            for (variable, resource, id) in &guard.with {
                let id = match id.evaluate(&variables)? {
                    Value::String(id) => id,
                    Value::Number(id) => id.to_string(),
                    Value::Null => {
                        found.push((variable.clone(), Value::Null));
                        continue;
                    }
                    other => return Err(format!("the id of '{variable}' must be a text, this is {other}")),
                };
                let told = |e: crate::Error| format!("reading '{variable}': {e}");
                let record = db.resource(resource).await.map_err(told)?.find(&id).await.map_err(told)?;
                found.push((variable.clone(), record.map_or(Value::Null, |record| record.to_json())));
            }
            Ok(found)
        });
        let found = reading.await.map_err(Refusal::Failed)?;
        variables.extend(found);
        match guard.test.test(&variables).map_err(Refusal::Failed)? {
            true => Ok(()),
            false => Err(Refusal::Rejected(format!("{} is false", guard.test.source()))),
        }
    }
}
