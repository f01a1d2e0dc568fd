//! One attempt of a run: in a thread of its own where the runtime has several, so that one that panics, spins or never
//! ends harms neither the scheduler nor another job.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable};
use s3db_store::clock::Clock;
use serde_json::Value;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{oneshot, watch};

use super::local::{Ask, Demand};
use super::status::RunStatus;

/// How long a function that is asked to end has before it is dropped. What is data does not listen, and has none.
pub(super) const GRACE: Duration = Duration::from_secs(10);

type Returned = Result<Value, String>;

/// How an attempt ended.
pub(super) struct AttemptEnd {
    pub(super) status: RunStatus,
    pub(super) returned: Returned,
}

/// Work under way.
struct Launched {
    returned: oneshot::Receiver<Returned>,
    abort: AbortHandle,
}

/// Begins work on its own thread; on a runtime of one thread beside the others.
fn launch(work: impl Future<Output = Returned> + Send + 'static) -> Launched {
    let (abort, registration) = AbortHandle::new_pair();
    let (send, returned) = oneshot::channel();
    let guarded = async move {
        let caught = AssertUnwindSafe(Abortable::new(work, registration)).catch_unwind().await;
        let outcome = match caught {
            Ok(Ok(returned)) => returned,
            Ok(Err(_aborted)) => Err("it was stopped".to_owned()),
            Err(panic) => Err(told(&*panic)),
        };
        // Nobody waits any more where the scheduler is gone.
        let _gone = send.send(outcome);
    };
    let handle = Handle::current();
    if handle.runtime_flavor() == RuntimeFlavor::CurrentThread {
        drop(tokio::spawn(guarded));
    } else {
        let thread = std::thread::Builder::new().name("s3db-job".into());
        // Where no thread can be had it is dropped, which is told as a failure.
        let _started = thread.spawn(move || handle.block_on(guarded));
    }
    Launched { returned, abort }
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "it panicked".into(), |text| format!("it panicked: {text}"))
}

/// Runs an attempt to its end, which is not before its work has ended: no other may begin meanwhile.
pub(super) async fn run(
    clock: &dyn Clock,
    timeout: Option<Duration>,
    mut demands: watch::Receiver<Demand>,
    cancel: &watch::Sender<bool>,
    patience: Duration,
    work: impl Future<Output = Returned> + Send + 'static,
) -> AttemptEnd {
    let Launched { mut returned, abort } = launch(work);
    let _stopped_with_us = AbortOnDrop(abort.clone());
    let mut asked: Option<Demand> = None;
    let mut timed_out = false;
    let mut limit = timeout.map(|timeout| clock.sleep(timeout));
    let mut grace = None;
    loop {
        let pressed = async {
            let seen = asked.as_ref().map_or(Ask::Nothing, |demand| demand.ask);
            let more = demands.wait_for(|demand| demand.ask > seen).await.map(|demand| demand.clone());
            match more {
                Ok(demand) => demand,
                Err(_gone) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = &mut returned => {
                let returned = ended.unwrap_or_else(|_| Err("it could not be started, or its thread ended".into()));
                return conclude(returned, timed_out.then_some(timeout).flatten(), asked);
            }
            demand = pressed => {
                cancel.send_replace(true);
                match demand.ask {
                    Ask::Terminate => abort.abort(),
                    _ => grace = Some(clock.sleep(patience)),
                }
                asked = Some(demand);
            }
            () = or_never(&mut limit) => {
                limit = None;
                timed_out = true;
                cancel.send_replace(true);
                grace = Some(clock.sleep(patience));
            }
            () = or_never(&mut grace) => {
                grace = None;
                abort.abort();
            }
        }
    }
}

async fn or_never(pause: &mut Option<s3db_store::clock::Sleep<'_>>) {
    match pause {
        Some(pause) => pause.await,
        None => std::future::pending().await,
    }
}

fn conclude(returned: Returned, timeout: Option<Duration>, asked: Option<Demand>) -> AttemptEnd {
    if let Some(timeout) = timeout {
        let returned = Err(format!("it did not end within {timeout:?}"));
        return AttemptEnd { status: RunStatus::Timeout, returned };
    }
    match (returned, asked) {
        // What has been done has been done, also by a run that was asked to end.
        (Ok(result), _) => AttemptEnd { status: RunStatus::Success, returned: Ok(result) },
        (Err(why), Some(demand)) => AttemptEnd { status: demand.status, returned: Err(why) },
        (Err(why), None) => AttemptEnd { status: RunStatus::Error, returned: Err(why) },
    }
}

/// Stops work whose run is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
