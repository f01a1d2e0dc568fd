//! The plugin from the configuration file.

use std::str::FromStr as _;

use serde_json::json;

use super::definition::one_job;
use super::{Action, JobDefinition, SchedulerBuilder};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::backup::{BackupSchedule, BackupType};
use crate::plugin::state_machine::toml_value;

/// How the jobs of `[backup] schedule` are called.
pub(super) const BACKUP_PREFIX: &str = "backup_";
/// The job that cleans up where backups have a schedule and a retention.
const CLEANUP: &str = "backup_cleanup";

impl SchedulerBuilder {
    /// Takes the settings of a configuration, not its jobs: most programs use those that are stored.
    #[must_use]
    pub fn configure(self, config: &Config) -> Self {
        let settings = config.settings.scheduler.clone().unwrap_or_default();
        self.settings(settings).allow_exec(config.settings.allow_exec.unwrap_or_default()).exec_folder(&config.folder)
    }

    /// Adds the jobs of a configuration: those of `[jobs]`, and those of `[backup] schedule`.
    ///
    /// # Errors
    /// `Invalid` with every problem of a job.
    pub fn configured_jobs(mut self, config: &Config) -> Result<Self> {
        for job in JobDefinition::configured(config)? {
            self = self.job(job);
        }
        Ok(self)
    }
}

impl JobDefinition {
    /// The jobs of a configuration: those of `[jobs]`, and those of `[backup] schedule`.
    ///
    /// # Errors
    /// `Invalid` with every problem of a job.
    pub fn configured(config: &Config) -> Result<Vec<Self>> {
        let mut jobs = Vec::new();
        for (name, table) in &config.settings.jobs {
            jobs.push(one_job(name, &toml_value(table.clone()))?);
        }
        let Some(backup) = &config.settings.backup else { return Ok(jobs) };
        let schedules = backup.schedule.as_ref().map(BackupSchedule::by_type).unwrap_or_default();
        for (kind, schedule) in schedules {
            let job = match kind.as_str() {
                "cleanup" => Self::new(CLEANUP, schedule).action(Action::new("cleanup_backups")),
                kind => {
                    BackupType::from_str(kind).map_err(|_| {
                        Error::new(
                            ErrorKind::Invalid,
                            format!("backup.schedule.{kind}: there is no such type of backup"),
                        )
                        .guide("write full, incremental, differential or cleanup")
                    })?;
                    let action = Action::new("backup").field("type", json!(kind));
                    Self::new(format!("{BACKUP_PREFIX}{kind}"), schedule).action(action)
                }
            };
            // A backup that no process was there for is made as soon as one is.
            let job = Self { timezone: backup.timezone.clone(), catch_up: super::CatchUp::Last, ..job };
            jobs.push(job.description("of [backup] schedule"));
        }
        Ok(jobs)
    }
}
