//! Cancelling a run, of whichever process: a mark in the job's record, which its process hears with the next heartbeat.

use serde_json::json;

use super::SchedulerPlugin;
use super::heartbeat::cancelled;
use super::local::Ask;
use crate::error::{Error, ErrorKind, Result};

impl SchedulerPlugin {
    /// Asks a run to end. Its token is fired at once if it is this process's, else with the next heartbeat of its
    /// process, ten seconds at most; a function that goes on is dropped ten seconds later, what is data at once. Costs a LIST, a GET for each job whose name the
    /// id can begin with, and a PUT.
    ///
    /// # Errors
    /// `NotFound` if no such run is under way.
    pub async fn cancel_run(&self, run: &str) -> Result<()> {
        let core = &self.core;
        for (name, _) in core.list_records().await? {
            if !run.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('_')) {
                continue;
            }
            let cell = core.cell(&name);
            let mut cell = cell.lock().await;
            cell.seen = None;
            let asked = core.change(&name, &mut cell, |record| {
                let Some(mut record) = record.cloned() else { return Ok(None) };
                let Some(open) = record.open.iter_mut().find(|open| open.run == run && open.is_run()) else {
                    return Ok(None);
                };
                open.cancel_requested = true;
                let open = open.clone();
                Ok(Some((record, open)))
            });
            let Some(open) = asked.await? else { continue };
            let here = core.locals.ask(&open.run, cancelled(Ask::Cancel));
            drop(cell);
            if here || core.find_row(run).await?.is_none_or(|row| row.outcome().is_none() || open.has_row) {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::NotFound, format!("no run '{run}' is under way"))
            .guide("`s3db job list` shows what runs")
            .detail(json!({ "run": run })))
    }
}
