//! Connections with what runs by itself. A reload begins a new one, and lets the old one end what it has begun: each
//! instant runs once, whichever of them begins it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s3db::scheduler::SchedulerPlugin;
use s3db::state_machine::StateMachinePlugin;
use s3db::store::meter::Counters;
use s3db::{Database, Delivery, ErrorKind, Event, EventKind};

use super::tell;
use crate::context::{Context, Whole};
use crate::output::{Failure, Printer};

/// How long the runs of an older connection may take.
const OLD: Duration = Duration::from_secs(366 * 86_400);

/// The connection that runs now, and those that end.
#[derive(Default)]
pub(super) struct Generations {
    current: Arc<Seen>,
    old: Vec<Database>,
}

/// What can be seen from outside.
#[derive(Default)]
pub(super) struct Seen {
    db: Mutex<Option<Database>>,
    /// Requests of all connections.
    pub(super) requests: Arc<Counters>,
    operations: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Seen {
    /// The connection that runs now.
    pub(super) fn db(&self) -> Option<Database> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes of records by resource and kind.
    pub(super) fn operations(&self) -> BTreeMap<(String, &'static str), u64> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, event: &Event) {
        let kind = match event.kind {
            EventKind::Insert => "insert",
            EventKind::Update => "update",
            EventKind::Delete => "delete",
            _ => "content",
        };
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        *operations.entry((event.resource.clone(), kind)).or_default() += 1;
    }
}

/// What runs.
pub(super) struct Summary {
    pub(super) url: String,
    pub(super) jobs: Vec<s3db::scheduler::JobStatus>,
    pub(super) machines: usize,
}

impl Generations {
    /// The connection that runs now, for whoever looks at it from outside.
    pub(super) fn current(&self) -> Arc<Seen> {
        Arc::clone(&self.current)
    }

    /// Connects and begins; the one before ends.
    pub(super) async fn begin(&mut self, context: &mut Context, printer: Printer) -> Result<(), Failure> {
        let db = context.connect_counted(Whole::Started, Some(Arc::clone(&self.current.requests))).await?;
        let mut events = db.plugin::<SchedulerPlugin>()?.subscribe();
        tokio::spawn(async move {
            while let Some(delivery) = events.next().await {
                let told = match delivery {
                    Delivery::Event(event) => tell::event(printer, &event),
                    Delivery::Dropped(count) => tell::dropped(printer, count),
                };
                if told.is_err() {
                    return;
                }
            }
        });
        let (mut written, seen) = (db.events(), self.current());
        tokio::spawn(async move {
            while let Some(delivery) = written.next().await {
                if let Delivery::Event(event) = delivery {
                    seen.count(&event);
                }
            }
        });
        let before = self.current.db.lock().unwrap_or_else(PoisonError::into_inner).replace(db);
        if let Some(before) = before {
            let ending = before.clone();
            self.old.push(before);
            tokio::spawn(async move {
                if let Err(error) = ending.stop(OLD).await {
                    crate::output::note(&format!("warning: {error}"));
                }
            });
        }
        Ok(())
    }

    pub(super) async fn summary(&self) -> Result<Summary, Failure> {
        let Some(db) = self.current.db() else {
            return Err(Failure::Io { message: "nothing runs".into() });
        };
        let jobs = db.plugin::<SchedulerPlugin>()?.get_all_jobs_status().await?;
        let machines = db.plugin::<StateMachinePlugin>()?.get_machines().await?.len();
        Ok(Summary { url: db.location(), jobs, machines })
    }

    /// Ends all of them within the deadline.
    pub(super) async fn stop(self, deadline: Duration) -> Result<(), Failure> {
        let all: Vec<Database> = self.old.iter().cloned().chain(self.current.db()).collect();
        let stops = all.iter().map(|db| db.stop(deadline));
        for stopped in futures::future::join_all(stops).await {
            match stopped {
                Err(error) if error.kind() == ErrorKind::Busy => crate::output::note(&format!("warning: {error}")),
                other => other?,
            }
        }
        Ok(())
    }
}
