//! `verify`: the log replayed must lead to the stored state.

use serde::Serialize;

use super::definition::{BASELINE, MIGRATE, TIMER_PREFIX};
use super::ids::Names;
use super::log::{HistoryRow, Log};
use super::machine::Machine;
use super::warm::Seen;
use super::{Core, StateMachinePlugin};
use crate::error::Result;

/// Rows that are held at once.
const CHUNK: u64 = 512;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// The machine.
    pub machine: String,
    /// The entity.
    pub entity: String,
    /// Whether the log leads to the stored state.
    pub valid: bool,
    /// The stored state.
    pub state: String,
    /// The stored version.
    pub version: u64,
    /// Log rows that were replayed.
    pub rows: u64,
    /// Where log and state part.
    pub drift: Vec<Drift>,
}

/// A place where log and state part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The version.
    pub version: u64,
    /// What is wrong.
    pub problem: String,
}

impl StateMachinePlugin {
    /// Replays the log of an entity and compares: every version has one row, each begins in the state where
    /// the one before ended and is a transition of the definition that it names, and the last leads to the
    /// stored state. Costs a GET for the entity and one for each row, and one for
    /// where the log begins.
    ///
    /// # Errors
    /// `NotFound`. Drift is in the report, not an error.
    pub async fn verify(&self, machine: &str, entity: &str) -> Result<VerifyReport> {
        self.core.verify(&Names::new(machine, entity)?).await
    }
}

impl Core {
    pub(super) async fn verify(&self, names: &Names) -> Result<VerifyReport> {
        let seen = self.load_known(names).await?;
        let entity = &seen.entity;
        let version = entity.version.unwrap_or_default();
        let mut report = VerifyReport {
            machine: names.machine.clone(),
            entity: names.entity.clone(),
            valid: true,
            state: entity.state.clone(),
            version,
            rows: 0,
            drift: Vec::new(),
        };
        self.verify_final(&seen, &mut report).await?;
        if self.options.persist_transitions && entity.version.is_some() {
            self.replay(names, &seen, &mut report).await?;
        }
        report.valid = report.drift.is_empty();
        Ok(report)
    }

    /// The state exists in the definition, and `done` says whether it is final.
    async fn verify_final(&self, seen: &Seen, report: &mut VerifyReport) -> Result<()> {
        let entity = &seen.entity;
        let machine = self.machine_of(entity).await?;
        let Some(state) = machine.state(&entity.state) else {
            report.add(format!("the definition has no state '{}'", entity.state));
            return Ok(());
        };
        if entity.version.is_some() && machine.is_final(state) != entity.done {
            report.add(format!("'done' is {}, which does not fit state '{}'", entity.done, entity.state));
        }
        Ok(())
    }

    async fn replay(&self, names: &Names, seen: &Seen, report: &mut VerifyReport) -> Result<()> {
        let version = report.version;
        let resource = self.log().await?;
        let log = resource.as_ref().map(|resource| Log { resource, names, row: seen.snapshot.id() });
        let mut state = self.beginning(log.as_ref(), seen).await?;
        let mut next = 1;
        while next <= version {
            let end = version.min(next + CHUNK - 1);
            let versions: Vec<u64> = (next..=end).collect();
            let found = match &log {
                Some(log) => futures::future::try_join_all(versions.iter().map(|v| log.read(*v))).await?,
                None => versions.iter().map(|_| None).collect(),
            };
            for (version, row) in versions.into_iter().zip(found) {
                state = self.step(names, seen, version, row, state, report).await?;
            }
            next = end + 1;
        }
        if let Some(state) = state.filter(|state| *state != report.state) {
            report.add(format!("the log leads to '{state}', stored is '{}'", report.state));
        }
        Ok(())
    }

    /// The state in which the log begins; `None` where nothing says it.
    async fn beginning(&self, log: Option<&Log<'_>>, seen: &Seen) -> Result<Option<String>> {
        if let Some(log) = log
            && let Some(row) = log.read(0).await?.filter(|row| row.event == BASELINE)
        {
            return Ok(Some(row.to));
        }
        if seen.entity.version == Some(0) {
            return Ok(Some(seen.entity.state.clone()));
        }
        Ok(None)
    }

    /// Replays one row; returns the state after it.
    async fn step(
        &self,
        names: &Names,
        seen: &Seen,
        version: u64,
        row: Option<HistoryRow>,
        before: Option<String>,
        report: &mut VerifyReport,
    ) -> Result<Option<String>> {
        let carried = seen.entity.outbox.transition.as_ref().filter(|t| t.version == version);
        let row = match (row, carried) {
            (Some(row), Some(carried)) if row.transition_id.as_deref() != Some(carried.transition_id.as_str()) => {
                report.at(version, "the log row is of another transition than the stored one, as after a restore");
                HistoryRow::of(carried, &seen.entity)
            }
            (Some(row), _) => row,
            // A crash may have come between the state and its row; the next sender writes it.
            (None, Some(carried)) => HistoryRow::of(carried, &seen.entity),
            (None, None) => {
                report.at(version, "the log row is missing");
                return Ok(None);
            }
        };
        report.rows += 1;
        if let Some(before) = before.as_ref().filter(|before| **before != row.from) {
            report.at(version, format!("begins in '{}', the one before ended in '{before}'", row.from));
        }
        let hash = row.definition.clone().or_else(|| seen.entity.definition.clone());
        let machine = match hash {
            Some(hash) => self.machine(&names.machine, &hash).await?,
            None => self.current(&names.machine).await?,
        };
        if version == 1 && before.is_none() && row.event != MIGRATE {
            let initial = machine.state_name(machine.initial());
            if initial != row.from {
                report.at(version, format!("begins in '{}', which is not the initial state '{initial}'", row.from));
            }
        }
        if row.event != MIGRATE && !leads(&machine, &row) {
            report.at(
                version,
                format!("the definition has no transition from '{}' to '{}' by '{}'", row.from, row.to, row.event),
            );
        }
        Ok(Some(row.to))
    }
}

/// Whether a machine has the transition of a row.
fn leads(machine: &Machine, row: &HistoryRow) -> bool {
    let Some((from, to)) = machine.state(&row.from).zip(machine.state(&row.to)) else { return false };
    let candidates = match row.event.strip_prefix(TIMER_PREFIX) {
        Some(after) => machine.timer(from, after).map(|timer| timer.candidates.as_slice()),
        None => machine.candidates(from, &row.event),
    };
    candidates.is_some_and(|candidates| candidates.iter().any(|candidate| candidate.target == to))
}

impl VerifyReport {
    fn add(&mut self, problem: impl Into<String>) {
        self.at(self.version, problem);
    }

    fn at(&mut self, version: u64, problem: impl Into<String>) {
        self.drift.push(Drift { version, problem: problem.into() });
    }
}
