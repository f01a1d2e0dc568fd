//! Events of this process: what was written, with the record before and after.

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

/// A listener's end of the queue. A listener that falls behind never blocks a writer: the oldest
/// events are dropped, and their number is told.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

/// What a listener gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The next event.
    Event(Box<Event>),
    /// This many events were dropped because the listener was slow.
    Dropped(u64),
}

impl Events {
    /// Waits for the next event; `None` when the database is closed.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self.0.recv().await {
            Ok(event) => Some(Delivery::Event(Box::new(event))),
            Err(broadcast::error::RecvError::Lagged(dropped)) => Some(Delivery::Dropped(dropped)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sender(broadcast::Sender<Event>);

impl Sender {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(QUEUE).0)
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events(self.0.subscribe())
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 {
            // An error says that the last listener has just left.
            let _no_listener = self.0.send(event());
        }
    }
}
