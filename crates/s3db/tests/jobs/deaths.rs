//! Processes that die, lose touch, or are stopped.

use std::time::Duration;

use s3db::scheduler::{OnDeath, RunStatus, SchedulerPlugin};
use serde_json::json;

use crate::world::{BEGIN, World, at, every, is, minutely};

#[tokio::test(start_paused = true)]
async fn the_run_of_a_dead_process_ends_as_interrupted_and_is_not_begun_again() {
    let world = World::new();
    let first = world.process(world.job(minutely("j"), Duration::from_secs(600))).await;
    world.pass_s(65).await;
    first.way.kill();
    let second = world.process(world.job(minutely("j"), Duration::from_secs(1))).await;
    world.pass_s(25).await;
    let status = second.scheduler.get_job_status("j").await.unwrap();
    assert_eq!((status.running.len(), status.running[0].owner.starts_with("process")), (1, true));
    world.pass_s(100).await;
    second.stop().await;
    let rows = second.history("j").await;
    assert!(is(&rows[0], RunStatus::Interrupted), "{:?}", rows[0]);
    assert!(rows[0].reason.as_ref().unwrap().contains("no heartbeat"), "{:?}", rows[0]);
    // What was due meanwhile is run, late.
    assert_eq!(rows[1].scheduled_time, Some(at(BEGIN + 120_000)));
    assert!(world.counts().values().all(|count| *count == 1), "{:?}", world.counts());
    assert_eq!(second.scheduler.get_job_status("j").await.unwrap().statistics.interrupted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_wants_it_is_begun_again_by_another_process() {
    let world = World::new();
    let job = || minutely("j").on_death(OnDeath::Retry);
    let first = world.process(world.job(job(), Duration::from_secs(600))).await;
    world.pass_s(65).await;
    first.way.kill();
    let second = world.process(world.job(job(), Duration::from_secs(1))).await;
    world.pass_s(60).await;
    second.stop().await;
    let rows = second.history("j").await;
    assert!(is(&rows[0], RunStatus::Success) && rows[0].result == json!({"by": 2}), "{:?}", rows[0]);
    assert_eq!(world.counts()[&format!("j_{}", BEGIN + 60_000)], 2);
    assert_eq!(second.statuses("j").await.get("interrupted"), None);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_its_process_again_and_again_is_left_in_the_end() {
    let world = World::new();
    let job = || minutely("j").on_death(OnDeath::Retry);
    for _ in 0..6 {
        let process = world.process(world.job(job(), Duration::from_secs(3600))).await;
        world.pass_s(70).await;
        process.way.kill();
    }
    let last = world.process(world.job(job(), Duration::from_secs(1))).await;
    world.pass_s(120).await;
    let row = &last.history("j").await[0];
    assert!(is(row, RunStatus::Interrupted), "{row:?}");
    assert_eq!(world.counts()[&row.run_id], 4);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lives_is_never_taken_for_dead_however_long_it_takes() {
    let world = World::new();
    let first = world.process(world.job(minutely("j").timeout(Duration::ZERO), Duration::from_secs(1000))).await;
    let second = world.process(world.job(minutely("j").timeout(Duration::ZERO), Duration::from_secs(1000))).await;
    world.pass_s(1075).await;
    first.stop().await;
    second.stop().await;
    let rows = second.history("j").await;
    assert!(is(&rows[0], RunStatus::Success) && rows[0].duration == 1_000_000, "{:?}", rows[0]);
    // The instants meanwhile have a row each that says why they did not run.
    let skipped: Vec<_> = rows.iter().filter(|row| is(row, RunStatus::Skipped)).collect();
    assert_eq!(skipped.len(), 15, "{rows:?}");
    assert!(skipped.iter().all(|row| row.reason.as_ref().unwrap().starts_with("overlap")));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_cut_off_ends_its_run_before_others_take_it_for_dead() {
    let world = World::new();
    let job = || minutely("j").on_death(OnDeath::Retry).timeout(Duration::ZERO);
    let cut_off = world.process(world.job(job(), Duration::from_secs(90))).await;
    world.pass_s(62).await;
    let other = world.process(world.job(job(), Duration::from_secs(90))).await;
    world.pass_s(10).await;
    cut_off.way.down(true);
    world.pass_s(300).await;
    cut_off.way.down(false);
    world.pass_s(60).await;
    // Never two at once: the first begun again only after the other had let go of it.
    let rows = other.history("j").await;
    assert!(is(&rows[0], RunStatus::Success) && rows[0].result == json!({"by": other.number}), "{:?}", rows[0]);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nothing_is_lost_and_nothing_runs_twice() {
    let world = World::new();
    let process = world.process(world.job(minutely("j"), Duration::from_secs(5))).await;
    world.pass_s(62).await;
    // A run is under way; it ends, and its row is written when the store is back.
    process.way.down(true);
    world.pass_s(600).await;
    process.way.down(false);
    world.pass_s(90).await;
    process.stop().await;
    let statuses = process.statuses("j").await;
    assert!(world.counts().values().all(|count| *count == 1));
    let first = &process.history("j").await[0];
    assert!(is(first, RunStatus::Success) && first.duration == 5_000, "{first:?}");
    // What came meanwhile has a row: the run before had no end that was written, or nobody could be there.
    let left_out = ["missed", "skipped"].iter().filter_map(|status| statuses.get(status)).sum::<u64>();
    assert_eq!(statuses["success"] + left_out, 12, "{statuses:?}");
    assert!(left_out >= 8, "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_runs_end_within_the_deadline_and_marks_what_it_interrupted() {
    let world = World::new();
    let short = world.process(world.job(minutely("short"), Duration::from_secs(3))).await;
    world.pass_s(61).await;
    short.db.stop(Duration::from_secs(10)).await.unwrap();
    assert!(is(&short.history("short").await[0], RunStatus::Success));

    let long = world.process(world.job(minutely("long"), Duration::from_secs(300))).await;
    world.pass_s(60).await;
    let begun = world.now_ms();
    long.db.stop(Duration::from_secs(8)).await.unwrap();
    assert!(world.now_ms() - begun <= 9_000, "{}", world.now_ms() - begun);
    let row = &long.history("long").await[0];
    assert!(is(row, RunStatus::Interrupted) && row.reason.as_deref() == Some("its process was stopped"), "{row:?}");
    // Nobody has to wait for it: the next process goes on at once.
    let next = world.process(world.job(minutely("long"), Duration::ZERO)).await;
    world.pass_s(60).await;
    assert_eq!(next.statuses("long").await["success"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_killed_at_random_loses_no_instant_of_its_job() {
    let world = World::new();
    let steady = world.process(world.job(every("j", 5), Duration::from_millis(400))).await;
    for _ in 0..15 {
        let victim = world.process(world.job(every("j", 5), Duration::from_millis(400))).await;
        world.pass(Duration::from_millis(20_130)).await;
        victim.way.kill();
    }
    world.pass_s(60).await;
    steady.stop().await;
    let rows = steady.history("j").await;
    let instants: Vec<String> = rows.iter().map(|row| row.run_id.clone()).collect();
    let last = (world.now_ms() - BEGIN) / 5_000;
    let expected: Vec<String> = (1..=last).map(|n| format!("j_{}", BEGIN + n * 5_000)).collect();
    assert_eq!(instants, expected);
    assert!(rows.iter().all(|row| matches!(row.status, RunStatus::Success | RunStatus::Interrupted)));
    assert!(world.counts().values().all(|count| *count == 1), "{:?}", world.counts());
}

#[tokio::test(start_paused = true)]
async fn an_observer_without_the_function_ends_runs_of_the_dead_too() {
    let world = World::new();
    let first = world.process(world.job(minutely("j"), Duration::from_secs(600))).await;
    world.pass_s(62).await;
    first.way.kill();
    let observer = world.process(SchedulerPlugin::builder()).await;
    world.pass_s(60).await;
    assert!(is(&observer.history("j").await[0], RunStatus::Interrupted));
}
