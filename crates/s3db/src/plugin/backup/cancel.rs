//! Ending a backup that runs, here or in another process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::progress::Tracker;
use super::rows::{BackupStatus, text};
use super::{BackupPlugin, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// How often a backup says how far it is, and sees whether another process wants it to end.
const BEAT: Duration = Duration::from_secs(4);
/// The phase that asks a backup to end.
const CANCELLING: &str = "cancelling";

/// The backups that run in this process.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashMap<String, watch::Sender<bool>>>);

/// Takes a backup out of those that run, also where its future is dropped.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    running: &'a Running,
    id: String,
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Running {
    /// Begins one; it is to end when the value is true.
    pub(super) fn begin(&self, id: &str) -> (watch::Receiver<bool>, Runs<'_>) {
        let (sender, receiver) = watch::channel(false);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), sender);
        (receiver, Runs { running: self, id: id.to_owned() })
    }

    /// Asks one to end; `false` if it does not run here.
    fn cancel(&self, id: &str) -> bool {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens once it has ended.
        running.get(id).is_some_and(|sender| sender.send(true).is_ok())
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl BackupPlugin {
    /// Ends a backup that runs: in this process within a second, in another within five. Costs up to 4 requests.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it runs no more.
    pub async fn cancel(&self, id: &str) -> Result<()> {
        let core = &self.core;
        if core.running.cancel(id) {
            return Ok(());
        }
        let rows = core.rows().await?.ok_or_else(|| Error::not_found("backup", id))?;
        let row = match rows.get(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::not_found("backup", id).guide("`s3db backup list` shows those that there are"));
            }
            row => row?,
        };
        let status = text(&row.attributes, "status");
        if status != BackupStatus::InProgress.as_str() || !core.is_running(id).await? {
            let now = if status == BackupStatus::InProgress.as_str() { "was cut off" } else { status };
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("backup '{id}' runs no more: it {now}", now = says(now)),
            )
            .guide(
                "a complete one is removed by `s3db backup delete`; one that was cut off by `s3db backup cleanup`",
            ));
        }
        rows.update(id, json!({ "phase": CANCELLING })).await.map(drop)
    }
}

fn says(status: &str) -> String {
    if status.starts_with("was") { status.to_owned() } else { format!("is {status}") }
}

impl BackupPlugin {
    /// Ends every backup that runs in this process, within a second.
    pub fn cancel_all(&self) {
        for id in self.core.running.ids() {
            self.core.running.cancel(&id);
        }
    }
}

impl Core {
    /// Says how far a backup is, until another process asks it to end.
    pub(super) async fn beat(&self, rows: &Resource, id: &str, tracker: &Tracker<'_>) {
        let Ok(db) = self.db() else { return std::future::pending().await };
        loop {
            db.inner.clock.sleep(BEAT).await;
            match rows.get(id).await {
                Ok(row) if text(&row.attributes, "phase") == CANCELLING => return,
                Ok(_) => {
                    let progress = tracker.now();
                    let change = json!({
                        "phase": progress.phase,
                        "counts": { "objects": progress.objects, "bytes": progress.bytes, "total": progress.total, "eta": progress.eta },
                        "duration": u64::try_from(tracker.elapsed().as_millis()).unwrap_or(u64::MAX),
                    });
                    self.note(rows, id, change).await;
                }
                Err(error) => tracing::warn!(target: "s3db::backup", %error, "the row of backup '{id}' cannot be read"),
            }
        }
    }

    /// Ends what runs in this process, within the deadline.
    pub(super) async fn stop(&self, deadline: Duration) -> Result<()> {
        let Ok(db) = self.db() else { return Ok(()) };
        for id in self.running.ids() {
            self.running.cancel(&id);
        }
        let until = db.inner.clock.monotonic() + deadline;
        loop {
            let left = self.running.ids();
            if left.is_empty() {
                return Ok(());
            }
            if db.inner.clock.monotonic() >= until {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("backup {} did not end within {deadline:?}", left.join(", ")),
                )
                .guide("what it left is marked, and swept by the next backup"));
            }
            db.inner.clock.sleep(Duration::from_millis(20)).await;
        }
    }
}
