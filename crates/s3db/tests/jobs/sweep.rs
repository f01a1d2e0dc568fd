//! Every request of the scheduler failing in every way. Afterwards each instant has one fate: it ran once, or a row says
//! why not; nothing began twice; counts equal a recount.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use s3db::scheduler::{Cron, Dst, JobDefinition, OnDeath, RunStatus, SchedulerBuilder};
use s3db::store::fault::{Fault, Faulty};
use s3db::{ErrorKind, Result};
use serde_json::{Value, json};

use crate::world::{BEGIN, Process, World, minutely};

type Work = fn(Arc<Process>) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What a job's story is checked for.
struct Story {
    job: JobDefinition,
    takes: Duration,
}

impl Story {
    fn builder(&self, world: &World) -> SchedulerBuilder {
        world.job(self.job.clone(), self.takes)
    }

    /// The job's history is whole, and nothing began twice.
    async fn check(&self, world: &World, process: &Process, at: &str) {
        let name = &self.job.name;
        let rows = process.history(name).await;
        let mut begun = world.counts();
        begun.retain(|run, _| run.starts_with(&format!("{name}_")));
        if self.job.on_death == OnDeath::Interrupted {
            assert!(begun.values().all(|count| *count == 1), "{at}: {begun:?}");
        }
        let by_id: BTreeMap<&str, RunStatus> = rows.iter().map(|row| (row.run_id.as_str(), row.status)).collect();
        assert_eq!(by_id.len(), rows.len(), "{at}");
        for run in begun.keys() {
            let status = by_id.get(run.as_str()).unwrap_or_else(|| panic!("{at}: {run} has no row: {rows:?}"));
            assert!(!matches!(status, RunStatus::Missed | RunStatus::Skipped), "{at}: {run} began and is {status}");
        }
        for row in rows.iter().filter(|row| row.status == RunStatus::Success) {
            assert!(begun.contains_key(&row.run_id), "{at}: {row:?} never began");
        }
        // Every instant since the job is there has a fate, up to the last one that is decided.
        let planned: Vec<_> = rows.iter().filter(|row| row.scheduled_time.is_some()).collect();
        let last = planned.iter().map(|row| row.last_time.as_ref().or(row.scheduled_time.as_ref()).unwrap()).max();
        let last = s3db::instant(last.unwrap()).unwrap();
        let cron = Cron::parse(&self.job.schedule, "UTC", Dst::Vixie).unwrap();
        let counted: u64 = planned.iter().map(|row| row.count).sum();
        assert_eq!(counted, cron.count_between(BEGIN, last), "{at}: {rows:?}");
        assert!(last >= world.now_ms() - 120_000, "{at}: nothing is decided any more: {rows:?}");
        let totals = process.scheduler.get_job_status(name).await.unwrap().statistics;
        let recount = process.scheduler.get_job_statistics(name).await.unwrap();
        let found = (totals.success, totals.timeout, totals.skipped, totals.missed, totals.runs());
        assert_eq!(found, (recount.ok, recount.timeout, recount.skipped, recount.missed, recount.total), "{at}");
    }
}

/// A scheduler meets a fault so many seconds after it has come; another one comes later.
async fn meets(story: &Story, before: impl AsyncFn(&World), after_s: u64, fault: Fault, nth: usize) {
    let world = World::new();
    before(&world).await;
    let faulty = Arc::new(Faulty::new(world.memory.clone()));
    let process = world.connect_on(faulty.clone(), story.builder(&world), true).await.unwrap();
    world.pass_s(after_s).await;
    faulty.plan(nth, fault);
    world.pass_s(110).await;
    if fault == Fault::Kill {
        process.way.kill();
    }
    faulty.heal();
    faulty.land().await;
    let other = world.process(story.builder(&world)).await;
    world.pass_s(200).await;
    other.stop().await;
    if fault != Fault::Kill {
        process.stop().await;
    }
    let at = format!("{}, {fault:?} at request {nth}", story.job.name);
    story.check(&world, &other, &at).await;
}

#[tokio::test(start_paused = true)]
async fn runs_of_the_schedule_end_right_after_every_fault() {
    let stories = [
        Story { job: minutely("short"), takes: Duration::from_secs(1) },
        Story { job: minutely("long").timeout(Duration::ZERO), takes: Duration::from_secs(95) },
        Story { job: minutely("again").on_death(OnDeath::Retry), takes: Duration::from_secs(25) },
    ];
    let mut points = 0;
    for story in &stories {
        for fault in Fault::ALL {
            for nth in 1..=24 {
                meets(story, async |_: &World| {}, 57, fault, nth).await;
                points += 1;
            }
        }
    }
    println!("{points} points of failure");
    assert!(points > 500);
}

/// Processes that died left a run, the last of several that it may be begun again: whoever is about to take them for dead
/// meets the fault.
#[tokio::test(start_paused = true)]
async fn what_dead_processes_left_ends_right_after_every_fault() {
    let mut points = 0;
    for (on_death, deaths) in [(OnDeath::Interrupted, 1), (OnDeath::Retry, 1), (OnDeath::Retry, 4)] {
        let story = Story { job: minutely("left").on_death(on_death), takes: Duration::from_secs(15) };
        for fault in Fault::ALL {
            for nth in 1..=20 {
                let die = async |world: &World| {
                    for _ in 0..deaths {
                        let dying = world.process(world.job(story.job.clone(), Duration::from_secs(3600))).await;
                        world.pass_s(70).await;
                        dying.way.kill();
                    }
                };
                meets(&story, die, 28, fault, nth).await;
                points += 1;
            }
        }
    }
    println!("{points} points of failure");
    assert!(points > 400);
}

