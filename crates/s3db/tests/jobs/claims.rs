//! One start for each planned instant, however many processes are up.

use std::time::Duration;

use s3db::scheduler::{JobDefinition, RunStatus, SchedulerPlugin, Trigger};
use serde_json::json;

use crate::world::{BEGIN, World, at, every, is, minutely};

#[tokio::test(start_paused = true)]
async fn a_job_runs_at_its_instants_and_its_history_says_so() {
    let world = World::new();
    let process = world.process(world.job(minutely("j"), Duration::from_secs(2))).await;
    world.pass_s(185).await;
    process.stop().await;
    let rows = process.history("j").await;
    assert_eq!(rows.len(), 3);
    for (at_minute, row) in (1..).zip(&rows) {
        let planned = BEGIN + at_minute * 60_000;
        assert!(is(row, RunStatus::Success) && row.trigger == Some(Trigger::Schedule), "{row:?}");
        assert_eq!((row.run_id.clone(), row.scheduled_time.clone()), (format!("j_{planned}"), Some(at(planned))));
        assert_eq!((row.start_time.clone(), row.duration, row.attempts.len()), (at(planned), 2_000, 1));
        assert_eq!((row.result.clone(), row.retry_count), (json!({"by": 1}), 0));
    }
    let status = process.scheduler.get_job_status("j").await.unwrap();
    assert_eq!((status.statistics.success, status.running.len()), (3, 0));
    assert_eq!((status.last_run, status.last_success), (Some(at(BEGIN + 180_000)), Some(at(BEGIN + 182_000))));
    assert_eq!((status.next_run, status.enabled, status.action), (Some(at(BEGIN + 240_000)), true, "function".into()));
    assert_eq!(process.scheduler.next_runs("j", 2).await.unwrap(), [at(BEGIN + 240_000), at(BEGIN + 300_000)]);
}

