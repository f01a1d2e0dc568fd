//! `s3db status`

use s3db::backup::{BackupPlugin, Metrics};
use s3db::scheduler::SchedulerPlugin;
use s3db::{Probe, Swap};
use serde_json::json;

use crate::args::{Format, Reading};
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;
use crate::table;

/// A difference of the clocks that is worth a line.
const CLOCK_MS: i64 = 5_000;

/// What the probe of an S3 server found, in one line.
fn what_it_does(probe: &Probe) -> String {
    let swap = match (probe.create, probe.swap) {
        (_, Swap::Quoted) => "conditional replace",
        (_, Swap::Unquoted) => "conditional replace (ETags without quotes)",
        (_, Swap::No) => "no conditional replace",
    };
    let has = |on: bool, what: &str| if on { what.to_owned() } else { format!("no {what}") };
    [
        has(probe.create, "conditional create"),
        swap.to_owned(),
        has(probe.conditional_delete, "conditional delete"),
        has(probe.conditional_multipart, "conditional upload in parts"),
        has(probe.ordered_listing, "ordered listing"),
    ]
    .join(", ")
}

/// Numbers about backups where there are destinations, or why they cannot be read.
async fn backups(context: &mut Context) -> Option<Result<Metrics, String>> {
    let has_destinations = context.config().ok()?.settings.backup.as_ref().is_some_and(|b| !b.destinations.is_empty());
    if !has_destinations {
        return None;
    }
    let told = |failure: Failure| match failure {
        Failure::Library(error) => error.to_string(),
        other => format!("{other:?}"),
    };
    let db = match context.connect_for_backups(&Reading::default(), Missing::Refuse).await {
        Ok(db) => db,
        Err(failure) => return Some(Err(told(failure))),
    };
    let plugin = db.plugin::<BackupPlugin>().ok()?;
    Some(plugin.metrics().await.map_err(|error| error.to_string()))
}

fn backups_line(metrics: &Metrics) -> String {
    let ago =
        |ms: i64| indicatif::HumanDuration(std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    match metrics.last_success_age {
        None => "none that is complete; `s3db backup create` makes one".to_owned(),
        Some(age) => {
            let verified = metrics
                .last_verification_age
                .map_or_else(|| "never verified".to_owned(), |age| format!("verified {} ago", ago(age)));
            format!("{} kept, the last one {} ago, {verified}", metrics.kept, ago(age))
        }
    }
}

pub(super) async fn run(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let status = db.status().await?;
    let jobs = db.plugin::<SchedulerPlugin>()?.get_all_jobs_status().await?;
    let backups = backups(context).await;
    if printer.format != Format::Table {
        let mut value = json!(status);
        if let Some(members) = value.as_object_mut() {
            members.insert("jobs".into(), json!(jobs));
            match &backups {
                Some(Ok(metrics)) => drop(members.insert("backups".into(), json!(metrics))),
                Some(Err(why)) => drop(members.insert("backups".into(), json!({ "error": why }))),
                None => {}
            }
        }
        return printer.one(&value).map(|()| exit::DONE);
    }
    let yes = |on: bool| if on { "yes" } else { "no" };
    printer.line(&format!("database          {}", status.url))?;
    printer.line(&format!("compare-and-swap  {}", yes(status.compare_and_swap)))?;
    if let Some(probe) = &status.probe {
        printer.line(&format!("server            {}", what_it_does(probe)))?;
    }
    if !status.compare_and_swap {
        printer.note("conditional writes do not hold here: writes are refused, or, with ?unsafe=last-write-wins, the last one wins");
    }
    if let Some(ahead) = status.clock_ahead_ms.filter(|ahead| ahead.abs() > CLOCK_MS) {
        let seconds = ahead as f64 / 1000.0;
        printer.line(&format!("clock             {seconds:+.1} s off the server's; the server's time is used"))?;
    }
    printer.line(&format!("passphrase        {}", if status.passphrase { "given" } else { "not given" }))?;
    if let Some(since) = &status.paused {
        printer.line(&format!("paused            since {since}; `s3db resume` lets timers, actions and jobs go on"))?;
    }
    match &backups {
        Some(Ok(metrics)) => printer.line(&format!("backups           {}", backups_line(metrics)))?,
        Some(Err(why)) => printer.line(&format!("backups           cannot be read: {why}"))?,
        None => {}
    }
    if !jobs.is_empty() {
        printer.line("")?;
        printer.line(&super::job::of_jobs(&jobs))?;
    }
    if status.resources.is_empty() {
        return printer.line("resources         none yet").map(|()| exit::DONE);
    }
    let rows = status.resources.iter().map(|r| {
        let partitions: Vec<&str> = r.partitions.iter().map(|p| p.name.as_str()).collect();
        let scanned = r.partitions.iter().filter(|p| !p.indexed).count();
        let note = match (r.read_only.as_slice(), scanned) {
            ([], 0) => String::new(),
            ([], _) => format!(
                "{scanned} of {} partitions have no index yet: s3db resource reindex {}",
                partitions.len(),
                r.name
            ),
            (problems, _) => format!("read-only: {}", problems.join("; ")),
        };
        vec![
            r.name.clone(),
            r.records.to_string(),
            r.version.clone(),
            r.behavior.to_owned(),
            partitions.join(", "),
            note,
        ]
    });
    printer.line("")?;
    printer.line(&table::grid(&["resource", "records", "version", "behavior", "partitions", "note"], rows))?;
    for name in &status.unusable {
        printer.note(&format!("the catalog's entry '{name}' is no resource that this program understands"));
    }
    Ok(exit::DONE)
}
