//! Adding, removing, enabling and disabling jobs: changes of their records, which all processes see with their next look.
//!
//! Requests of each: a GET, and a PUT where something changes. A crash between them changes nothing.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::Value;

use super::context::{JobCall, JobFunction};
use super::definition::{JobDefinition, circles};
use super::events::SchedulerEvent;
use super::record::JobRecord;
use super::{Core, SchedulerPlugin};
use crate::error::{Error, Result};
use crate::plugin::problem::{Problem, invalid};

/// What became of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    New,
    Changed,
    Equal,
}

impl SchedulerPlugin {
    /// Adds a job whose action is data, or changes it. All processes see it within one look at the store. An equal one
    /// costs a GET and changes nothing; `false` then. Instants from now on count.
    ///
    /// # Errors
    /// `Invalid` with every problem, as when the plugin is built.
    pub async fn add_job(&self, job: JobDefinition) -> Result<bool> {
        if job.action.is_none() {
            let problem = Problem {
                path: format!("jobs.{}.action", job.name),
                message: "is missing: give an action, or use add_job_fn".into(),
            };
            return Err(invalid(&format!("job '{}'", job.name), &[problem]));
        }
        self.core.add(job).await
    }

    /// Adds a job whose action is a function of this process, or changes it.
    ///
    /// # Errors
    /// As [`SchedulerPlugin::add_job`].
    pub async fn add_job_fn<F, O, E>(&self, job: JobDefinition, function: F) -> Result<bool>
    where
        F: Fn(JobCall) -> O + Send + Sync + 'static,
        O: Future<Output = std::result::Result<Value, E>> + Send + 'static,
        E: Display,
    {
        self.core.register(&job.name, JobFunction::new(function));
        self.core.add(JobDefinition { action: None, ..job }).await
    }

    /// Adds several jobs whose actions are data, which may depend on each other: all of them are checked before the first
    /// is stored. Returns their names, each with whether anything was stored.
    ///
    /// # Errors
    /// As [`SchedulerPlugin::add_job`], with every problem of every job.
    pub async fn add_jobs(&self, jobs: Vec<JobDefinition>) -> Result<Vec<(String, bool)>> {
        let mut problems = Vec::new();
        let mut complete = Vec::new();
        for (at, job) in jobs.iter().enumerate() {
            if job.action.is_none() {
                let path = format!("jobs.{}.action", job.name);
                problems.push(Problem { path, message: "is missing: an object with a 'kind'".into() });
            }
            if jobs.iter().take(at).any(|other| other.name == job.name) {
                problems.push(Problem { path: format!("jobs.{}", job.name), message: "is there twice".into() });
            }
            match self.core.standard.try_compile(job.clone()) {
                Ok(compiled) => complete.push(compiled.definition),
                Err(found) => problems.extend(found),
            }
        }
        if !problems.is_empty() {
            return Err(invalid("the list of jobs", &problems));
        }
        self.core.check_dependencies(&complete).await?;
        let mut stored = Vec::new();
        for job in JobDefinition::in_order(complete) {
            stored.push((job.name.clone(), self.core.store(&job, true).await?));
            self.core.wake(&job.name);
        }
        Ok(stored)
    }

    /// Checks a job as [`SchedulerPlugin::add_job`] does, and stores nothing.
    ///
    /// # Errors
    /// As [`SchedulerPlugin::add_job`].
    pub fn validate_job(&self, job: JobDefinition) -> Result<()> {
        self.core.standard.compile(job).map(|_| ())
    }

    /// Removes a job; its history stays, and what it has begun ends. `false`: there was none.
    ///
    /// # Errors
    /// The record cannot be written.
    pub async fn remove_job(&self, name: &str) -> Result<bool> {
        let removed = self.core.alter(name, true, |record, _| {
            let was = !record.removed;
            record.removed = true;
            record.switch = None;
            record.buffer.clear();
            was
        });
        let removed = removed.await?;
        if removed {
            self.core.events.emit(|| SchedulerEvent::JobRemoved { job_name: name.to_owned() });
        }
        Ok(removed)
    }

