//! `s3db run --dry-run`: what would run, without running or storing anything.

use std::collections::BTreeMap;

use s3db::scheduler::{Cron, JobDefinition, SchedulerPlugin};
use s3db::store::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::args::Format;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

/// Runs of one job that a table shows.
const SHOWN: usize = 12;
/// Runs of one job that are listed for programs.
const MOST: usize = 100_000;

/// A job that would run.
struct Planned {
    definition: JobDefinition,
    timezone: String,
    at: Vec<i64>,
    total: u64,
}

pub(super) async fn print(context: &mut Context, printer: Printer, hours: u32) -> Result<u8, Failure> {
    let from = SystemClock.now_ms();
    let to = from + i64::from(hours) * 3_600_000;
    let most = if printer.format == Format::Table { SHOWN } else { MOST };
    let mut jobs = Vec::new();
    let mut off = Vec::new();
    for (definition, enabled) in all(context).await? {
        if !enabled {
            off.push(definition.name);
            continue;
        }
        let zone = zone(context, &definition)?;
        let cron = Cron::parse(&definition.schedule, &zone, definition.dst.unwrap_or_default())?;
        let at: Vec<i64> = cron.iter_after(from).take_while(|ms| *ms <= to).take(most).collect();
        jobs.push(Planned { total: cron.count_between(from, to), timezone: zone, at, definition });
    }
    let mut rows: Vec<(i64, &Planned)> = jobs.iter().flat_map(|job| job.at.iter().map(move |at| (*at, job))).collect();
    rows.sort_by(|a, b| (a.0, &a.1.definition.name).cmp(&(b.0, &b.1.definition.name)));
    if printer.format != Format::Table {
        let rows: Vec<Value> = rows.iter().map(|(at, job)| json!({ "at": s3db::rfc3339(*at), "job": job.definition.name, "action": action(&job.definition), "timezone": job.timezone })).collect();
        return printer.list(&rows).map(|()| exit::DONE);
    }
    let shown = rows.iter().map(|(at, job)| {
        let local =
            Cron::parse(&job.definition.schedule, &job.timezone, Default::default()).map(|cron| cron.local(*at));
        vec![
            s3db::rfc3339(*at).replace(".000Z", "Z"),
            job.definition.name.clone(),
            action(&job.definition),
            local.unwrap_or_default(),
            job.timezone.clone(),
        ]
    });
    match rows.is_empty() {
        true => printer.note(&format!("nothing would run within {hours} h")),
        false => printer.line(&table::grid(&["planned (utc)", "job", "action", "by its own clock", "zone"], shown))?,
    }
    for job in jobs.iter().filter(|job| job.total > job.at.len() as u64) {
        printer.line(&format!("{}: {} more within {hours} h", job.definition.name, job.total - job.at.len() as u64))?;
    }
    if !off.is_empty() {
        printer.note(&format!("off: {}", off.join(", ")));
    }
    Ok(exit::DONE)
}

fn action(job: &JobDefinition) -> String {
    job.action.as_ref().map_or("function", |action| action.kind()).to_owned()
}

fn zone(context: &mut Context, job: &JobDefinition) -> Result<String, Failure> {
    let standard = context.config()?.settings.scheduler.as_ref().and_then(|scheduler| scheduler.timezone.clone());
    Ok(job.timezone.clone().or(standard).unwrap_or_else(|| "UTC".to_owned()))
}

/// The jobs as they would stand: those of the file, over those that are stored, and whether they are on.
async fn all(context: &mut Context) -> Result<Vec<(JobDefinition, bool)>, Failure> {
    let mut jobs: BTreeMap<String, (JobDefinition, bool)> = BTreeMap::new();
    let mut switched = BTreeMap::new();
    match context.connect(Missing::Refuse).await {
        Ok(db) => {
            let scheduler = db.plugin::<SchedulerPlugin>()?;
            for status in scheduler.get_all_jobs_status().await? {
                let definition = scheduler.get_job(&status.name).await?;
                switched.insert(status.name.clone(), status.enabled);
                jobs.insert(status.name, (definition, status.enabled));
            }
        }
        // A database that is not there yet would be made.
        Err(Failure::Library(error)) if error.kind() == s3db::ErrorKind::NotFound => {}
        Err(failure) => return Err(failure),
    }
    let config = context.config()?;
    SchedulerPlugin::builder().configure(config).configured_jobs(config)?.build()?;
    for definition in JobDefinition::configured(config)? {
        let enabled = switched.get(&definition.name).copied().unwrap_or(definition.enabled);
        jobs.insert(definition.name.clone(), (definition, enabled));
    }
    Ok(jobs.into_values().collect())
}