const OPERATIONS: [(&str, Work); 7] = [
    ("run", |p| Box::pin(async move { p.scheduler.run_job("j", json!({"n": 1})).await.map(drop) })),
    ("disable", |p| Box::pin(async move { p.scheduler.disable_job("j").await.map(drop) })),
    ("enable", |p| Box::pin(async move { p.scheduler.enable_job("j").await.map(drop) })),
    ("remove", |p| Box::pin(async move { p.scheduler.remove_job("j").await.map(drop) })),
    ("cancel", |p| Box::pin(async move { p.scheduler.cancel_run(&format!("long_{}", BEGIN + 60_000)).await })),
    ("backfill", |p| {
        Box::pin(async move { p.scheduler.backfill("gone", BEGIN + 120_000, BEGIN + 240_000).await.map(drop) })
    }),
    ("prune", |p| Box::pin(async move { p.scheduler.prune_job_history("gone").await.map(drop) })),
];

fn jobs(world: &World) -> SchedulerBuilder {
    let builder = world.job(minutely("j"), Duration::from_secs(1));
    let builder = world.with_job(builder, minutely("gone"), Duration::from_secs(1));
    world.with_job(builder, minutely("long").timeout(Duration::ZERO), Duration::from_secs(900))
}

#[tokio::test(start_paused = true)]
async fn operations_end_right_after_every_fault() {
    let mut points = 0;
    for (name, work) in OPERATIONS {
        for fault in Fault::ALL {
            for nth in 1..80 {
                let world = World::new();
                let running = world.process(jobs(&world)).await;
                world.pass_s(70).await;
                running.way.kill();
                // Instants that nobody is there for.
                world.pass_s(300).await;
                let next = world.process(jobs(&world)).await;
                world.pass_s(5).await;
                let faulty = Arc::new(Faulty::new(world.memory.clone()));
                let caller = Arc::new(world.connect_on(faulty.clone(), jobs(&world), false).await.unwrap());
                let before = faulty.sent();
                faulty.plan(nth, fault);
                let done = tokio::time::timeout(Duration::from_secs(400), work(caller.clone())).await;
                let reached = faulty.sent() - before >= nth;
                if fault == Fault::Kill {
                    caller.way.kill();
                }
                faulty.heal();
                faulty.land().await;
                if !reached {
                    break;
                }
                points += 1;
                let at = format!("{name}, {fault:?} at request {nth}, ended with {done:?}");
                if let Ok(Err(error)) = &done {
                    let fits =
                        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::NotFound);
                    assert!(fits, "{at}");
                }
                world.pass_s(200).await;
                let on = next.scheduler.get_job_status("j").await.map(|status| status.enabled);
                if matches!(done, Ok(Ok(()))) {
                    match name {
                        "disable" => assert!(!on.unwrap(), "{at}"),
                        "remove" => assert_eq!(on.unwrap_err().kind(), ErrorKind::NotFound, "{at}"),
                        "enable" => assert!(on.unwrap(), "{at}"),
                        _ => {}
                    }
                }
                next.stop().await;
                let story = Story { job: minutely("gone"), takes: Duration::ZERO };
                // A row that was being cut in two counts twice until the backfill goes on.
                if name != "backfill" {
                    story.check(&world, &next, &at).await;
                }
                assert!(world.counts().values().all(|count| *count == 1), "{at}: {:?}", world.counts());
                // Tried again it ends.
                let again = Arc::new(world.caller(jobs(&world)).await);
                let retried = tokio::time::timeout(Duration::from_secs(300), work(again)).await;
                assert!(retried.is_ok(), "{at}: a retry never ends");
                story.check(&world, &next, &at).await;
                assert!(world.counts().values().all(|count| *count == 1), "{at}: {:?}", world.counts());
            }
        }
    }
    println!("{points} points of failure");
    assert!(points > 200, "only {points} points");
}

#[tokio::test(start_paused = true)]
async fn a_manual_run_that_was_answered_has_its_row() {
    for fault in Fault::ALL {
        for nth in 1..12 {
            let world = World::new();
            let faulty = Arc::new(Faulty::new(world.memory.clone()));
            let caller = world.connect_on(faulty.clone(), jobs(&world), false).await.unwrap();
            faulty.plan(nth, fault);
            let run = tokio::time::timeout(Duration::from_secs(100), caller.scheduler.run_job("j", Value::Null)).await;
            faulty.heal();
            faulty.land().await;
            if let Ok(Ok(run)) = run {
                let rows = world.caller(jobs(&world)).await.history("j").await;
                assert!(
                    rows.iter().any(|row| row.run_id == run.run_id && row.status == run.status),
                    "{fault:?} {nth}: {rows:?}"
                );
            }
        }
    }
}
