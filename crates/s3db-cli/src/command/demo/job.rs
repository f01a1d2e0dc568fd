//! The part of the demo with a job: three processes, and each planned instant once.

use std::collections::BTreeMap;
use std::path::Path;

use s3db::scheduler::{Action, HistoryOptions, JobDefinition, SchedulerPlugin};
use s3db::store::clock::{Clock as _, SystemClock};
use s3db::{Database, Query, ResourceDefinition};
use serde_json::json;

use super::{DATA, Stage};
use crate::output::Failure;
use crate::table;

/// Processes that run the job.
const PROCESSES: usize = 3;
/// Instants that are waited for.
const INSTANTS: usize = 3;
/// Looks at the history until they are there.
const LOOKS: usize = 200;

pub(super) fn plugin() -> Result<SchedulerPlugin, Failure> {
    Ok(SchedulerPlugin::builder().build()?)
}

fn job() -> JobDefinition {
    let tick = Action::new("insert").field("resource", "ticks").field("record", json!({"planned": "=scheduledTime"}));
    JobDefinition::new("tick", "* * * * * *").description("writes a record every second").action(tick)
}

pub(super) async fn show(stage: &Stage, db: &Database, dir: &Path) -> Result<(), Failure> {
    let title = format!("9. A job every second, and {PROCESSES} processes that all run it: each instant once");
    stage.step(&title, "s3db job add jobs.json && s3db run")?;
    let ticks = db.create_resource(ResourceDefinition::new("ticks").attribute("planned", "string")).await?;
    let scheduler = db.plugin::<SchedulerPlugin>()?;
    scheduler.add_job(job()).await?;
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        let builder = Database::builder(format!("file:{}", dir.join(DATA).display()));
        processes.push(builder.plugin(plugin()?).connect().await?);
    }
    let options = HistoryOptions { limit: Some(INSTANTS), ..HistoryOptions::default() };
    let mut looks = 0;
    while scheduler.get_job_history("tick", &options).await?.items.iter().filter(|row| row.end_time.is_some()).count()
        < INSTANTS
    {
        looks += 1;
        if looks > LOOKS {
            return Err(Failure::Io { message: "the job did not run".into() });
        }
        SystemClock.sleep(std::time::Duration::from_millis(100)).await;
    }
    scheduler.disable_job("tick").await?;
    for process in &processes {
        process.stop(std::time::Duration::from_secs(5)).await?;
    }
    let rows = scheduler.get_job_history("tick", &HistoryOptions::default()).await?.items;
    let mut owners = BTreeMap::new();
    let shown = rows.iter().rev().map(|row| {
        let next = owners.len() + 1;
        let process = *owners.entry(row.owner.clone().unwrap_or_default()).or_insert(next);
        vec![row.scheduled_time.clone().unwrap_or_default(), row.status.to_string(), format!("process {process}")]
    });
    stage.line(&table::grid(&["planned", "status", "run by"], shown.collect::<Vec<_>>()))?;
    let written = ticks.list(&Query::all()).await?.items.len();
    stage.line(&format!(
        "  {} instants, {written} records: none twice, none left out. If a process dies, the others go on.",
        rows.len()
    ))
}
