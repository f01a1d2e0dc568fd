//! What happens to instants that come while the job still runs, and to those that nobody was there for.

use std::time::Duration;

use s3db::Delivery;
use s3db::scheduler::{CatchUp, JobDefinition, Overlap, RunStatus, SchedulerEvent};
use serde_json::json;

use crate::world::{BEGIN, World, at, is, minutely};

/// Runs for a quarter of an hour, each of them 100 seconds.
async fn quarter(overlap: Overlap) -> (World, Vec<(i64, RunStatus)>) {
    let world = World::new();
    let job = minutely("j").overlap(overlap).timeout(Duration::ZERO);
    let process = world.process(world.job(job, Duration::from_secs(100))).await;
    world.pass_s(900).await;
    let rows = process.history("j").await;
    let minute = |row: &s3db::scheduler::HistoryRow| {
        (s3db::instant(row.scheduled_time.as_ref().unwrap()).unwrap() - BEGIN) / 60_000
    };
    let rows = rows.iter().map(|row| (minute(row), row.status)).collect();
    (world, rows)
}

fn count(rows: &[(i64, RunStatus)], status: RunStatus) -> usize {
    rows.iter().filter(|(_, s)| *s == status).count()
}

#[tokio::test(start_paused = true)]
async fn skip_leaves_out_what_waited_for_a_minute() {
    let (_world, rows) = quarter(Overlap::Skip).await;
    assert!(count(&rows, RunStatus::Success) >= 7 && count(&rows, RunStatus::Skipped) >= 4, "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn buffer_one_keeps_the_first_that_waits() {
    let (_world, rows) = quarter(Overlap::BufferOne).await;
    // One after the other without a pause; what finds the place taken is left out.
    assert!(count(&rows, RunStatus::Success) >= 8 && count(&rows, RunStatus::Skipped) >= 3, "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn buffer_all_leaves_nothing_out() {
    let (world, rows) = quarter(Overlap::BufferAll).await;
    assert_eq!((count(&rows, RunStatus::Success), count(&rows, RunStatus::Skipped)), (8, 0), "{rows:?}");
    world.pass_s(600).await;
    let starts: Vec<i64> = rows.iter().map(|(minute, _)| *minute).collect();
    assert!(starts.windows(2).all(|pair| pair[1] == pair[0] + 1), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn allow_all_runs_them_side_by_side() {
    let (_world, rows) = quarter(Overlap::AllowAll).await;
    assert!(count(&rows, RunStatus::Success) >= 13, "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn terminate_other_ends_the_run_for_the_next_instant() {
    let (_world, rows) = quarter(Overlap::TerminateOther).await;
    assert_eq!(count(&rows, RunStatus::Success), 0);
    assert!(count(&rows, RunStatus::Cancelled) >= 13, "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn cancel_other_fires_the_token_also_of_a_run_of_another_process() {
    let world = World::new();
    let job = || minutely("j").overlap(Overlap::CancelOther).timeout(Duration::ZERO);
    let clock = world.clock.clone();
    let polite = s3db::scheduler::SchedulerPlugin::builder().job_fn(job(), move |call| {
        let clock = clock.clone();
        async move {
            tokio::select! {
                () = call.cancellation.cancelled() => Err("asked to end"),
                () = s3db::store::clock::Clock::sleep(&*clock, Duration::from_secs(3600)) => Ok(json!(1)),
            }
        }
    });
    let first = world.process(polite).await;
    world.pass_s(65).await;
    // Another process sees the instant first: this one is not asked while it does not look.
    let second = world.process(world.job(job(), Duration::from_secs(1))).await;
    world.pass_s(90).await;
    let rows = second.history("j").await;
    assert!(is(&rows[0], RunStatus::Cancelled) && rows[0].error.as_deref() == Some("asked to end"), "{:?}", rows[0]);
    assert_eq!(rows[1].scheduled_time, Some(at(BEGIN + 120_000)));
    first.way.kill();
}

#[tokio::test(start_paused = true)]
async fn missed_instants_are_caught_up_as_the_job_says() {
    for (catch_up, ran, missed) in [(CatchUp::None, 2, 59), (CatchUp::Last, 3, 58), (CatchUp::All, 61, 0)] {
        let world = World::new();
        let job = || minutely("j").catch_up(catch_up).overlap(Overlap::BufferAll);
        let first = world.process(world.job(job(), Duration::ZERO)).await;
        world.pass_s(65).await;
        first.stop().await;
        world.pass_s(3600).await;
        let second = world.process(world.job(job(), Duration::ZERO)).await;
        world.pass_s(10).await;
        let statuses = second.statuses("j").await;
        let found = (statuses["success"], statuses.get("missed").copied().unwrap_or_default());
        assert_eq!(found, (ran, missed), "{catch_up:?}: {statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_instants_are_told_once() {
    let world = World::new();
    let job = minutely("j").late_after(Duration::from_secs(20)).timeout(Duration::ZERO);
    let process = world.process(world.job(job, Duration::from_secs(90))).await;
    let mut events = process.scheduler.subscribe();
    world.pass_s(155).await;
    let mut late = Vec::new();
    while let Some(delivery) = events.try_next() {
        if let Delivery::Event(event) = delivery
            && let SchedulerEvent::JobLate { scheduled_time, late: by, .. } = *event
        {
            late.push((scheduled_time, by));
        }
    }
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(late[0].0 == at(BEGIN + 120_000) && late[0].1 > 20_000, "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_those_it_depends_on_and_is_left_out_if_they_fail() {
    let world = World::new();
    let clock = world.clock.clone();
    let first = JobDefinition::new("extract", "*/10 * * * *").retries(0).timeout(Duration::ZERO);
    let builder = s3db::scheduler::SchedulerPlugin::builder().job_fn(first, move |call| {
        let clock = clock.clone();
        async move {
            s3db::store::clock::Clock::sleep(&*clock, Duration::from_secs(200)).await;
            let fails = call.context.scheduled_time.as_deref() == Some("2026-01-01T00:20:00.000Z");
            if fails { Err("no data") } else { Ok(json!(1)) }
        }
    });
    let then = JobDefinition::new("load", "*/10 * * * *").retries(0).depends_on("extract");
    let process = world.process(world.with_job(builder, then, Duration::from_secs(1))).await;
    world.pass_s(1800).await;
    let rows = process.history("load").await;
    assert_eq!(rows[0].start_time, at(BEGIN + 800_000), "{rows:?}");
    assert!(is(&rows[1], RunStatus::Skipped), "{rows:?}");
    assert_eq!(rows[1].reason.as_deref(), Some("dependency: 'extract' of 2026-01-01T00:20:00.000Z ended as 'error'"));
}
