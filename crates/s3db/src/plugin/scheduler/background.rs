//! The loop of a process: it looks for what others have changed, and after each job when it is due.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::Core;
use super::definition::OnDeath;
use super::local::{Ask, Demand};
use super::status::RunStatus;
use crate::error::{Error, ErrorKind, Result};

/// Jobs that are looked after at once.
const TOGETHER: usize = 16;
/// The pause after a look that failed.
const AGAIN: Duration = Duration::from_secs(2);
/// Of a deadline, what is left for runs that are asked to end.
const LAST_PART: u32 = 4;
/// How long the rows of runs that were stopped may take beyond the deadline.
const ROWS: Duration = Duration::from_secs(2);

/// What goes on in this process.
#[derive(Debug, Default)]
pub(super) struct Background {
    running: Mutex<Option<Running>>,
    /// Jobs to be looked after at once.
    wanted: Mutex<HashSet<String>>,
    bell: Arc<Notify>,
    /// Whether no more runs are begun.
    closed: std::sync::atomic::AtomicBool,
}

#[derive(Debug)]
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Background {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, job: &str) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(job.to_owned());
        self.bell.notify_one();
    }

    fn take_wanted(&self) -> HashSet<String> {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// When each job is looked after next, by the monotonic clock.
#[derive(Debug, Default)]
struct Agenda {
    at: HashMap<String, Duration>,
    busy: HashSet<String>,
    /// Jobs that were wanted while they were looked after.
    again: HashSet<String>,
}

impl Agenda {
    fn want(&mut self, job: String, at: Duration) {
        if self.busy.contains(&job) {
            self.again.insert(job);
            return;
        }
        let entry = self.at.entry(job).or_insert(at);
        *entry = (*entry).min(at);
    }

    /// A job that is due and nobody looks after.
    fn take_due(&mut self, now: Duration) -> Option<String> {
        let due = self.at.iter().filter(|(_, at)| **at <= now).min_by_key(|(name, at)| (**at, (*name).clone()));
        let name = due.map(|(name, _)| name.clone())?;
        self.at.remove(&name);
        self.busy.insert(name.clone());
        Some(name)
    }

    fn done(&mut self, job: String, next: Option<Duration>, now: Duration) {
        self.busy.remove(&job);
        if self.again.remove(&job) {
            self.at.insert(job, now);
        } else if let Some(next) = next {
            self.want(job, next);
        }
    }

    fn next(&self) -> Option<Duration> {
        self.at.values().min().copied()
    }
}

/// Begins the loop, unless it runs.
pub(super) fn start(core: &Arc<Core>) {
    let mut running = core.background.lock();
    if running.is_some() {
        return;
    }
    core.background.closed.store(false, std::sync::atomic::Ordering::SeqCst);
    let (stop, stopped) = watch::channel(false);
    *running = Some(Running { stop, task: tokio::spawn(schedule(Arc::downgrade(core), stopped)) });
}

async fn schedule(core: Weak<Core>, mut stopped: watch::Receiver<bool>) {
    let mut agenda = Agenda::default();
    let mut looks: JoinSet<(String, Result<Option<i64>>)> = JoinSet::new();
    let mut poll_at = Duration::ZERO;
    loop {
        let Some(live) = core.upgrade() else { return };
        let now = live.monotonic();
        if now >= poll_at {
            let polled = live.poll(&mut agenda, now).await;
            live.metrics.polled(polled.is_ok(), live.now_ms());
            poll_at = now
                + match polled {
                    Ok(()) => live.settings.poll_interval,
                    Err(error) => {
                        tracing::warn!(target: "s3db::scheduler", %error, "the store could not be looked at for jobs");
                        AGAIN.min(live.settings.poll_interval)
                    }
                };
        }
        for job in live.background.take_wanted() {
            agenda.want(job, now);
        }
        while looks.len() < TOGETHER {
            let Some(job) = agenda.take_due(now) else { break };
            let worker = Arc::clone(&live);
            looks.spawn(async move {
                let next = worker.look_after(&job).await;
                (job, next)
            });
        }
        let Ok(db) = live.db() else { return };
        let clock = Arc::clone(&db.inner.clock);
        let until = match looks.len() < TOGETHER {
            true => agenda.next().unwrap_or(poll_at).min(poll_at),
            false => poll_at,
        };
        let bell = Arc::clone(&live.background.bell);
        // While it waits it keeps the plugin from nothing: when its program lets go of it, this ends.
        drop(live);
        let looked = tokio::select! {
            biased;
            _ = stopped.changed() => {
                // A claim that is being written is begun, and not left to be taken for dead.
                while looks.join_next().await.is_some() {}
                return;
            }
            Some(looked) = looks.join_next() => Some(looked),
            () = bell.notified() => None,
            () = clock.sleep(until.saturating_sub(now)) => None,
        };
        if let Some(looked) = looked {
            let Some(live) = core.upgrade() else { return };
            live.looked(&mut agenda, looked);
        }
    }
}

impl Core {
    /// Wants a job looked after soon.
    pub(super) fn wake(&self, job: &str) {
        self.background.want(job);
    }

    /// Looks at the store for what others have changed: one LIST, and a GET for each record that is not as it was.
    async fn poll(&self, agenda: &mut Agenda, now: Duration) -> Result<()> {
        let inner = &self.db()?.inner;
        inner.revalidate_catalog().await?;
        let listed = self.list_records().await?;
        let names: HashSet<String> = listed.iter().map(|(name, _)| name.clone()).collect();
        self.forget_cells(&names);
        for (name, etag) in listed {
            let cell = self.cell(&name);
            // One that is looked after is read by whoever does.
            if let Ok(mut cell) = cell.try_lock() {
                match &cell.seen {
                    Some(seen) if seen.etag == etag => self.confirm(&mut cell),
                    _ => cell.seen = None,
                }
                if cell.seen.is_none()
                    && let Err(error) = self.refresh(&name, &mut cell).await
                {
                    tracing::error!(target: "s3db::scheduler", %error, "job '{name}' is left out");
                    continue;
                }
            }
            agenda.want(name, now);
        }
        Ok(())
    }

    fn looked(
        &self,
        agenda: &mut Agenda,
        looked: std::result::Result<(String, Result<Option<i64>>), tokio::task::JoinError>,
    ) {
        let now = self.monotonic();
        match looked {
            Ok((job, Ok(next))) => {
                let next = next.map(|at_ms| now + self.wait_until(at_ms));
                agenda.done(job, next, now);
            }
            Ok((job, Err(error))) => {
                tracing::warn!(target: "s3db::scheduler", %error, "job '{job}' could not be looked after");
                agenda.done(job, Some(now + AGAIN), now);
            }
            Err(ended) => tracing::error!(target: "s3db::scheduler", "a job's look ended: {ended}"),
        }
    }

    /// Whether runs may begin: not while the database is paused, or this process stops.
    pub(super) fn may_start(&self) -> bool {
        !self.background.is_closed() && self.db().is_ok_and(|db| !db.inner.is_paused())
    }

    /// Begins no more runs, lets those that it has end, asks them to shortly before the deadline, and ends the rest.
    pub(super) async fn stop(&self, deadline: Duration) -> Result<()> {
        self.background.closed.store(true, std::sync::atomic::Ordering::SeqCst);
        let running = self.background.lock().take();
        if let Some(Running { stop, mut task }) = running {
            // The task may have ended already.
            let _gone = stop.send(true);
            if let Ok(db) = self.db()
                && let Either::Right(_) = select(&mut task, db.inner.clock.sleep(deadline.max(ROWS))).await
            {
                task.abort();
            }
        }
        let Ok(db) = self.db() else { return Ok(()) };
        let clock = &db.inner.clock;
        let last = deadline / LAST_PART;
        if self.drained(deadline - last).await {
            return Ok(());
        }
        let left = self.locals.running();
        self.ask_all(&left, Ask::Cancel);
        if !self.drained(last).await {
            self.ask_all(&left, Ask::Terminate);
            if !self.drained(ROWS).await {
                let left: Vec<String> = self.locals.running().into_iter().map(|(run, _)| run).collect();
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{} run(s) did not end within {deadline:?}: {}", left.len(), left.join(", ")),
                )
                .guide("others end them as interrupted when their heartbeat has stood still for 30 s"));
            }
        }
        clock.sleep(Duration::ZERO).await;
        Ok(())
    }

    fn ask_all(&self, runs: &[(String, String)], ask: Ask) {
        let reason = "its process was stopped".to_owned();
        for (run, job) in runs {
            // At least once: another process begins it again.
            let leave = self.compiled_before(job).is_some_and(|job| job.definition.on_death == OnDeath::Retry);
            self.locals.ask(run, Demand { ask, status: RunStatus::Interrupted, reason: reason.clone(), leave });
        }
    }

    /// Waits until no run is left, or the time is over; whether none is left.
    async fn drained(&self, within: Duration) -> bool {
        let Ok(db) = self.db() else { return true };
        let (begun, clock) = (self.monotonic(), &db.inner.clock);
        loop {
            if self.locals.running().is_empty() {
                return true;
            }
            let left = within.saturating_sub(self.monotonic().saturating_sub(begun));
            if left.is_zero() {
                return false;
            }
            clock.sleep(left.min(Duration::from_millis(20))).await;
        }
    }
}