    /// Switches a job on, for all processes, also for those whose file says otherwise. Instants from now on count.
    /// `false`: it was on.
    ///
    /// # Errors
    /// `NotFound`, with the jobs that there are.
    pub async fn enable_job(&self, name: &str) -> Result<bool> {
        self.switch(name, true).await
    }

    /// Switches a job off, for all processes, until it is switched on again; also for those whose file says
    /// otherwise. What it has begun ends. `false`: it was off.
    ///
    /// # Errors
    /// `NotFound`, with the jobs that there are.
    pub async fn disable_job(&self, name: &str) -> Result<bool> {
        self.switch(name, false).await
    }

    async fn switch(&self, name: &str, on: bool) -> Result<bool> {
        let core = &self.core;
        let changed = core.alter(name, false, |record, now_ms| {
            let file = record.definition.get("enabled").and_then(Value::as_bool).unwrap_or(true);
            let was = record.switch.unwrap_or(file);
            if record.switch == Some(on) {
                return false;
            }
            record.switch = Some(on);
            if on && !was {
                record.since_ms = now_ms;
            }
            if !on {
                record.buffer.clear();
            }
            was != on
        });
        let changed = changed.await?;
        let job_name = name.to_owned();
        if changed && on {
            core.events.emit(|| SchedulerEvent::JobEnabled { job_name });
        } else if changed {
            core.events.emit(|| SchedulerEvent::JobDisabled { job_name });
        }
        core.wake(name);
        Ok(changed)
    }
}

impl Core {
    async fn add(&self, job: JobDefinition) -> Result<bool> {
        let compiled = self.standard.compile(job)?;
        self.check_dependencies(std::slice::from_ref(&compiled.definition)).await?;
        let stored = self.store(&compiled.definition, true).await?;
        self.wake(&compiled.definition.name);
        Ok(stored)
    }

    /// Stores the jobs that this process was given. One that was removed stays so until its definition changes.
    pub(super) async fn store_given(&self) -> Result<()> {
        self.check_dependencies(&self.jobs).await?;
        for job in &self.jobs {
            if self.only_new && self.read_record(&job.name).await?.is_some() {
                continue;
            }
            self.store(job, false).await?;
        }
        Ok(())
    }

    /// Stores a definition; `false` if an equal one is there.
    async fn store(&self, job: &JobDefinition, revives: bool) -> Result<bool> {
        let now_ms = self.now_ms();
        let cell = self.cell(&job.name);
        let mut cell = cell.lock().await;
        cell.seen = None;
        let stored = self.change(&job.name, &mut cell, |record| Ok(stored(record, job, now_ms, revives)));
        let stored = stored.await?.unwrap_or(Stored::Equal);
        match stored {
            Stored::Equal => return Ok(false),
            Stored::New => self.tell(&format!("job '{}' is stored", job.name)),
            Stored::Changed => {
                tracing::warn!(target: "s3db::scheduler", "job '{}' was stored with another definition, which is replaced: all processes follow the new one", job.name);
            }
        }
        self.events.emit(|| SchedulerEvent::JobAdded { job_name: job.name.clone() });
        Ok(true)
    }

    /// Refuses dependencies on jobs that are not there, and those that lead back.
    async fn check_dependencies(&self, jobs: &[JobDefinition]) -> Result<()> {
        if jobs.iter().all(|job| job.depends_on.is_empty()) {
            return Ok(());
        }
        let mut all: BTreeMap<String, Vec<String>> =
            jobs.iter().map(|job| (job.name.clone(), job.depends_on.clone())).collect();
        for (name, _) in self.list_records().await? {
            let Some(seen) = self.read_record(&name).await?.filter(|seen| !seen.record.removed) else { continue };
            let depends_on = seen.record.definition.get("dependsOn").cloned().unwrap_or_default();
            all.entry(name).or_insert_with(|| serde_json::from_value(depends_on).unwrap_or_default());
        }
        let mut problems = circles(&all);
        let path = |job: &JobDefinition| format!("jobs.{}.dependsOn", job.name);
        problems.retain(|problem| jobs.iter().any(|job| problem.path == path(job)));
        for job in jobs {
            for other in job.depends_on.iter().filter(|other| !all.contains_key(*other)) {
                let known: Vec<&str> = all.keys().map(String::as_str).collect();
                let hint = s3db_format::error::did_you_mean(other, known.iter().copied());
                let hint = hint.unwrap_or_else(|| format!("jobs: {}", known.join(", ")));
                problems.push(Problem { path: path(job), message: format!("there is no job '{other}'; {hint}") });
            }
        }
        match (problems.is_empty(), jobs) {
            (true, _) => Ok(()),
            (false, [job]) => Err(invalid(&format!("job '{}'", job.name), &problems)),
            (false, _) => Err(invalid("the scheduler", &problems)),
        }
    }

