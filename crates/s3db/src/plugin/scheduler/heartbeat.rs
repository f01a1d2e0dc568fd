//! Heartbeats: a run that lives says so every ten seconds, and hears whether it shall end.
//!
//! A run whose process has not reached the store for twenty seconds is asked to end, and dropped eight seconds later:
//! before anyone else may take it for dead.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use super::Core;
use super::cell::HEARTBEAT;
use super::definition::OnDeath;
use super::local::{Ask, Demand};
use super::record::Open;
use super::status::RunStatus;
use crate::error::Result;

/// How long a run goes on without a heartbeat that is known to have landed.
const SILENCE: Duration = Duration::from_secs(20);
/// How long it then has to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(8);
/// The pause after a heartbeat that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What a heartbeat brings back.
enum Heard {
    Nothing,
    Cancel,
    Terminate,
    /// The run is not this process's any more.
    Lost,
}

impl Core {
    /// Sends heartbeats until the task is stopped or the run is lost.
    pub(super) async fn keep_beating(self: Arc<Self>, job: String, open: Open, claimed: Duration) {
        let Ok(db) = self.db() else { return };
        let clock = Arc::clone(&db.inner.clock);
        let mut confirmed = claimed;
        let mut pause = HEARTBEAT;
        loop {
            clock.sleep(pause).await;
            let sent = self.monotonic();
            let silent = clock.sleep((confirmed + SILENCE).saturating_sub(sent));
            let beat = std::pin::pin!(self.beat(&job, &open));
            let heard = match select(beat, silent).await {
                Either::Left((heard, _)) => heard,
                Either::Right(((), beat)) => {
                    self.locals.ask(&open.run, self.out_of_touch(&job, Ask::Cancel));
                    match select(beat, clock.sleep(LAST_WORDS)).await {
                        Either::Left((heard, _)) => heard,
                        Either::Right(_) => {
                            self.locals.ask(&open.run, self.out_of_touch(&job, Ask::Terminate));
                            return;
                        }
                    }
                }
            };
            pause = HEARTBEAT;
            match heard {
                Ok(Heard::Lost) => {
                    let reason = "another process has ended it or taken it over".to_owned();
                    let demand = Demand { ask: Ask::Terminate, status: RunStatus::Interrupted, reason, leave: false };
                    self.locals.ask(&open.run, demand);
                    return;
                }
                Ok(heard) => {
                    confirmed = sent;
                    self.obey(&open, &heard);
                }
                Err(error) => {
                    tracing::warn!(target: "s3db::scheduler", %error, "a heartbeat of run {} failed", open.run);
                    pause = AGAIN;
                }
            }
        }
    }

    fn obey(&self, open: &Open, heard: &Heard) {
        let ask = match heard {
            Heard::Cancel => Ask::Cancel,
            Heard::Terminate => Ask::Terminate,
            Heard::Nothing | Heard::Lost => return,
        };
        self.locals.ask(&open.run, cancelled(ask));
    }

    fn out_of_touch(&self, job: &str, ask: Ask) -> Demand {
        let retries = self.compiled_before(job).is_some_and(|job| job.definition.on_death == OnDeath::Retry);
        let reason = format!("the store could not be reached for {} s", SILENCE.as_secs());
        Demand { ask, status: RunStatus::Interrupted, reason, leave: retries }
    }

    async fn beat(&self, job: &str, open: &Open) -> Result<Heard> {
        let cell = self.cell(job);
        let mut cell = cell.lock().await;
        let now_ms = self.now_ms();
        let heard = self.change(job, &mut cell, |record| {
            let Some(mut record) = record.cloned() else { return Ok(None) };
            let Some(mine) = record.open.iter_mut().find(|o| o.run == open.run && o.fence == open.fence) else {
                return Ok(None);
            };
            mine.beat += 1;
            mine.beat_ms = now_ms;
            let heard = match (mine.terminate_requested, mine.cancel_requested) {
                (true, _) => Heard::Terminate,
                (false, true) => Heard::Cancel,
                (false, false) => Heard::Nothing,
            };
            Ok(Some((record, heard)))
        });
        Ok(heard.await?.unwrap_or(Heard::Lost))
    }
}

/// What a run is asked by whoever cancels it.
pub(super) fn cancelled(ask: Ask) -> Demand {
    let reason = match ask {
        Ask::Terminate => "it was ended for a later instant",
        _ => "it was cancelled",
    };
    Demand { ask, status: RunStatus::Cancelled, reason: reason.to_owned(), leave: false }
}
