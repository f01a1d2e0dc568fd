//! A run: attempts, time-outs, cancellation, events, callbacks, manual runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::scheduler::{
    Action, JobDefinition, Overlap, RunOptions, RunStatus, SchedulerEvent, SchedulerPlugin, Trigger,
};
use s3db::store::clock::Clock as _;
use s3db::{Delivery, ErrorKind, ResourceDefinition};
use serde_json::{Value, json};

use crate::world::{BEGIN, World, at, is, minutely};

/// A job that fails so often before it succeeds.
fn flaky(world: &World, job: JobDefinition, failures: u32) -> s3db::scheduler::SchedulerBuilder {
    let begun = world.begun.clone();
    SchedulerPlugin::builder().job_fn(job, move |call| {
        begun.lock().unwrap().push((call.context.run_id.clone(), 0, call.context.attempt));
        async move {
            if call.context.attempt <= failures {
                Err(format!("failure {}", call.context.attempt))
            } else {
                Ok(json!({"ok": true}))
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_made_again_after_growing_pauses_and_each_is_recorded() {
    let world = World::new();
    let job = minutely("j").retries(3).backoff(Duration::from_secs(4), Duration::from_secs(10));
    let process = world.process(flaky(&world, job, 3)).await;
    world.pass_s(110).await;
    let row = &process.history("j").await[0];
    assert!(is(row, RunStatus::Success) && row.retry_count == 3 && row.error.is_none(), "{row:?}");
    let starts: Vec<i64> =
        row.attempts.iter().map(|a| s3db::instant(&a.start_time).unwrap() - BEGIN - 60_000).collect();
    let pauses: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, longest) in pauses.iter().zip([4_000, 8_000, 10_000]) {
        assert!((longest / 2..=longest).contains(pause), "{pauses:?}");
    }
    assert_eq!(row.attempts[1].error.as_deref(), Some("failure 2"));
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_the_runs_and_on_failure_is_done_after_it() {
    let world = World::new();
    let alarm = Action::new("insert")
        .field("resource", "alarms")
        .field("record", json!({"text": "=job + ' failed: ' + error"}));
    let job = minutely("j").retries(1).backoff(Duration::from_secs(1), Duration::from_secs(1)).on_failure(alarm);
    let process = world.process(flaky(&world, job, 9)).await;
    let alarms = ResourceDefinition::new("alarms").attribute("text", "string");
    let alarms = process.db.create_resource(alarms).await.unwrap();
    world.pass_s(70).await;
    let row = &process.history("j").await[0];
    assert!(
        is(row, RunStatus::Error) && row.error.as_deref() == Some("failure 2") && row.attempts.len() == 2,
        "{row:?}"
    );
    let found = alarms.list(&s3db::Query::all()).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].attributes["text"], "j failed: failure 2");
}

#[tokio::test(start_paused = true)]
async fn no_retries_means_one_attempt() {
    let world = World::new();
    let process = world.process(flaky(&world, minutely("j").retries(0), 1)).await;
    world.pass_s(65).await;
    assert_eq!((world.begun().len(), process.statuses("j").await["error"]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_time_out_fires_the_token_and_no_attempt_begins_before_the_other_has_ended() {
    let world = World::new();
    let under_way = Arc::new(Mutex::new((0_i32, 0_i32)));
    let (clock, counted) = (world.clock.clone(), under_way.clone());
    let job = minutely("j")
        .timeout(Duration::from_secs(5))
        .retries(2)
        .backoff(Duration::from_millis(10), Duration::from_millis(10));
    let builder = SchedulerPlugin::builder().job_fn(job, move |call| {
        let (clock, counted) = (clock.clone(), counted.clone());
        async move {
            {
                let mut counts = counted.lock().unwrap();
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
            }
            call.cancellation.cancelled().await;
            // It needs a while to end in order.
            clock.sleep(Duration::from_secs(3)).await;
            counted.lock().unwrap().0 -= 1;
            Err::<Value, _>("stopped in order")
        }
    });
    let process = world.process(builder).await;
    world.pass_s(100).await;
    let row = &process.history("j").await[0];
    assert!(is(row, RunStatus::Timeout) && row.attempts.len() == 3, "{row:?}");
    assert!(row.attempts.iter().all(|attempt| attempt.duration == 8_000), "{row:?}");
    assert_eq!(row.error.as_deref(), Some("it did not end within 5s"));
    assert_eq!(under_way.lock().unwrap().1, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_listen_is_dropped_after_a_grace_and_one_that_panics_harms_nobody() {
    let world = World::new();
    let deaf = JobDefinition::new("deaf", "* * * * *").timeout(Duration::from_secs(5)).retries(0);
    let builder = SchedulerPlugin::builder()
        .job_fn(deaf, |_call| async { std::future::pending::<Result<Value, String>>().await })
        .job_fn(minutely("panics"), |call| async move {
            assert!(call.context.attempt > 9, "on purpose");
            Ok::<_, String>(json!(1))
        })
        .job_fn(minutely("begins_with_panic"), |call| {
            assert!(call.context.attempt > 9, "at once");
            async { Ok::<_, String>(json!(1)) }
        });
    let process = world.process(world.with_job(builder, minutely("good"), Duration::ZERO)).await;
    world.pass_s(140).await;
    let row = &process.history("deaf").await[0];
    assert!(is(row, RunStatus::Timeout) && row.duration == 15_000, "{row:?}");
    assert_eq!(process.history("panics").await[0].error.as_deref(), Some("it panicked: on purpose"));
    assert_eq!(process.history("begins_with_panic").await[0].error.as_deref(), Some("it panicked: at once"));
    assert_eq!(process.statuses("good").await["success"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_of_zero_is_none_and_the_default_is_a_minute() {
    let world = World::new();
    let long = JobDefinition::new("long", "0 * * * *").timeout(Duration::ZERO).retries(0);
    let builder = world.with_job(SchedulerPlugin::builder(), long, Duration::from_secs(7200));
    let short = JobDefinition::new("short", "0 * * * *").retries(0);
    let process = world.process(world.with_job(builder, short, Duration::from_secs(61))).await;
    world.pass_s(3600 * 3 + 60).await;
    assert!(is(&process.history("long").await[0], RunStatus::Success));
    assert_eq!(process.history("short").await[0].error.as_deref(), Some("it did not end within 60s"));
}

#[tokio::test(start_paused = true)]
async fn a_run_knows_what_it_is_and_events_and_callbacks_tell_of_it() {
    let world = World::new();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let (a, b, c) = (told.clone(), told.clone(), told.clone());
    let job = minutely("j").retries(1).backoff(Duration::from_secs(1), Duration::from_secs(1)).meta("team", "data");
    let builder = flaky(&world, job, 1)
        .on_job_start(move |name, context| {
            a.lock().unwrap().push(format!("start {name} {} {}", context.attempt, context.meta["team"]))
        })
        .on_job_complete(move |name, result, took| b.lock().unwrap().push(format!("complete {name} {result} {took:?}")))
        .on_job_error(move |name, error, retry| c.lock().unwrap().push(format!("error {name} {error} {retry}")))
        .on_job_error(|_, _, _| panic!("a callback"));
    let process = world.process(builder).await;
    let mut events = process.scheduler.subscribe();
    world.pass_s(70).await;
    let told = told.lock().unwrap().clone();
    assert_eq!((told.len(), told[0].as_str(), told[1].as_str()), (3, "start j 1 \"data\"", "error j failure 1 1"));
    assert!(told[2].starts_with("complete j {\"ok\":true} "), "{told:?}");
    let mut kinds = Vec::new();
    while let Some(Delivery::Event(event)) = events.try_next() {
        match *event {
            SchedulerEvent::JobStart { job_name, context } => {
                assert_eq!(context.scheduled_time, Some(at(BEGIN + 60_000)));
                kinds.push(format!("start {job_name}"));
            }
            SchedulerEvent::JobError { retry_count, .. } => kinds.push(format!("error {retry_count}")),
            SchedulerEvent::JobComplete { result, .. } => kinds.push(format!("complete {result}")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kinds, ["start j", "error 1", "complete {\"ok\":true}"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_run_is_no_complete_event() {
    let world = World::new();
    let process = world.process(flaky(&world, minutely("j"), 9)).await;
    let mut events = process.scheduler.subscribe();
    world.pass_s(65).await;
    let mut errors = 0;
    while let Some(Delivery::Event(event)) = events.try_next() {
        assert!(!matches!(*event, SchedulerEvent::JobComplete { .. }), "{event:?}");
        errors += u32::from(matches!(*event, SchedulerEvent::JobError { .. }));
    }
    assert_eq!(errors, 1);
}

#[tokio::test(start_paused = true)]
async fn a_manual_run_is_a_run_like_any_other() {
    let world = World::new();
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let contexts = seen.clone();
    let builder = SchedulerPlugin::builder().job_fn(minutely("j").enabled(false), move |call| {
        contexts.lock().unwrap().push(json!(call.context));
        async move { Ok::<_, String>(call.context.context) }
    });
    let process = world.caller(builder).await;
    let first = process.scheduler.run_job("j", json!({"month": 3})).await.unwrap();
    assert_eq!((first.status, first.result), (RunStatus::Success, json!({"month": 3})));
    assert!(first.run_id.starts_with("j_m_"), "{}", first.run_id);
    world.pass_s(10).await;
    process.scheduler.run_job("j", Value::Null).await.unwrap();
    let contexts = seen.lock().unwrap().clone();
    assert_eq!((contexts[0]["scheduledTime"].clone(), contexts[0]["lastSuccess"].clone()), (Value::Null, Value::Null));
    assert_eq!(contexts[1]["lastSuccess"], at(BEGIN));
    let rows = process.history("j").await;
    assert!(
        rows.len() == 2 && rows[0].trigger == Some(Trigger::Manual) && rows[0].scheduled_time.is_none(),
        "{rows:?}"
    );
    for wrong in [json!([1]), json!("x"), json!({"x": "y".repeat(1 << 21)})] {
        assert_eq!(process.scheduler.run_job("j", wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(process.scheduler.run_job("k", Value::Null).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_manual_run_waits_for_the_one_under_way_unless_it_is_forced() {
    let world = World::new();
    let (a, b) = (
        world.process(world.job(minutely("j"), Duration::from_secs(20))).await,
        world.caller(world.job(minutely("j"), Duration::from_secs(20))).await,
    );
    world.pass_s(62).await;
    let begun = world.now_ms();
    let forced = b.scheduler.run_job_with("j", Value::Null, RunOptions { force: true }).await.unwrap();
    assert!(forced.status == RunStatus::Success && world.now_ms() - begun <= 20_100);
    drop(a);
    let world = World::new();
    let (_a, b) = (
        world.process(world.job(minutely("j"), Duration::from_secs(20))).await,
        world.caller(world.job(minutely("j"), Duration::from_secs(20))).await,
    );
    world.pass_s(62).await;
    let begun = world.now_ms();
    let waited = b.scheduler.run_job("j", Value::Null).await.unwrap();
    assert!(
        waited.status == RunStatus::Success && (38_000..41_000).contains(&(world.now_ms() - begun)),
        "{}",
        world.now_ms() - begun
    );
    // It counts: the schedule did not begin another beside it.
    assert!(world.counts().len() <= 3);
}

#[tokio::test(start_paused = true)]
async fn manual_runs_of_a_job_that_allows_it_go_side_by_side() {
    let world = World::new();
    let process = world.caller(world.job(minutely("j").overlap(Overlap::AllowAll), Duration::from_secs(10))).await;
    let begun = world.now_ms();
    let runs = (0..5).map(|_| process.scheduler.run_job("j", Value::Null));
    let done = futures::future::join_all(runs).await;
    assert!(done.iter().all(|run| run.as_ref().is_ok_and(|run| run.status == RunStatus::Success)), "{done:?}");
    assert!(world.now_ms() - begun < 11_000, "{}", world.now_ms() - begun);
    assert_eq!(process.scheduler.get_job_status("j").await.unwrap().statistics.success, 5);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_cancelled_from_anywhere() {
    let world = World::new();
    let job = || minutely("j").timeout(Duration::ZERO);
    let process = world.process(world.job(job(), Duration::from_secs(3600))).await;
    let other = world.caller(SchedulerPlugin::builder()).await;
    world.pass_s(65).await;
    let run = format!("j_{}", BEGIN + 60_000);
    other.scheduler.cancel_run(&run).await.unwrap();
    assert!(other.scheduler.get_job_status("j").await.unwrap().running[0].cancel_requested);
    world.pass_s(25).await;
    let row = &process.history("j").await[0];
    assert!(is(row, RunStatus::Cancelled) && row.reason.as_deref() == Some("it was cancelled"), "{row:?}");
    for gone in [run.as_str(), "j_1", "nothing", ""] {
        assert_eq!(other.scheduler.cancel_run(gone).await.unwrap_err().kind(), ErrorKind::NotFound, "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_of_ten_megabytes_is_cut_and_the_run_is_a_success() {
    let world = World::new();
    let builder = SchedulerPlugin::builder()
        .job_fn(minutely("j"), |_call| async { Ok::<_, String>(json!("x".repeat(10 << 20))) });
    let process = world.caller(builder).await;
    let run = process.scheduler.run_job("j", Value::Null).await.unwrap();
    assert_eq!(
        (run.status, run.result["truncated"].clone(), run.result["bytes"].clone()),
        (RunStatus::Success, json!(true), json!((10 << 20) + 2))
    );
    assert_eq!(process.history("j").await[0].result["truncated"], true);
}
