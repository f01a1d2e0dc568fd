//! The scheduler in the simulated world: nodes come, go and are killed, each with a time of the store that is a little
//! wrong, while jobs of several kinds are due. Afterwards every planned instant has one fate: it began once, or a row says
//! why not; nothing ran twice at once; counts equal a recount.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use s3db::Database;
use s3db::scheduler::{
    Cron, Dst, HistoryOptions, HistoryRow, JobDefinition, OnDeath, Overlap, RunStatus, SchedulerPlugin,
};
use s3db::store::clock::Clock;
use serde_json::{Value, json};

use crate::checks::Counts;
use crate::rng::Rng;

/// A job of the simulation: its schedule, how long its runs take in seconds, and what it is about.
struct Kind {
    name: &'static str,
    schedule: &'static str,
    takes_s: u64,
    overlap: Overlap,
    on_death: OnDeath,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "short",
        schedule: "*/10 * * * * *",
        takes_s: 1,
        overlap: Overlap::Skip,
        on_death: OnDeath::Interrupted,
    },
    Kind { name: "long", schedule: "* * * * *", takes_s: 100, overlap: Overlap::Skip, on_death: OnDeath::Interrupted },
    Kind {
        name: "again",
        schedule: "*/30 * * * * *",
        takes_s: 12,
        overlap: Overlap::BufferOne,
        on_death: OnDeath::Retry,
    },
    Kind {
        name: "queue",
        schedule: "*/20 * * * * *",
        takes_s: 15,
        overlap: Overlap::BufferAll,
        on_death: OnDeath::Interrupted,
    },
    Kind {
        name: "beside",
        schedule: "*/30 * * * * *",
        takes_s: 50,
        overlap: Overlap::AllowAll,
        on_death: OnDeath::Interrupted,
    },
];

/// What runs did.
#[derive(Debug, Default)]
pub(crate) struct JobJournal {
    /// How often each run began.
    begun: BTreeMap<String, u64>,
    /// Runs under way by job: of which node.
    under_way: BTreeMap<&'static str, Vec<u64>>,
    problems: Vec<String>,
}

pub(crate) type Shared = Arc<Mutex<JobJournal>>;

fn lock(journal: &Mutex<JobJournal>) -> MutexGuard<'_, JobJournal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a run out of those under way when it ends or is dropped.
struct UnderWay {
    journal: Shared,
    job: &'static str,
    node: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut journal = lock(&self.journal);
        let runs = journal.under_way.entry(self.job).or_default();
        if let Some(at) = runs.iter().position(|node| *node == self.node) {
            runs.remove(at);
        }
    }
}

fn begin(journal: &Shared, kind: &'static Kind, node: u64, run: &str) -> UnderWay {
    let mut locked = lock(journal);
    *locked.begun.entry(run.to_owned()).or_default() += 1;
    let runs = locked.under_way.entry(kind.name).or_default();
    runs.push(node);
    let together = runs.len();
    if together > 1 && kind.overlap != Overlap::AllowAll {
        locked.problems.push(format!("{together} runs of '{}' at once, the last one {run}", kind.name));
    }
    UnderWay { journal: Arc::clone(journal), job: kind.name, node }
}

/// A killed node's runs are over, whatever its tasks still do.
pub(crate) fn killed(journal: &Shared, node: u64) {
    let mut journal = lock(journal);
    for runs in journal.under_way.values_mut() {
        runs.retain(|other| *other != node);
    }
}

fn definition(kind: &Kind) -> JobDefinition {
    JobDefinition::new(kind.name, kind.schedule)
        .retries(0)
        .timeout(Duration::ZERO)
        .overlap(kind.overlap)
        .on_death(kind.on_death)
}

/// The scheduler of a node.
pub(crate) fn plugin(journal: &Shared, node: u64, clock: &Arc<dyn Clock>) -> s3db::Result<SchedulerPlugin> {
    let mut builder = SchedulerPlugin::builder();
    for kind in &KINDS {
        let (journal, clock) = (Arc::clone(journal), Arc::clone(clock));
        builder = builder.job_fn(definition(kind), move |call| {
            let under_way = begin(&journal, kind, node, &call.context.run_id);
            let clock = Arc::clone(&clock);
            async move {
                clock.sleep(Duration::from_secs(kind.takes_s)).await;
                drop(under_way);
                Ok::<Value, String>(json!(node))
            }
        });
    }
    builder.build()
}