#[tokio::test(start_paused = true)]
async fn of_many_processes_one_runs_each_instant() {
    let world = World::new();
    let mut processes = Vec::new();
    for _ in 0..8 {
        processes.push(world.process(world.job(every("j", 5), Duration::from_millis(100))).await);
    }
    world.pass_s(603).await;
    for process in &processes {
        process.stop().await;
    }
    let counts = world.counts();
    let expected: Vec<String> = (1..=120).map(|n| format!("j_{}", BEGIN + n * 5_000)).collect();
    assert_eq!(counts.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(processes[0].statuses("j").await, [("success", 120)].into());
    let statistics = processes[3].scheduler.get_job_status("j").await.unwrap().statistics;
    let recount = processes[5].scheduler.get_job_statistics("j").await.unwrap();
    assert_eq!((statistics.success, recount.ok, recount.total, recount.streak), (120, 120, 120, 120));
    assert_eq!((recount.p50, recount.p99, recount.average), (100, 100, 100.0));
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_function_is_claimed_only_by_processes_that_have_it() {
    let world = World::new();
    let without = world.process(SchedulerPlugin::builder()).await;
    let with = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    world.pass_s(65).await;
    assert!(world.begun().iter().all(|(_, process, _)| *process == with.number));
    assert_eq!(world.begun().len(), 6);
    let refused = without.scheduler.run_job("j", json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("function that this process does not have"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn with_the_history_off_each_instant_still_runs_once() {
    let world = World::new();
    let builder = |w: &World| w.job(every("j", 5), Duration::from_millis(100)).persist_jobs(false);
    let (a, b) = (world.process(builder(&world)).await, world.process(builder(&world)).await);
    world.pass_s(303).await;
    a.stop().await;
    b.stop().await;
    assert_eq!((world.begun().len(), world.counts().len()), (60, 60));
    assert!(a.db.resource("job_history").await.is_err());
    let status = a.scheduler.get_job_status("j").await.unwrap();
    assert_eq!((status.statistics.success, status.running.len()), (60, 0));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_runs_nothing_again_and_one_set_ahead_is_noticed() {
    let world = World::new();
    let process = world.process(world.job(minutely("j"), Duration::ZERO)).await;
    world.pass_s(305).await;
    assert_eq!(world.begun().len(), 5);
    // Nothing runs until the clock is where it was.
    let clock = world.clock.clone();
    let back = |seconds: i64| clock.step(seconds);
    back(-180);
    world.pass_s(175).await;
    assert_eq!(world.begun().len(), 5);
    world.pass_s(70).await;
    assert_eq!(world.begun().len(), 6);
    // An hour that was left out: its instants are missed, in one row, and the next ones run.
    back(3600);
    world.pass_s(70).await;
    process.stop().await;
    let statuses = process.statuses("j").await;
    assert!(world.counts().values().all(|count| *count == 1));
    let missed = statuses["missed"];
    assert!((58..=60).contains(&missed) && statuses["success"] >= 7, "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn downtime_of_a_minute_to_400_days_misses_all_in_one_row() {
    for (away_s, missed) in
        [(130_u64, 1_u64), (3_600, 59), (30 * 86_400, 30 * 1440 - 1), (400 * 86_400, 400 * 1440 - 1)]
    {
        let world = World::new();
        let first = world.process(world.job(minutely("j"), Duration::ZERO)).await;
        world.pass_s(65).await;
        first.stop().await;
        drop(first);
        world.pass_s(away_s).await;
        let second = world.process(world.job(minutely("j"), Duration::ZERO)).await;
        world.pass_s(2).await;
        let rows = second.history("j").await;
        let gone: Vec<_> = rows.iter().filter(|row| is(row, RunStatus::Missed)).collect();
        assert_eq!(gone.iter().map(|row| row.count).collect::<Vec<_>>(), [missed], "{away_s} s: {rows:?}");
        assert_eq!(gone[0].scheduled_time, Some(at(BEGIN + 120_000)));
        assert_eq!(second.scheduler.get_job_status("j").await.unwrap().statistics.missed, missed);
        assert!(world.counts().values().all(|count| *count == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_comes_back_within_a_minute_runs_what_it_was_away_for() {
    let world = World::new();
    let first = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    world.pass_s(25).await;
    first.stop().await;
    world.pass_s(50).await;
    let second = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    world.pass_s(7).await;
    assert_eq!(second.statuses("j").await, [("success", 8)].into());
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_a_year_fires() {
    let world = World::new();
    let job = JobDefinition::new("j", "0 0 0 31 12 * 2026").retries(0);
    let process = world.process(world.job(job, Duration::ZERO).poll_interval(Duration::from_secs(300))).await;
    world.pass_s(363 * 86_400).await;
    assert_eq!(world.begun().len(), 0);
    world.pass_s(2 * 86_400).await;
    assert_eq!(process.statuses("j").await, [("success", 1)].into());
    assert_eq!(process.scheduler.get_job_status("j").await.unwrap().next_run, None);
}

#[tokio::test(start_paused = true)]
async fn an_idle_scheduler_costs_a_list_per_look_and_a_run_two_writes() {
    let world = World::new();
    let process = world.process(world.job(JobDefinition::new("j", "0 * * * *").retries(0), Duration::ZERO)).await;
    world.pass_s(60).await;
    let before = process.way.requests.load(std::sync::atomic::Ordering::SeqCst);
    world.pass_s(3600).await;
    let used = process.way.requests.load(std::sync::atomic::Ordering::SeqCst) - before;
    // 360 looks, a read of the catalog each minute, one run; the history is made once.
    assert!(used <= 360 + 60 + 2 + 4, "{used}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_database_runs_nothing_and_goes_on_after_it() {
    let world = World::new();
    let process = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    let other = world.caller(SchedulerPlugin::builder()).await;
    other.db.pause().await.unwrap();
    world.pass_s(65).await;
    let so_far = world.begun().len();
    world.pass_s(600).await;
    assert_eq!(world.begun().len(), so_far);
    let refused = other.scheduler.run_job("j", json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("paused"), "{refused}");
    other.db.resume().await.unwrap();
    world.pass_s(75).await;
    let statuses = process.statuses("j").await;
    assert!(statuses["missed"] >= 50 && world.begun().len() > so_far, "{statuses:?}");
    assert!(world.counts().values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_finds_an_ended_run_of_another_is_not_late() {
    let world = World::new();
    let first = world.process(world.job(minutely("j"), Duration::ZERO)).await;
    world.pass_s(65).await;
    first.stop().await;
    let second = world.process(world.job(minutely("j"), Duration::ZERO)).await;
    world.pass_s(62).await;
    let rows = second.history("j").await;
    assert_eq!(rows[1].start_time, at(BEGIN + 120_000), "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_lets_go_of_its_connection_runs_nothing_any_more() {
    let world = World::new();
    let process = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    world.pass_s(35).await;
    drop(process);
    world.pass_s(600).await;
    assert!(world.begun().len() <= 4, "{:?}", world.begun());
}
