//! Building the plugin: settings, jobs, functions, callbacks.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::context::{JobCall, JobContext, JobFunction};
use super::cron::{Dst, time_zone};
use super::definition::{JobDefinition, Standard, circles};
use super::events::Callbacks;
use super::settings::{HistoryRetention, MOST_POLL, SchedulerSettings};
use super::{Core, SchedulerPlugin};
use crate::config::DurationSetting;
use crate::error::Result;
use crate::events::Sender;
use crate::plugin::problem::{Problems, invalid};

/// Attempts after the first at most.
const MOST_RETRIES: u32 = 100;

/// Builds a [`SchedulerPlugin`].
#[derive(Default)]
pub struct SchedulerBuilder {
    settings: SchedulerSettings,
    pub(super) jobs: Vec<(JobDefinition, Option<JobFunction>)>,
    callbacks: Callbacks,
    allow_exec: bool,
    folder: Option<PathBuf>,
    only_new: bool,
}

impl std::fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchedulerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl SchedulerBuilder {
    /// Takes settings, in place of all that were made before.
    #[must_use]
    pub fn settings(mut self, settings: SchedulerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a job whose action is data. It is stored when the database connects.
    #[must_use]
    pub fn job(mut self, job: JobDefinition) -> Self {
        self.jobs.push((job, None));
        self
    }

    /// Adds a job whose action is a function. Only processes that have it run it.
    #[must_use]
    pub fn job_fn<F, O, E>(mut self, job: JobDefinition, function: F) -> Self
    where
        F: Fn(JobCall) -> O + Send + Sync + 'static,
        O: Future<Output = std::result::Result<Value, E>> + Send + 'static,
        E: Display,
    {
        self.jobs.push((JobDefinition { action: None, ..job }, Some(JobFunction::new(function))));
        self
    }

    /// Calls a function when a run begins. It holds the run up, so it should be short.
    #[must_use]
    pub fn on_job_start(mut self, callback: impl Fn(&str, &JobContext) + Send + Sync + 'static) -> Self {
        self.callbacks.start.push(Arc::new(callback));
        self
    }

    /// Calls a function when a run has succeeded, with its result and how long it took.
    #[must_use]
    pub fn on_job_complete(mut self, callback: impl Fn(&str, &Value, Duration) + Send + Sync + 'static) -> Self {
        self.callbacks.complete.push(Arc::new(callback));
        self
    }

    /// Calls a function for every attempt that failed, with why and which attempt it was, from 1.
    #[must_use]
    pub fn on_job_error(mut self, callback: impl Fn(&str, &str, u32) + Send + Sync + 'static) -> Self {
        self.callbacks.error.push(Arc::new(callback));
        self
    }

    /// The zone of schedules that name none. The default is `UTC`.
    #[must_use]
    pub fn timezone(mut self, zone: impl Into<String>) -> Self {
        self.settings.timezone = Some(zone.into());
        self
    }

    /// What happens where a clock is changed, for jobs that do not say.
    #[must_use]
    pub fn dst(mut self, dst: Dst) -> Self {
        self.settings.dst = Some(dst);
        self
    }

    /// How long an attempt may take, for jobs that do not say; zero is for ever. The default is 60 s.
    #[must_use]
    pub fn default_timeout(mut self, timeout: Duration) -> Self {
        self.settings.default_timeout = Some(DurationSetting(timeout));
        self
    }

    /// Attempts after the first, for jobs that do not say. The default is 1.
    #[must_use]
    pub fn default_retries(mut self, retries: u32) -> Self {
        self.settings.default_retries = Some(retries);
        self
    }

    /// Whether runs have rows. The default is `true`; each instant runs once either way.
    #[must_use]
    pub fn persist_jobs(mut self, persist: bool) -> Self {
        self.settings.persist_jobs = Some(persist);
        self
    }

    /// The resource of the history. The default is `job_history`, or `job_executions` where s3db.js made that.
    #[must_use]
    pub fn job_history_resource(mut self, name: impl Into<String>) -> Self {
        self.settings.job_history_resource = Some(name.into());
        self
    }

    /// How often a process looks for what others have changed. The default is 10 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = Some(DurationSetting(interval));
        self
    }

