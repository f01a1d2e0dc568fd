//! The history of a job: exact, in order, in pages, as long as it is kept; and that of s3db.js.

use std::time::Duration;

use s3db::scheduler::{HistoryOptions, RunStatus, SchedulerPlugin};
use s3db::{CopyOptions, Database, ErrorKind};
use serde_json::{Value, json};

use crate::world::{BEGIN, World, every, minutely};

#[tokio::test(start_paused = true)]
async fn rows_are_those_of_the_job_alone_newest_first_in_pages() {
    let world = World::new();
    // One job's name begins as the other's.
    let builder = world.with_job(SchedulerPlugin::builder(), every("a", 10), Duration::ZERO);
    let process = world.process(world.with_job(builder, every("a_1", 10), Duration::ZERO)).await;
    world.pass_s(605).await;
    process.scheduler.run_job("a", Value::Null).await.unwrap();
    process.stop().await;
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let options = HistoryOptions { limit: Some(7), cursor, ..HistoryOptions::default() };
        let page = process.scheduler.get_job_history("a", &options).await.unwrap();
        assert!(page.items.len() <= 7 && page.items.iter().all(|row| row.job_name == "a"));
        seen.extend(page.items.into_iter().map(|row| row.run_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 61);
    assert!(seen[0].starts_with("a_m_") && seen[1] == format!("a_{}", BEGIN + 600_000), "{seen:?}");
    assert!(seen[1..].windows(2).all(|pair| pair[0] > pair[1]));
    let failed = HistoryOptions { status: Some(RunStatus::Error), ..HistoryOptions::default() };
    assert!(process.scheduler.get_job_history("a", &failed).await.unwrap().items.is_empty());
    let wrong = HistoryOptions { cursor: Some("b_1".into()), ..HistoryOptions::default() };
    assert_eq!(process.scheduler.get_job_history("a", &wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
    let unknown = process.scheduler.get_job_history("zzzzzz", &HistoryOptions::default()).await.unwrap_err();
    assert!(unknown.kind() == ErrorKind::NotFound && unknown.guidance().unwrap().contains("a_1"), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_under_way_is_in_the_history() {
    let world = World::new();
    let process = world.process(world.job(minutely("j").timeout(Duration::ZERO), Duration::from_secs(600))).await;
    world.pass_s(90).await;
    let rows = process.history("j").await;
    assert!(rows.len() == 1 && rows[0].status == RunStatus::Running && rows[0].end_time.is_none(), "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn old_rows_and_too_many_are_deleted_and_nothing_runs_again_for_it() {
    let world = World::new();
    let builder = || world.job(minutely("j"), Duration::ZERO).history_retention(Duration::from_secs(1800), 1000);
    let process = world.process(builder()).await;
    world.pass_s(4 * 3600 + 5).await;
    let rows = process.history("j").await;
    assert!((30..=95).contains(&rows.len()), "{}", rows.len());
    assert_eq!(process.scheduler.get_job_status("j").await.unwrap().statistics.success, 240);
    process.stop().await;
    let few =
        world.caller(world.job(minutely("j"), Duration::ZERO).history_retention(Duration::from_secs(86_400), 5)).await;
    few.scheduler.prune_job_history("j").await.unwrap();
    assert!((5..=6).contains(&few.history("j").await.len()));
    assert!(world.counts().values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn statistics_equal_a_recount() {
    let world = World::new();
    let clock = world.clock.clone();
    let builder = SchedulerPlugin::builder().job_fn(minutely("j").timeout(Duration::from_secs(130)), move |call| {
        let clock = clock.clone();
        async move {
            let minute = (s3db::instant(call.context.scheduled_time.as_ref().unwrap()).unwrap() - BEGIN) / 60_000;
            let takes = if minute % 7 == 0 {
                200
            } else if minute % 5 == 0 {
                110
            } else {
                1
            };
            s3db::store::clock::Clock::sleep(&*clock, Duration::from_secs(takes)).await;
            if minute % 3 == 0 { Err("third") } else { Ok(json!(minute)) }
        }
    });
    let process = world.process(builder).await;
    world.pass_s(3 * 3600).await;
    process.stop().await;
    let status = process.scheduler.get_job_status("j").await.unwrap().statistics;
    let counted = process.scheduler.get_job_statistics("j").await.unwrap();
    assert_eq!(
        (status.success, status.timeout, status.skipped, status.missed),
        (counted.ok, counted.timeout, counted.skipped, counted.missed)
    );
    assert_eq!(status.error + status.interrupted + status.cancelled, counted.failed);
    assert_eq!((status.runs(), status.streak), (counted.total, counted.streak.unsigned_abs()));
    assert!((status.duration as f64 / counted.total as f64 - counted.average).abs() < 1.0);
    assert!(counted.timeout > 3 && counted.skipped > 10 && counted.failed > 20, "{counted:?}");
    let instants = status.runs() + status.skipped + status.missed;
    // The last ones may still wait behind the run before.
    assert!((178..=180).contains(&instants), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_s3db_js_made_is_kept_and_goes_on() {
    let world = World::new();
    let golden = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/12-plugins.json");
    let source = Database::connect(golden).await.unwrap();
    let target =
        Database::builder("memory://").store(world.memory.clone()).clock(world.clock.clone()).connect().await.unwrap();
    source.copy_to(&target, &CopyOptions { resources: Vec::new() }, &|_| ()).await.unwrap();
    let process = world.process(world.job(minutely("nightly"), Duration::ZERO)).await;
    world.pass_s(65).await;
    let rows = process.history("nightly").await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    let old = rows.iter().find(|row| row.trigger.is_none()).unwrap();
    assert_eq!((old.run_id.as_str(), old.status, old.duration), ("nightly_1795383750477", RunStatus::Success, 1));
    assert!(old.result["done"] == 5 || old.result.as_str().is_some_and(|text| text.contains("\"done\":5")), "{old:?}");
    assert!(process.db.resource("job_history").await.is_err());
    assert_eq!(process.history("bad").await[0].error.as_deref(), Some("boom"));
    // s3db.js's partitions of it find the new row too.
    let executions = process.db.resource("job_executions").await.unwrap();
    let found = executions.query(json!({"jobName": "nightly"})).await.unwrap();
    assert_eq!(found.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_no_history_is_refused_by_name() {
    let world = World::new();
    let db = Database::builder("memory://").store(world.memory.clone()).connect().await.unwrap();
    db.create_resource(s3db::ResourceDefinition::new("job_history").attribute("text", "string")).await.unwrap();
    let process = world.caller(world.job(minutely("j"), Duration::ZERO)).await;
    let error = process.scheduler.run_job("j", Value::Null).await.unwrap_err();
    assert!(
        error.to_string().contains("'job_history' is not a history of jobs") && error.guidance().is_some(),
        "{error}"
    );
    assert_eq!(world.begun().len(), 0);
    let named = world.caller(world.job(minutely("k"), Duration::ZERO).job_history_resource("runs_of_jobs")).await;
    assert_eq!(named.scheduler.run_job("k", Value::Null).await.unwrap().status, RunStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn missed_instants_are_run_after_all_by_a_backfill() {
    let world = World::new();
    let builder = || world.job(minutely("j"), Duration::from_secs(1));
    let first = world.process(builder()).await;
    world.pass_s(125).await;
    first.stop().await;
    world.pass_s(1800).await;
    let second = world.process(builder()).await;
    world.pass_s(40).await;
    let missed = second.statuses("j").await["missed"];
    assert!(missed >= 28, "{missed}");
    let minute = |n: i64| BEGIN + n * 60_000;
    let report = second.scheduler.backfill("j", minute(10), minute(12)).await.unwrap();
    assert_eq!((report.instants, report.had_run, report.success, report.failed), (3, 0, 3, 0));
    let statuses = second.statuses("j").await;
    assert_eq!(statuses["missed"], missed - 3, "{statuses:?}");
    let again = second.scheduler.backfill("j", minute(1), minute(12)).await.unwrap();
    assert_eq!((again.instants, again.had_run, again.success), (12, 5, 7), "{again:?}");
    assert_eq!(second.statuses("j").await["missed"], missed - 10);
    assert!(world.counts().values().all(|count| *count == 1));
    let rows = second.history("j").await;
    let planned: std::collections::BTreeSet<_> = rows.iter().map(|row| row.run_id.clone()).collect();
    assert_eq!(planned.len(), rows.len());
    let totals = second.scheduler.get_job_status("j").await.unwrap().statistics;
    assert_eq!(totals.missed, missed - 10);
    for (from, to) in
        [(minute(5), minute(4)), (minute(1), world.now_ms() + 1), (minute(1) - 86_400_000 * 300, minute(1))]
    {
        assert_eq!(second.scheduler.backfill("j", from, to).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
