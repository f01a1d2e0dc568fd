//! What the history keeps: rows that are young enough, and so many of each job.
//!
//! Requests: a LIST for each thousand rows of the job; deletes in batches. Whoever runs a job does so now and then.

use std::sync::PoisonError;
use std::time::Duration;

use s3db_format::keys;

use super::rows::ms;
use super::{Core, SchedulerPlugin};
use crate::error::Result;

/// How often a process prunes a job.
const EVERY: Duration = Duration::from_secs(3600);

impl SchedulerPlugin {
    /// Deletes the rows of a job that the retention does not keep; how many. A process that runs the job does so by
    /// itself once an hour.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn prune_job_history(&self, name: &str) -> Result<usize> {
        keys::check_name("job", name)?;
        self.core.prune(name).await
    }
}

impl Core {
    /// Prunes a job's history unless this process did so within the hour. A failure is only told: the next run tries
    /// again.
    pub(super) async fn prune_sometimes(&self, name: &str) {
        let now = self.monotonic();
        let is_time = {
            let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
            let last = pruned.get(name).copied();
            // A process that has just begun has other things to do.
            let is_time = last.is_some_and(|last| now.saturating_sub(last) >= EVERY);
            if last.is_none() || is_time {
                pruned.insert(name.to_owned(), now);
            }
            is_time
        };
        if is_time && let Err(error) = self.prune(name).await {
            tracing::warn!(target: "s3db::scheduler", %error, "the history of job '{name}' was not pruned");
        }
    }

    async fn prune(&self, name: &str) -> Result<usize> {
        let Some(history) = self.history().await? else { return Ok(0) };
        let oldest = self.now_ms() - ms(self.settings.keep_age);
        let open: Vec<String> = match self.read_record(name).await? {
            Some(seen) => seen.record.open.into_iter().map(|open| open.run).collect(),
            None => Vec::new(),
        };
        let rows = self.row_keys(&history, name).await?;
        let gone = rows.into_iter().enumerate().filter(|(at, (time, id))| {
            // The row of a run that the record still holds says that it ended.
            (*at >= self.settings.keep_rows || *time < oldest) && *at > 0 && !open.contains(id)
        });
        let ids: Vec<String> = gone.map(|(_, (_, id))| id).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        Ok(history.delete_many(&ids).await?.deleted)
    }
}