    /// Changes the record of a job that is there.
    async fn alter(
        &self,
        name: &str,
        missing_is_fine: bool,
        change: impl Fn(&mut JobRecord, i64) -> bool,
    ) -> Result<bool> {
        s3db_format::keys::check_name("job", name)?;
        let now_ms = self.now_ms();
        let cell = self.cell(name);
        let mut cell = cell.lock().await;
        cell.seen = None;
        self.refresh(name, &mut cell).await?;
        let there = cell.seen.as_ref().is_some_and(|seen| !seen.record.removed);
        if !there && missing_is_fine {
            return Ok(false);
        }
        if !there {
            drop(cell);
            return Err(self.no_job(name).await);
        }
        let changed = self.change(name, &mut cell, |record| {
            let Some(before) = record else { return Ok(None) };
            let mut record = before.clone();
            let changed = change(&mut record, now_ms);
            Ok((record != *before).then_some((record, changed)))
        });
        Ok(changed.await?.unwrap_or_default())
    }

    /// The error of a job that is not there.
    pub(super) async fn no_job(&self, name: &str) -> Error {
        let names = match self.job_names().await {
            Ok(names) => names,
            Err(error) => return error,
        };
        let hint = s3db_format::error::did_you_mean(name, names.iter().map(String::as_str));
        let hint = hint.unwrap_or_else(|| match names.as_slice() {
            [] => "there are no jobs yet; write [jobs.NAME] in s3db.toml and run `s3db run`, or `s3db job add FILE`"
                .to_owned(),
            names => format!("jobs: {}", names.join(", ")),
        });
        Error::not_found("job", name).guide(hint)
    }

    /// The names of the jobs that there are, in order.
    pub(super) async fn job_names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, _) in self.list_records().await? {
            if self.read_record(&name).await?.is_some_and(|seen| !seen.record.removed) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The record of a job that is there.
    pub(super) async fn known_record(&self, name: &str) -> Result<JobRecord> {
        s3db_format::keys::check_name("job", name)?;
        match self.read_record(name).await? {
            Some(seen) if !seen.record.removed => Ok(seen.record),
            _ => Err(self.no_job(name).await),
        }
    }
}

/// A record with a definition; `None` if it has it.
fn stored(record: Option<&JobRecord>, job: &JobDefinition, now_ms: i64, revives: bool) -> Option<(JobRecord, Stored)> {
    let definition = job.to_json();
    let Some(before) = record else { return Some((JobRecord::new(&job.name, job, now_ms), Stored::New)) };
    if before.definition == definition && (!before.removed || !revives) {
        return None;
    }
    let mut next = before.clone();
    let schedule = |definition: &Value| ["schedule", "timezone", "dst"].map(|key| definition.get(key).cloned());
    let on = |definition: &Value| before.switch.or(definition.get("enabled").and_then(Value::as_bool)).unwrap_or(true);
    // Under another schedule, or while it was off, no instant was missed.
    if before.removed
        || schedule(&before.definition) != schedule(&definition)
        || (on(&definition) && !on(&before.definition))
    {
        next.since_ms = now_ms;
        next.buffer.clear();
    }
    next.definition = definition;
    let stored = if before.removed { Stored::New } else { Stored::Changed };
    next.removed = false;
    Some((next, stored))
}
