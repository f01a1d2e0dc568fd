//! What goes on beside the callers: the sweep every few seconds, and callbacks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::{Core, StateMachineEvent, SweepReport};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Delivery;

/// Sweeps that run at once: more only while actions take longer than the pause between two sweeps.
const TOGETHER: usize = 8;

pub(super) type Callback = Arc<dyn Fn(&StateMachineEvent) + Send + Sync>;

/// The functions to be called for events.
pub(super) struct Callbacks(Vec<Callback>);

impl Callbacks {
    pub(super) fn new(callbacks: Vec<Callback>) -> Self {
        Self(callbacks)
    }
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Callbacks({})", self.0.len())
    }
}

/// The sweep that runs in this process.
#[derive(Debug, Default)]
pub(super) struct Background(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Calls back for every event, in a task that ends with the plugin.
pub(super) fn call_back(core: &Arc<Core>) {
    if core.callbacks.0.is_empty() {
        return;
    }
    let callbacks = core.callbacks.0.clone();
    let metrics = core.metrics.dropped_events();
    let mut events = core.events.subscribe();
    drop(tokio::spawn(async move {
        while let Some(delivery) = events.next().await {
            match delivery {
                Delivery::Event(event) => callbacks.iter().for_each(|callback| call(callback, &event)),
                Delivery::Dropped(count) => {
                    metrics.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    }));
}

/// One that panics does not end the others.
fn call(callback: &Callback, event: &StateMachineEvent) {
    if catch_unwind(AssertUnwindSafe(|| callback(event))).is_err() {
        tracing::error!(target: "s3db::state_machine", "a callback panicked");
    }
}

/// Sweeps every few seconds until it is stopped or the plugin goes.
pub(super) fn start(core: &Arc<Core>) {
    let Some(interval) = core.options.sweep_interval else { return };
    let mut running = core.background.0.lock().unwrap_or_else(PoisonError::into_inner);
    if running.is_some() {
        return;
    }
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(sweep(Arc::downgrade(core), interval, stopped));
    *running = Some(Running { stop, task });
}

async fn sweep(core: Weak<Core>, interval: Duration, mut stopped: watch::Receiver<bool>) {
    let tell = |swept: Result<SweepReport>| {
        if let Err(error) = swept {
            // The next sweep may get through; what is due stays due.
            tracing::warn!(target: "s3db::state_machine", %error, "a sweep ended early");
        }
    };
    let stop = async move {
        // The plugin is gone if the sender is.
        let _told = stopped.changed().await;
    };
    sweep_every(core, interval, stop, tell).await;
}

/// Sweeps again and again until it is told to stop or the plugin goes, and ends what it has begun. One that
/// takes long does not hold up the next: what it works on is left alone by the others.
pub(super) async fn sweep_every(
    core: Weak<Core>,
    interval: Duration,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(Result<SweepReport>),
) {
    let mut stop = std::pin::pin!(stop);
    let mut running = JoinSet::new();
    loop {
        let Some(live) = core.upgrade() else { break };
        let Ok(clock) = live.db().map(|db| Arc::clone(&db.inner.clock)) else { break };
        if running.len() < TOGETHER {
            running.spawn(async move { live.sweep().await });
        } else {
            drop(live);
        }
        let mut pause = clock.sleep(interval);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => {
                    while let Some(swept) = running.join_next().await {
                        tell(told(swept));
                    }
                    return;
                }
                swept = ended(&mut running) => tell(told(swept)),
                () = &mut pause => break,
            }
        }
    }
}

/// The next sweep that ends; never, while none runs.
async fn ended(running: &mut JoinSet<Result<SweepReport>>) -> std::result::Result<Result<SweepReport>, JoinError> {
    match running.join_next().await {
        Some(swept) => swept,
        None => std::future::pending().await,
    }
}

fn told(swept: std::result::Result<Result<SweepReport>, JoinError>) -> Result<SweepReport> {
    swept.unwrap_or_else(|ended| Err(Error::new(ErrorKind::Internal, format!("a sweep ended: {ended}"))))
}

impl Background {
    /// Lets the sweep end what it has begun, within the deadline.
    pub(super) async fn stop(&self, core: &Core, deadline: Duration) -> Result<()> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(Running { stop, mut task }), Ok(db)) = (running, core.db()) else { return Ok(()) };
        // The task may have ended already.
        let _gone = stop.send(true);
        if let Either::Left((ended, _)) = select(&mut task, db.inner.clock.sleep(deadline)).await {
            return ended.map_err(|ended| Error::new(ErrorKind::Internal, format!("the sweep ended: {ended}")));
        }
        task.abort();
        let _cut_off = task.await;
        Err(Error::new(ErrorKind::Busy, format!("a sweep did not end within {deadline:?} and was cut off"))
            .guide("what it was doing is found by the next sweep, here or elsewhere"))
    }
}
