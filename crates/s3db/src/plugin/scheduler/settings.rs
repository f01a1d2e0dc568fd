//! Settings of the plugin as data, with the names of its documented options.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cron::Dst;
use crate::config::DurationSetting;

/// The section `[scheduler]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulerSettings {
    /// The zone of schedules that name none, such as `America/Sao_Paulo`. The default is `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What happens where a clock is changed, for jobs that do not say. The default is `vixie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst: Option<Dst>,
    /// How long an attempt may take, for jobs that do not say; 0 is for ever. The default is 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_timeout: Option<DurationSetting>,
    /// Attempts after the first, for jobs that do not say. The default is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_retries: Option<u32>,
    /// Whether runs have rows. The default is `true`; each instant runs once either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist_jobs: Option<bool>,
    /// The resource of the history. The default is `job_history`, or `job_executions` where s3db.js made that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_history_resource: Option<String>,
    /// How often a process looks for what others have changed. The default is 10 s, each look a LIST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<DurationSetting>,
    /// What the history keeps. The default is 90 days, and 10,000 rows of each job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_retention: Option<HistoryRetention>,
    /// Whether what happens is logged at level `info`. The default is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<bool>,
}

/// What the history keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HistoryRetention {
    /// Rows that are no older. The default is 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<DurationSetting>,
    /// Rows of each job. The default is 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

/// The settings with everything filled in.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    pub(super) persist_jobs: bool,
    pub(super) job_history_resource: Option<String>,
    pub(super) poll_interval: Duration,
    pub(super) keep_age: Duration,
    pub(super) keep_rows: usize,
    pub(super) verbose: bool,
}

/// The least and the most between two looks.
const LEAST_POLL: Duration = Duration::from_millis(100);
pub(super) const MOST_POLL: Duration = Duration::from_secs(300);

impl SchedulerSettings {
    pub(super) fn fill(&self) -> Filled {
        let duration = |set: Option<DurationSetting>, standard: Duration| set.map_or(standard, |set| set.0);
        let retention = self.history_retention.unwrap_or_default();
        Filled {
            persist_jobs: self.persist_jobs.unwrap_or(true),
            job_history_resource: self.job_history_resource.clone(),
            poll_interval: duration(self.poll_interval, Duration::from_secs(10)).clamp(LEAST_POLL, MOST_POLL),
            keep_age: duration(retention.age, Duration::from_secs(90 * 86_400)),
            keep_rows: retention.rows.unwrap_or(10_000),
            verbose: self.verbose.unwrap_or_default(),
        }
    }
}
