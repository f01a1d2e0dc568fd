//! Entities that this process has just written or read, so that its next event for them needs no read.
//!
//! What is kept here is never trusted: every write is conditional on it, and a refusal that it led to is
//! confirmed by a read. It also lets the senders of one process take turns instead of racing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use tokio::sync::Mutex;

use super::entity::Entity;
use super::ids::Names;
use crate::resource::Snapshot;

/// Entities that are kept.
const MOST: usize = 1024;
/// Bytes of a row that is kept.
const MOST_BYTES: u64 = 64 * 1024;

/// An entity as this process last saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) snapshot: Snapshot,
    pub(super) entity: Entity,
    /// The version up to which this process knows the log to be complete.
    pub(super) logged: u64,
}

/// What is worth keeping: large rows are read again.
pub(super) fn kept(seen: Seen) -> Option<Seen> {
    (seen.snapshot.size() <= MOST_BYTES).then_some(seen)
}

/// The place of one entity. Whoever holds it is the only one in this process that writes the entity.
pub(super) type Slot = Arc<Mutex<Option<Seen>>>;

#[derive(Debug, Default)]
pub(super) struct Warm(SyncMutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    by_names: HashMap<Names, (Slot, u64)>,
    turn: u64,
}

impl Warm {
    pub(super) fn slot(&self, names: &Names) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.turn += 1;
        let turn = slots.turn;
        if let Some((slot, used)) = slots.by_names.get_mut(names) {
            *used = turn;
            return Arc::clone(slot);
        }
        if slots.by_names.len() >= MOST {
            make_room(&mut slots.by_names);
        }
        let slot = Slot::default();
        slots.by_names.insert(names.clone(), (Arc::clone(&slot), turn));
        slot
    }

    pub(super) fn forget(&self, names: &Names) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_names.remove(names);
    }
}

/// Drops the half that was used longest ago, but none that somebody holds.
fn make_room(slots: &mut HashMap<Names, (Slot, u64)>) {
    let mut ages: Vec<u64> = slots.values().map(|(_, used)| *used).collect();
    ages.sort_unstable();
    let middle = ages.get(ages.len() / 2).copied().unwrap_or_default();
    slots.retain(|_, (slot, used)| *used >= middle || Arc::strong_count(slot) > 1);
}
