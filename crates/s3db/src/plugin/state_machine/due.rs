//! What is due, indexed by its second: a key is put before the state row that needs it, and deleted when
//! it is done. So whatever is due is found by one LIST, also after a crash; a key that the row does not
//! confirm is what a lost write left.

use s3db_format::keys::Due;

use super::Core;
use super::entity::{Entity, Group};
use super::ids::Names;
use crate::error::Result;

pub(super) const TIMER: &str = "timer";
pub(super) const OUTBOX: &str = "outbox";

/// The key of an entity's earliest timer.
pub(super) fn timer(entity: &Entity) -> Option<Due> {
    let deadline = entity.next_deadline()?;
    let version = entity.version.unwrap_or_default();
    Some(due(entity, deadline.at_ms, version, TIMER, &deadline.transition_id))
}

/// The key of the actions of a transition.
pub(super) fn outbox(entity: &Entity, group: &Group) -> Due {
    due(entity, group.due_ms, group.version, OUTBOX, &group.transition_id)
}

/// The keys that an entity needs.
pub(super) fn all(entity: &Entity) -> Vec<Due> {
    entity.outbox.groups.iter().map(|group| outbox(entity, group)).chain(timer(entity)).collect()
}

/// Whether an entity needs a key: for its actions, or for any of its timers, whichever comes next.
pub(super) fn is_needed(entity: &Entity, key: &Due) -> bool {
    let version = entity.version.unwrap_or_default();
    let timers = entity.deadlines.iter().map(|d| due(entity, d.at_ms, version, TIMER, &d.transition_id));
    entity.outbox.groups.iter().map(|group| outbox(entity, group)).chain(timers).any(|needed| needed == *key)
}

fn due(entity: &Entity, at_ms: i64, version: u64, what: &str, transition: &str) -> Due {
    Due {
        second: at_ms.div_euclid(1000) + i64::from(at_ms.rem_euclid(1000) > 0),
        machine: entity.machine.clone(),
        entity: entity.entity.clone(),
        version,
        what: what.to_owned(),
        transition: transition.to_owned(),
    }
}

/// The names in a key.
pub(super) fn names(due: &Due) -> Names {
    Names { machine: due.machine.clone(), entity: due.entity.clone() }
}

impl Core {
    /// Puts keys side by side.
    pub(super) async fn put_due(&self, dues: &[Due]) -> Result<()> {
        let keys: Vec<String> = dues.iter().map(Due::key).collect();
        self.db()?.inner.put_keys(&keys).await
    }

    /// Deletes keys that nothing needs. A failure leaves them to the sweep.
    pub(super) async fn drop_due(&self, dues: &[Due]) {
        let keys: Vec<String> = dues.iter().map(Due::key).collect();
        if let Ok(db) = self.db()
            && !keys.is_empty()
        {
            db.inner.drop_keys(&keys).await;
        }
    }
}
