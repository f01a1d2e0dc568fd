//! The log: one row per transition, whose id says its version, so that it can be neither lost nor doubled.
//!
//! The state row carries its last transition until the next one, so a row that a crash prevented is
//! written by whoever comes next, before it is needed.

use serde_json::{Map, Value, json};

use super::definition::BASELINE;
use super::entity::{ActionResult, Entity, Transition};
use super::ids::{Names, log_row};
use super::record_text;
use crate::error::{Error, ErrorKind, Result};
use crate::resource::{Record, Resource, UpdateOptions};

/// A row of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// The entity's version after the transition; `None` for rows of s3db.js, which has no versions.
    pub version: Option<u64>,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// The event.
    pub event: String,
    /// When, RFC 3339.
    pub timestamp: String,
    /// Who sent it.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The context after the transition, before results of its actions.
    pub context: Map<String, Value>,
    /// What was sent with the event.
    pub payload: Map<String, Value>,
    /// What came of its actions; those that are not done yet are missing.
    pub actions: Vec<ActionResult>,
    /// The transition's id.
    pub transition_id: Option<String>,
    /// The hash of the definition by which it was decided.
    pub definition: Option<String>,
    /// The key it was sent with.
    pub idempotency_key: Option<String>,
}

impl HistoryRow {
    /// The row as JSON.
    pub fn to_json(&self) -> Value {
        let mut row = json!({
            "version": self.version,
            "from": self.from,
            "to": self.to,
            "event": self.event,
            "timestamp": self.timestamp,
            "actor": self.actor,
            "reason": self.reason,
            "context": self.context,
            "payload": self.payload,
            "actions": self.actions,
            "transitionId": self.transition_id,
            "definition": self.definition,
        });
        if let (Some(key), Some(members)) = (&self.idempotency_key, row.as_object_mut()) {
            members.insert("idempotencyKey".into(), json!(key));
        }
        row
    }

    /// Reads a row of the log.
    pub(super) fn read(record: &Record) -> Self {
        let row = &record.attributes;
        let text = |name: &str| record_text(row, name);
        let object = |name: &str| row.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        Self {
            version: row.get("version").and_then(Value::as_u64),
            from: text("fromState").unwrap_or_default(),
            to: text("toState").unwrap_or_default(),
            event: text("event").unwrap_or_default(),
            timestamp: s3db_format::date::rfc3339(row.get("timestamp").and_then(Value::as_i64).unwrap_or_default()),
            actor: text("actor"),
            reason: text("reason"),
            context: object("context"),
            payload: object("payload"),
            actions: row.get("actions").and_then(|a| serde_json::from_value(a.clone()).ok()).unwrap_or_default(),
            transition_id: text("transitionId"),
            definition: text("definition"),
            idempotency_key: text("idempotencyKey"),
        }
    }

    /// The row of a transition that the entity still carries.
    pub(super) fn of(transition: &Transition, entity: &Entity) -> Self {
        Self {
            version: Some(transition.version),
            from: transition.from.clone(),
            to: transition.to.clone(),
            event: transition.event.clone(),
            timestamp: s3db_format::date::rfc3339(transition.timestamp_ms),
            actor: transition.actor.clone(),
            reason: transition.reason.clone(),
            context: transition.context.clone().unwrap_or_else(|| entity.context.clone()),
            payload: transition.payload.clone(),
            actions: transition.actions.clone(),
            transition_id: Some(transition.transition_id.clone()),
            definition: Some(transition.definition.clone()),
            idempotency_key: transition.idempotency_key.clone(),
        }
    }
}

/// The log of one entity.
#[derive(Debug)]
pub(super) struct Log<'a> {
    pub(super) resource: &'a Resource,
    pub(super) names: &'a Names,
    /// The id of the entity's row.
    pub(super) row: &'a str,
}