    /// What the history keeps: rows that are no older, and so many of each job.
    #[must_use]
    pub fn history_retention(mut self, age: Duration, rows: usize) -> Self {
        self.settings.history_retention = Some(HistoryRetention { age: Some(DurationSetting(age)), rows: Some(rows) });
        self
    }

    /// Whether what happens is logged at level `info` instead of `debug`; changes nothing else.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.settings.verbose = Some(verbose);
        self
    }

    /// Whether actions of the kind `exec` may run programs. The default is `false`.
    #[must_use]
    pub fn allow_exec(mut self, allow: bool) -> Self {
        self.allow_exec = allow;
        self
    }

    /// Whether jobs that are stored with another definition are left as they are. The default is `false`: the definition of
    /// this process replaces it. A program that only looks sets it.
    #[must_use]
    pub fn only_new_jobs(mut self, only_new: bool) -> Self {
        self.only_new = only_new;
        self
    }

    /// The folder in which actions of the kind `exec` run. The default is the working directory.
    #[must_use]
    pub fn exec_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Builds the plugin.
    ///
    /// # Errors
    /// `Invalid` with every problem of the settings and of every job.
    pub fn build(self) -> Result<SchedulerPlugin> {
        let mut problems = Problems::default();
        check_settings(&self.settings, &mut problems);
        let standard = standard(&self.settings, self.allow_exec);
        let mut dependencies = BTreeMap::new();
        let mut jobs = Vec::new();
        let mut functions = BTreeMap::new();
        for (job, function) in self.jobs {
            if dependencies.contains_key(&job.name) {
                problems.add(&format!("jobs.{}", job.name), "is there twice");
                continue;
            }
            dependencies.insert(job.name.clone(), job.depends_on.clone());
            if job.action.is_none() && function.is_none() {
                problems.add(&format!("jobs.{}.action", job.name), "is missing: give an action, or use job_fn");
            }
            if self.settings.persist_jobs == Some(false) && !job.depends_on.is_empty() {
                problems.add(&format!("jobs.{}.dependsOn", job.name), "needs the history, and persistJobs is false");
            }
            if let Some(function) = function {
                functions.insert(job.name.clone(), function);
            }
            match standard.try_compile(job) {
                Ok(compiled) => jobs.push(compiled.definition),
                Err(found) => problems.0.extend(found),
            }
        }
        problems.0.extend(circles(&dependencies));
        if !problems.0.is_empty() {
            return Err(invalid("the scheduler", &problems.0));
        }
        let core = Core {
            settings: self.settings.fill(),
            standard,
            jobs,
            only_new: self.only_new,
            functions: functions.into(),
            callbacks: self.callbacks,
            folder: self.folder,
            db: Default::default(),
            owner: Default::default(),
            ready_history: Default::default(),
            cells: Default::default(),
            compiled: Default::default(),
            locals: Default::default(),
            events: Sender::new(),
            metrics: Default::default(),
            late: Default::default(),
            pruned: Default::default(),
            background: Default::default(),
        };
        Ok(SchedulerPlugin { core: Arc::new(core) })
    }
}

fn standard(settings: &SchedulerSettings, allow_exec: bool) -> Standard {
    Standard {
        timezone: settings.timezone.clone().unwrap_or_else(|| "UTC".into()),
        dst: settings.dst.unwrap_or_default(),
        timeout: settings.default_timeout.map_or(Duration::from_secs(60), |timeout| timeout.0),
        retries: settings.default_retries.unwrap_or(1),
        allow_exec,
    }
}

fn check_settings(settings: &SchedulerSettings, problems: &mut Problems) {
    if let Some(zone) = &settings.timezone
        && let Err(why) = time_zone(zone)
    {
        problems.add("scheduler.timezone", why.to_string());
    }
    if settings.default_retries.is_some_and(|retries| retries > MOST_RETRIES) {
        problems.add("scheduler.defaultRetries", format!("must be from 0 to {MOST_RETRIES}"));
    }
    if settings.poll_interval.is_some_and(|interval| interval.0.is_zero() || interval.0 > MOST_POLL) {
        problems.add("scheduler.pollInterval", "must be more than 0 and at most 5m");
    }
    if settings.history_retention.is_some_and(|keep| keep.rows == Some(0)) {
        problems
            .add("scheduler.historyRetention.rows", "must be at least 1; persistJobs = false turns the history off");
    }
}
