//! What a process counts of its machines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::send::Sent;
use super::sweep::SweepReport;
use super::{Core, StateMachinePlugin};
use crate::error::{Error, Result};

/// Different counts that are kept; what comes beyond is counted together.
const MOST: usize = 10_000;

/// What this process has counted since it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Sends and timers by what became of them.
    pub transitions: Vec<TransitionCount>,
    /// Attempts of actions that failed.
    pub action_errors: u64,
    /// Events that callbacks were too slow for.
    pub dropped_events: u64,
    /// Sweeps.
    pub sweeps: u64,
    /// Keys that the last sweep found due.
    pub due: u64,
    /// Entities that the last sweep could not look after.
    pub stuck: u64,
    /// How long the oldest unfinished actions that the last sweep saw are overdue, in milliseconds.
    pub outbox_age_ms: u64,
}

/// How often something became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionCount {
    /// The machine.
    pub machine: String,
    /// The state before; empty where it was refused.
    pub from: String,
    /// The state after; empty where it was refused.
    pub to: String,
    /// The event; `after` for timers.
    pub event: String,
    /// `ok`, `duplicate`, or the kind of the error.
    pub outcome: String,
    /// How often.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    transitions: Mutex<BTreeMap<[String; 5], u64>>,
    action_errors: AtomicU64,
    dropped_events: Arc<AtomicU64>,
    sweeps: AtomicU64,
    due: AtomicU64,
    stuck: AtomicU64,
    outbox_age_ms: AtomicU64,
}

impl Counters {
    pub(super) fn sent(&self, machine: &str, event: &str, sent: &Result<Sent>) {
        let (from, to, outcome) = match sent {
            Ok(sent) if sent.duplicate => (sent.from.clone(), sent.to.clone(), "duplicate".to_owned()),
            Ok(sent) => (sent.from.clone(), sent.to.clone(), "ok".to_owned()),
            Err(error) => (String::new(), String::new(), outcome(error)),
        };
        let mut counts = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = [machine.to_owned(), from, to, event.to_owned(), outcome];
        let known = counts.contains_key(&key) || counts.len() < MOST;
        let key = if known { key } else { ["other"; 5].map(str::to_owned) };
        *counts.entry(key).or_default() += 1;
    }

    pub(super) fn action_failed(&self) {
        self.action_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped_events(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped_events)
    }

    pub(super) fn swept(&self, report: &SweepReport, outbox_age_ms: i64) {
        self.outbox_age_ms.store(u64::try_from(outbox_age_ms).unwrap_or_default(), Ordering::Relaxed);
        self.sweeps.fetch_add(1, Ordering::Relaxed);
        self.due.store(report.due as u64, Ordering::Relaxed);
        self.stuck.store(report.failures as u64, Ordering::Relaxed);
    }
}

fn outcome(error: &Error) -> String {
    format!("{:?}", error.kind())
}

impl StateMachinePlugin {
    /// What this process has counted since it connected. Costs nothing.
    pub fn metrics(&self) -> Metrics {
        self.core.metrics()
    }
}

impl Core {
    fn metrics(&self) -> Metrics {
        let counters = &self.metrics;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = counters.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        let transitions = counts.iter().map(|([machine, from, to, event, outcome], count)| TransitionCount {
            machine: machine.clone(),
            from: from.clone(),
            to: to.clone(),
            event: event.clone(),
            outcome: outcome.clone(),
            count: *count,
        });
        Metrics {
            transitions: transitions.collect(),
            action_errors: load(&counters.action_errors),
            dropped_events: load(&counters.dropped_events),
            sweeps: load(&counters.sweeps),
            due: load(&counters.due),
            stuck: load(&counters.stuck),
            outbox_age_ms: load(&counters.outbox_age_ms),
        }
    }
}