impl Log<'_> {
    fn attributes(&self, transition: &Transition, entity: &Entity) -> Value {
        let created = s3db_format::date::rfc3339(transition.timestamp_ms);
        let mut row = json!({
            "id": log_row(self.row, transition.version),
            "machineId": self.names.machine,
            "entityId": self.names.entity,
            "fromState": transition.from,
            "toState": transition.to,
            "event": transition.event,
            "context": transition.context.as_ref().unwrap_or(&entity.context),
            "timestamp": transition.timestamp_ms,
            "createdAt": created.get(..10).unwrap_or(&created),
            "version": transition.version,
            "payload": transition.payload,
            "definition": transition.definition,
            "transitionId": transition.transition_id,
        });
        if let Some(members) = row.as_object_mut() {
            let optional = [
                ("actor", transition.actor.as_ref().map(|v| json!(v))),
                ("reason", transition.reason.as_ref().map(|v| json!(v))),
                ("actions", Some(json!(transition.actions)).filter(|_| !transition.actions.is_empty())),
                ("idempotencyKey", transition.idempotency_key.as_ref().map(|v| json!(v))),
            ];
            members.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        row
    }

    /// Puts a transition's row. One that is there already is right, unless it is of another transition of
    /// the same version, as after a restore: then it is replaced.
    ///
    /// Costs one request; two more where a row is there.
    pub(super) async fn put(&self, transition: &Transition, entity: &Entity) -> Result<()> {
        let row = self.attributes(transition, entity);
        let inserted = self.resource.insert(row.clone()).await;
        let error = match inserted {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists || error.is_applied_unknown() => error,
            Err(error) => return Err(error),
        };
        let id = log_row(self.row, transition.version);
        match self.resource.find(&id).await? {
            Some(found) if is_of(&found, transition) => self.catch_up(&found, transition).await,
            Some(found) => {
                let options = UpdateOptions { expected_rev: Some(found.meta.rev) };
                match self.resource.replace(&id, row, &options).await {
                    // Somebody else makes the same row.
                    Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
                    other => other.map(|_| ()),
                }
            }
            // The insert's answer was lost, and it may still land. Nobody else puts another row there.
            None if error.is_applied_unknown() => match self.resource.insert(row).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                other => other.map(|_| ()),
            },
            None => Err(error),
        }
    }

    /// Makes sure of a row that another process was to write, with what came of its actions. Costs a GET; a
    /// PUT where it is missing.
    pub(super) async fn ensure(&self, transition: &Transition, entity: &Entity) -> Result<()> {
        match self.resource.find(&log_row(self.row, transition.version)).await? {
            Some(found) if is_of(&found, transition) => self.catch_up(&found, transition).await,
            _ => self.put(transition, entity).await,
        }
    }

    /// A row that was written before its actions were done gets their results.
    async fn catch_up(&self, found: &Record, transition: &Transition) -> Result<()> {
        if transition.actions.is_empty() || HistoryRow::read(found).actions == transition.actions {
            return Ok(());
        }
        self.set_actions(transition.version, &transition.transition_id, &transition.actions).await
    }

    /// Writes down what came of a transition's actions, where its row was written before that.
    pub(super) async fn set_actions(&self, version: u64, transition_id: &str, actions: &[ActionResult]) -> Result<()> {
        let id = log_row(self.row, version);
        let Some(found) = self.resource.find(&id).await? else { return Ok(()) };
        if record_text(&found.attributes, "transitionId").as_deref() != Some(transition_id) {
            return Ok(());
        }
        self.resource.update(&id, json!({ "actions": actions })).await.map(|_| ())
    }

    /// Writes the row that says where the history of an adopted entity begins.
    pub(super) async fn put_baseline(&self, entity: &Entity, definition: &str, now_ms: i64) -> Result<()> {
        let transition = Transition {
            transition_id: BASELINE.to_owned(),
            version: 0,
            from: entity.state.clone(),
            to: entity.state.clone(),
            event: BASELINE.to_owned(),
            context: None,
            payload: Map::new(),
            timestamp_ms: now_ms,
            actor: None,
            reason: Some("the entity was made by s3db.js, which keeps no versions".into()),
            definition: definition.to_owned(),
            idempotency_key: None,
            actions: Vec::new(),
        };
        match self.resource.find(&log_row(self.row, 0)).await? {
            // An earlier attempt that came to nothing; the entity may have gone on in s3db.js since.
            Some(found) if record_text(&found.attributes, "toState").as_ref() != Some(&entity.state) => {
                let id = log_row(self.row, 0);
                self.resource
                    .replace(&id, self.attributes(&transition, entity), &UpdateOptions::default())
                    .await
                    .map(|_| ())
            }
            Some(_) => Ok(()),
            None => self.put(&transition, entity).await,
        }
    }

    /// Reads a row.
    pub(super) async fn read(&self, version: u64) -> Result<Option<HistoryRow>> {
        Ok(self.resource.find(&log_row(self.row, version)).await?.as_ref().map(HistoryRow::read))
    }
}

fn is_of(found: &Record, transition: &Transition) -> bool {
    record_text(&found.attributes, "transitionId").as_deref() == Some(transition.transition_id.as_str())
}

/// The error of a log that lacks a row.
pub(super) fn gap(names: &Names, version: u64) -> Error {
    Error::new(ErrorKind::Integrity, format!("the log of {} has no row of version {version}", names.what()))
        .guide("`s3db machine verify` says what is missing; restore the rows from a backup")
}