/// How long a node lives, and whether it is killed in the end.
pub(crate) fn life(rng: &mut Rng) -> (Duration, bool) {
    (Duration::from_secs(20 + rng.below(400)), rng.chance(600))
}

/// What is stored at rest.
pub(crate) async fn at_rest(db: &Database, journal: &Shared, begun_ms: i64, counts: &mut Counts) -> Vec<String> {
    let mut broken = std::mem::take(&mut lock(journal).problems);
    let begun = lock(journal).begun.clone();
    let scheduler = match db.plugin::<SchedulerPlugin>() {
        Ok(scheduler) => scheduler,
        Err(error) => return vec![error.to_string()],
    };
    for kind in &KINDS {
        let options = HistoryOptions { limit: Some(usize::MAX), ..HistoryOptions::default() };
        let rows = match scheduler.get_job_history(kind.name, &options).await {
            Ok(page) => page.items,
            Err(error) => {
                broken.push(format!("the history of '{}': {error}", kind.name));
                continue;
            }
        };
        counts.histories += 1;
        check_rows(kind, &rows, &begun, begun_ms, &mut broken);
        match (scheduler.get_job_status(kind.name).await, scheduler.get_job_statistics(kind.name).await) {
            (Ok(status), Ok(recount)) => {
                let totals = status.statistics;
                let told = (totals.success, totals.skipped, totals.missed, totals.runs());
                let counted = (recount.ok, recount.skipped, recount.missed, recount.total);
                if told != counted {
                    broken.push(format!("'{}' counts {told:?}, its rows say {counted:?}", kind.name));
                }
            }
            (status, recount) => broken.push(format!("'{}': {status:?} {recount:?}", kind.name)),
        }
    }
    broken
}

fn check_rows(
    kind: &Kind,
    rows: &[HistoryRow],
    begun: &BTreeMap<String, u64>,
    begun_ms: i64,
    broken: &mut Vec<String>,
) {
    let by_id: BTreeMap<&str, &HistoryRow> = rows.iter().map(|row| (row.run_id.as_str(), row)).collect();
    let prefix = format!("{}_", kind.name);
    for (run, times) in begun.iter().filter(|(run, _)| run.starts_with(&prefix)) {
        if *times > 1 && kind.on_death == OnDeath::Interrupted {
            broken.push(format!("{run} began {times} times"));
        }
        match by_id.get(run.as_str()).map(|row| row.status) {
            Some(RunStatus::Success | RunStatus::Interrupted) => {}
            other => broken.push(format!("{run} began, and its row says {other:?}")),
        }
    }
    for row in rows {
        let began = begun.contains_key(&row.run_id);
        if row.status == RunStatus::Success && !began {
            broken.push(format!("{} succeeded and never began", row.run_id));
        }
        if row.status == RunStatus::Running {
            broken.push(format!("{} still runs at rest", row.run_id));
        }
    }
    // From the first instant on nothing is left out, and nothing is there twice.
    let instants = rows.iter().filter_map(|row| Some((s3db::instant(row.scheduled_time.as_ref()?)?, row)));
    let mut instants: Vec<(i64, i64, u64)> = instants
        .map(|(first, row)| (first, row.last_time.as_deref().and_then(s3db::instant).unwrap_or(first), row.count))
        .collect();
    instants.sort_unstable();
    let Ok(cron) = Cron::parse(kind.schedule, "UTC", Dst::Vixie) else { return };
    let mut at = instants.first().map_or(begun_ms, |(first, ..)| first - 1);
    for (first, last, count) in instants {
        if cron.next_after(at) != Some(first) {
            broken.push(format!("'{}': behind {at} comes {first}", kind.name));
        }
        if cron.count_between(first - 1, last) != count {
            broken.push(format!("'{}': {count} instants from {first} to {last}", kind.name));
        }
        at = last;
    }
}
