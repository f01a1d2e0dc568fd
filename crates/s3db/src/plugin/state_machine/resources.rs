//! The two resources of machines: entities and the log. They are found or made when they are first needed.

use s3db_format::resource::{Behavior, ResourceDefinition};
use s3db_format::update::ResourceUpdate;

use super::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// The documented names, and the one that s3db.js uses for the log.
pub(crate) const STATES: &str = "entity_states";
pub(super) const LOG: &str = "transitions";
const LOG_OF_S3DBJS: &str = "state_transitions";
/// The partition that says which entities are in which state.
pub(super) const BY_STATE: &str = "byState";
const BY_STATE_FIELDS: [(&str, &str); 2] = [("machineId", "string"), ("currentState", "string")];

/// The attributes of entities: s3db.js's, and ours behind them.
const STATE_ATTRIBUTES: [(&str, &str); 13] = [
    ("id", "string|required"),
    ("machineId", "string|required"),
    ("entityId", "string|required"),
    ("currentState", "string|required"),
    ("context", "json|default:{}"),
    ("lastTransition", "string|default:null"),
    ("updatedAt", "string|required"),
    ("version", "number|optional"),
    ("definition", "string|optional"),
    ("outbox", "json|optional"),
    ("deadlines", "json|optional"),
    ("keys", "json|optional"),
    ("done", "boolean|optional"),
];
/// The attributes of the log.
const LOG_ATTRIBUTES: [(&str, &str); 17] = [
    ("id", "string|required"),
    ("machineId", "string|required"),
    ("entityId", "string|required"),
    ("fromState", "string"),
    ("toState", "string|required"),
    ("event", "string|required"),
    ("context", "json"),
    ("timestamp", "number|required"),
    ("createdAt", "string|required"),
    ("version", "number|optional"),
    ("payload", "json|optional"),
    ("actor", "string|optional"),
    ("reason", "string|optional"),
    ("definition", "string|optional"),
    ("actions", "json|optional"),
    ("idempotencyKey", "string|optional"),
    ("transitionId", "string|optional"),
];
/// How many of them are s3db.js's: a resource without these is something else.
const STATE_KNOWN: usize = 7;
const LOG_KNOWN: usize = 9;

impl Core {
    /// The resource of entities; `None` where there is none yet.
    pub(super) async fn states(&self) -> Result<Option<Resource>> {
        self.existing(self.options.state_resource.as_deref().unwrap_or(STATES)).await
    }

    /// The resource of the log; `None` where there is none yet.
    pub(super) async fn log(&self) -> Result<Option<Resource>> {
        if let Some(name) = &self.options.transition_log_resource {
            return self.existing(name).await;
        }
        match self.existing(LOG).await? {
            Some(log) => Ok(Some(log)),
            None => self.existing(LOG_OF_S3DBJS).await,
        }
    }

    async fn existing(&self, name: &str) -> Result<Option<Resource>> {
        match self.db()?.resource(name).await {
            Ok(resource) => Ok(Some(resource)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The resource of entities, ready to be written; made or extended where it has to be.
    pub(super) async fn states_to_write(&self) -> Result<Resource> {
        let found = self.ready_states.get_or_try_init(|| async {
            let name = self.options.state_resource.as_deref().unwrap_or(STATES);
            let existing = self.states().await?;
            // An index that is there is kept; only where there is none it is a question.
            let has_index = match &existing {
                Some(states) => states.definition().await?.partitions.contains_key(BY_STATE),
                None => false,
            };
            let index = has_index || self.wants_index().await?;
            self.prepare(existing, name, &STATE_ATTRIBUTES, STATE_KNOWN, index).await
        });
        found.await.cloned()
    }

    /// The resource of the log, ready to be written.
    pub(super) async fn log_to_write(&self) -> Result<Resource> {
        let found = self.ready_log.get_or_try_init(|| async {
            let name = self.options.transition_log_resource.as_deref().unwrap_or(LOG);
            let existing = self.log().await?;
            self.prepare(existing, name, &LOG_ATTRIBUTES, LOG_KNOWN, false).await
        });
        found.await.cloned()
    }

    async fn prepare(
        &self,
        existing: Option<Resource>,
        name: &str,
        attributes: &[(&str, &str)],
        known: usize,
        index: bool,
    ) -> Result<Resource> {
        let db = self.db()?;
        let Some(resource) = existing else {
            let mut definition = ResourceDefinition::new(name).behavior(Behavior::BodyOverflow);
            for (attribute, rule) in attributes {
                definition = definition.attribute(*attribute, *rule);
            }
            if index {
                definition = definition.partition(BY_STATE, BY_STATE_FIELDS);
            }
            return match db.create_resource(definition).await {
                // Another process made it just now, perhaps with an index that this one does not need.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => db.resource(name).await,
                made => made,
            };
        };
        let definition = resource.definition().await?;
        let foreign =
            attributes.iter().take(known).find(|(a, _)| *a != "id" && !definition.attributes.contains_key(*a));
        if let Some((missing, _)) = foreign {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("resource '{}' is not one of state machines: it has no attribute '{missing}'", resource.name()),
            )
            .guide("name other resources by stateResource and transitionLogResource"));
        }
        let mut update = ResourceUpdate::new();
        let mut changes = false;
        for (attribute, rule) in attributes.iter().filter(|(a, _)| !definition.attributes.contains_key(*a)) {
            update = update.attribute(*attribute, *rule);
            changes = true;
        }
        if index && !definition.partitions.contains_key(BY_STATE) {
            update = update.partition(BY_STATE, BY_STATE_FIELDS);
            changes = true;
        }
        if changes {
            let report = db.update_resource(resource.name(), update).await?;
            if !report.to_index.is_empty() {
                tracing::warn!(
                    "the index of '{0}' is not built yet, so that its rows are scanned; `s3db resource reindex {0}` builds it",
                    resource.name()
                );
            }
        }
        Ok(resource)
    }
}
