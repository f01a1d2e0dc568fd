//! Events of this process: what was written, with the record before and after; and the queues by which
//! plugins tell theirs.

use serde_json::{Map, Value};
use tokio::sync::broadcast;

/// Events that wait for a slow listener before the oldest are dropped.
const QUEUE: usize = 1024;

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// It was inserted.
    Insert,
    /// It was changed.
    Update,
    /// It was deleted.
    Delete,
    /// Its content was set or deleted.
    Content,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The resource.
    pub resource: String,
    /// The record's id.
    pub id: String,
    /// The record before, where there was one.
    pub before: Option<Map<String, Value>>,
    /// The record after, where there is one.
    pub after: Option<Map<String, Value>>,
}

/// A listener's end of a queue of events. A listener that falls behind never blocks a writer: the oldest
/// events are dropped, and their number is told.
#[derive(Debug)]
pub struct Events<T = Event>(broadcast::Receiver<T>);

/// What a listener gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery<T = Event> {
    /// The next event.
    Event(Box<T>),
    /// This many events were dropped because the listener was slow.
    Dropped(u64),
}

impl<T: Clone> Events<T> {
    /// Waits for the next event; `None` when the database is closed.
    pub async fn next(&mut self) -> Option<Delivery<T>> {
        match self.0.recv().await {
            Ok(event) => Some(Delivery::Event(Box::new(event))),
            Err(broadcast::error::RecvError::Lagged(dropped)) => Some(Delivery::Dropped(dropped)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event that is there already; `None` if there is none now.
    pub fn try_next(&mut self) -> Option<Delivery<T>> {
        match self.0.try_recv() {
            Ok(event) => Some(Delivery::Event(Box::new(event))),
            Err(broadcast::error::TryRecvError::Lagged(dropped)) => Some(Delivery::Dropped(dropped)),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sender<T = Event>(broadcast::Sender<T>);

impl<T: Clone> Sender<T> {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(QUEUE).0)
    }

    pub(crate) fn subscribe(&self) -> Events<T> {
        Events(self.0.subscribe())
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> T) {
        if self.0.receiver_count() > 0 {
            // An error says that the last listener has just left.
            let _no_listener = self.0.send(event());
        }
    }
}
