//! What is known of jobs, from storage.

use serde::Serialize;
use serde_json::{Map, Value};

use super::SchedulerPlugin;
use super::cron::Cron;
use super::decide::{due_ms, note_outcome};
use super::definition::JobDefinition;
use super::record::{JobRecord, LastRun, Totals, Trigger};
use super::status::RunStatus;
use crate::error::{Error, ErrorKind, Result};

/// Next runs that are shown at most.
const MOST_RUNS: usize = 10_000;

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// Its cron expression.
    pub schedule: String,
    /// The zone of the schedule.
    pub timezone: String,
    /// What it does: a kind, or `function`.
    pub action: String,
    /// When the last run ended began, RFC 3339.
    pub last_run: Option<String>,
    /// How it ended.
    pub last_status: Option<RunStatus>,
    /// When the last success ended, RFC 3339.
    pub last_success: Option<String>,
    /// When the next run is planned, RFC 3339; nothing while it is off, or will never run again.
    pub next_run: Option<String>,
    /// Runs under way.
    pub running: Vec<RunningJob>,
    /// Instants that wait for a run to end, RFC 3339.
    pub waiting: Vec<String>,
    /// How often runs ended how since the job was first stored.
    pub statistics: Totals,
    /// The job's `meta`.
    pub meta: Map<String, Value>,
    /// The whole definition.
    pub definition: Value,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningJob {
    /// The run.
    pub run_id: String,
    /// Why it began.
    pub trigger: Trigger,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// The process that has it.
    pub owner: String,
    /// When its process last said that it lives, RFC 3339.
    pub heartbeat_at: String,
    /// Whether it is asked to end.
    pub cancel_requested: bool,
}

impl SchedulerPlugin {
    /// A job as it stands in the store. Costs a GET, and one for each run that is not known to have ended.
    ///
    /// # Errors
    /// `NotFound`, with the jobs that there are.
    pub async fn get_job_status(&self, name: &str) -> Result<JobStatus> {
        let record = self.core.known_record(name).await?;
        self.view(record).await
    }

    /// All jobs as they stand in the store, by name. Costs a LIST, and what each one costs.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get_all_jobs_status(&self) -> Result<Vec<JobStatus>> {
        let mut all = Vec::new();
        for (name, _) in self.core.list_records().await? {
            if let Some(seen) = self.core.read_record(&name).await?.filter(|seen| !seen.record.removed) {
                all.push(self.view(seen.record).await?);
            }
        }
        all.sort_by(|a: &JobStatus, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The definition of a job, as it is stored.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_job(&self, name: &str) -> Result<JobDefinition> {
        let record = self.core.known_record(name).await?;
        JobDefinition::from_json(name, &record.definition)
    }

    /// The next planned instants of a job from now on, RFC 3339. Costs a GET.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn next_runs(&self, name: &str, n: usize) -> Result<Vec<String>> {
        let record = self.core.known_record(name).await?;
        let (_, cron) = read(&record)?;
        let after = self.core.now_ms().max(record.decided_ms());
        Ok(cron.iter_after(after).take(n.min(MOST_RUNS)).map(s3db_format::date::rfc3339).collect())
    }

    /// An expression in words, with its next runs and what a change of the clock does to it. Costs nothing.
    ///
    /// # Errors
    /// `Invalid`, naming the field and the column, or the zone.
    pub fn explain(&self, expression: &str, zone: &str) -> Result<super::Explanation> {
        Ok(Cron::parse(expression, zone, self.core.standard.dst)?.explain(self.core.now_ms(), 5))
    }

    async fn view(&self, mut record: JobRecord) -> Result<JobStatus> {
        let (definition, cron) = read(&record)?;
        let mut running = Vec::new();
        for open in record.open.clone() {
            if open.note.is_some() {
                record.settle(&open, &note_outcome(&open));
                continue;
            }
            let row = if open.unlogged { None } else { self.core.find_row(&open.run).await? };
            match row.and_then(|row| row.outcome()).filter(|o| !open.has_row || o.status.is_of_a_run()) {
                Some(outcome) => record.settle(&open, &outcome),
                None => running.push(RunningJob {
                    run_id: open.run.clone(),
                    trigger: open.trigger,
                    started_at: s3db_format::date::rfc3339(open.started_ms),
                    owner: open.owner.clone(),
                    heartbeat_at: s3db_format::date::rfc3339(open.beat_ms),
                    cancel_requested: open.cancel_requested,
                }),
            }
        }
        let enabled = record.is_enabled(&definition);
        let next = cron.next_after(self.core.now_ms().max(record.decided_ms())).filter(|_| enabled);
        let last =
            |read: fn(&LastRun) -> i64| record.last_run.as_ref().map(|last| s3db_format::date::rfc3339(read(last)));
        Ok(JobStatus {
            name: record.name.clone(),
            description: definition.description.clone(),
            enabled,
            schedule: definition.schedule.clone(),
            timezone: cron.zone().to_owned(),
            action: definition.action.as_ref().map_or("function", |action| action.kind()).to_owned(),
            last_run: last(|last| last.outcome.start_ms),
            last_status: record.last_run.as_ref().map(|last| last.outcome.status),
            last_success: record.last_success_ms.map(s3db_format::date::rfc3339),
            next_run: next.map(|planned| s3db_format::date::rfc3339(due_ms(&definition, planned))),
            running,
            waiting: record.buffer.iter().map(|ms| s3db_format::date::rfc3339(*ms)).collect(),
            statistics: record.totals.clone(),
            meta: definition.meta.clone(),
            definition: record.definition.clone(),
        })
    }
}

/// The definition and its schedule, also where this process could not run the action.
pub(super) fn read(record: &JobRecord) -> Result<(JobDefinition, Cron)> {
    let definition = JobDefinition::from_json(&record.name, &record.definition)?;
    let zone = definition.timezone.clone().ok_or_else(|| {
        Error::new(ErrorKind::Integrity, format!("the stored job '{}' names no zone", record.name))
            .guide("add the job again")
    })?;
    let cron = Cron::parse(&definition.schedule, &zone, definition.dst.unwrap_or_default())?;
    Ok((definition, cron))
}
