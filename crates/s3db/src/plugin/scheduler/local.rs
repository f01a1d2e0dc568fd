//! The runs that this process has.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::record::{Open, Outcome};
use super::status::RunStatus;

/// How hard a run is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// Not at all.
    Nothing,
    /// Its token is fired; it is dropped after a grace.
    Cancel,
    /// It is dropped at its next pause.
    Terminate,
}

/// Why a run is asked to end, and as what it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) ask: Ask,
    pub(super) status: RunStatus,
    pub(super) reason: String,
    /// Whether its row is left to whoever takes the run over.
    pub(super) leave: bool,
}

impl Demand {
    fn nothing() -> Self {
        Self { ask: Ask::Nothing, status: RunStatus::Success, reason: String::new(), leave: false }
    }
}

/// A run of this process.
#[derive(Debug)]
struct Local {
    job: String,
    fence: u64,
    demand: watch::Sender<Demand>,
    /// How it ended, once its row is written.
    ended: Option<Outcome>,
}

/// What is known of a run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Here {
    /// This process does not have it.
    No,
    /// It runs.
    Runs,
    /// It ended, and its row is written.
    Ended(Outcome),
}

/// The runs of this process by their ids.
#[derive(Debug, Default)]
pub(super) struct Locals(Mutex<HashMap<String, Local>>);

impl Locals {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Local>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run in; what it is asked comes by the receiver.
    pub(super) fn begin(&self, job: &str, open: &Open) -> watch::Receiver<Demand> {
        let (demand, asked) = watch::channel(Demand::nothing());
        let local = Local { job: job.to_owned(), fence: open.fence, demand, ended: None };
        self.lock().insert(open.run.clone(), local);
        asked
    }

    pub(super) fn look(&self, open: &Open) -> Here {
        match self.lock().get(&open.run) {
            Some(local) if local.fence == open.fence => match &local.ended {
                Some(outcome) => Here::Ended(outcome.clone()),
                None => Here::Runs,
            },
            _ => Here::No,
        }
    }

    pub(super) fn ended(&self, open: &Open, outcome: Outcome) {
        if let Some(local) = self.lock().get_mut(&open.run).filter(|local| local.fence == open.fence) {
            local.ended = Some(outcome);
        }
    }

    /// Forgets a run, whose end is in the record or left to others.
    pub(super) fn forget(&self, open: &Open) {
        let mut locals = self.lock();
        if locals.get(&open.run).is_some_and(|local| local.fence == open.fence) {
            locals.remove(&open.run);
        }
    }

    /// Forgets the ended runs of a job that its record does not hold any more.
    pub(super) fn forget_settled(&self, job: &str, open: &[Open]) {
        self.lock().retain(|run, local| {
            local.job != job || local.ended.is_none() || open.iter().any(|o| o.run == *run && o.fence == local.fence)
        });
    }

    /// Asks a run to end. One that was asked already is asked no less.
    pub(super) fn ask(&self, run: &str, demand: Demand) -> bool {
        let locals = self.lock();
        let Some(local) = locals.get(run).filter(|local| local.ended.is_none()) else { return false };
        local.demand.send_if_modified(|now| {
            let more = demand.ask > now.ask;
            if more {
                // The first reason stands.
                let reason = if now.ask == Ask::Nothing { demand.clone() } else { now.clone() };
                *now = Demand { ask: demand.ask, ..reason };
            }
            more
        });
        true
    }

    /// The runs that have not ended, with their jobs.
    pub(super) fn running(&self) -> Vec<(String, String)> {
        let locals = self.lock();
        locals.iter().filter(|(_, l)| l.ended.is_none()).map(|(run, l)| (run.clone(), l.job.clone())).collect()
    }
}
