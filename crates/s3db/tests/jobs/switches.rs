//! Adding, changing, removing and switching jobs, seen by all processes.

use std::time::Duration;

use s3db::scheduler::{Action, JobDefinition, SchedulerEvent, SchedulerPlugin};
use s3db::{Delivery, ErrorKind, ResourceDefinition};
use serde_json::json;

use crate::world::{World, every, minutely};

fn insert(name: &str, schedule: &str) -> JobDefinition {
    let action = Action::new("insert").field("resource", "ticks").field("record", json!({"job": "=job"}));
    JobDefinition::new(name, schedule).retries(0).action(action)
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_seen_by_every_process_within_a_look_and_outlives_it() {
    let world = World::new();
    let (a, b) = (
        world.process(world.job(every("j", 5), Duration::ZERO)).await,
        world.process(world.job(every("j", 5), Duration::ZERO)).await,
    );
    world.pass_s(62).await;
    let caller = world.caller(SchedulerPlugin::builder()).await;
    assert!(caller.scheduler.disable_job("j").await.unwrap());
    assert!(!caller.scheduler.disable_job("j").await.unwrap());
    world.pass_s(11).await;
    let so_far = world.begun().len();
    world.pass_s(600).await;
    assert_eq!(world.begun().len(), so_far);
    // What came while it was off was not missed; the file does not switch it on again.
    a.stop().await;
    b.stop().await;
    let again = world.process(world.job(every("j", 5), Duration::ZERO)).await;
    world.pass_s(60).await;
    assert_eq!(world.begun().len(), so_far);
    assert!(!again.scheduler.get_job_status("j").await.unwrap().enabled);
    assert!(caller.scheduler.enable_job("j").await.unwrap() && !caller.scheduler.enable_job("j").await.unwrap());
    world.pass_s(62).await;
    assert!((so_far + 10..=so_far + 13).contains(&world.begun().len()));
    assert_eq!(again.statuses("j").await.get("missed"), None);
    assert_eq!(caller.scheduler.enable_job("k").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn jobs_come_and_go_while_processes_run() {
    let world = World::new();
    let process = world.process(SchedulerPlugin::builder()).await;
    let ticks = ResourceDefinition::new("ticks").attribute("job", "string");
    let ticks = process.db.create_resource(ticks).await.unwrap();
    let caller = world.caller(SchedulerPlugin::builder()).await;
    assert!(caller.scheduler.add_job(insert("j", "*/10 * * * * *")).await.unwrap());
    assert!(!caller.scheduler.add_job(insert("j", "*/10 * * * * *")).await.unwrap());
    world.pass_s(65).await;
    assert!((5..=6).contains(&ticks.count().await.unwrap()));
    // Another schedule counts from now on.
    assert!(caller.scheduler.add_job(insert("j", "*/30 * * * * *")).await.unwrap());
    world.pass_s(125).await;
    let count = ticks.count().await.unwrap();
    assert!((9..=11).contains(&count), "{count}");
    assert!(caller.scheduler.remove_job("j").await.unwrap() && !caller.scheduler.remove_job("j").await.unwrap());
    world.pass_s(300).await;
    assert!(ticks.count().await.unwrap() <= count + 1);
    assert_eq!(caller.scheduler.get_job_status("j").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!caller.history("j").await.is_empty());
    caller.scheduler.add_job(insert("j", "*/30 * * * * *")).await.unwrap();
    world.pass_s(70).await;
    assert_eq!(process.statuses("j").await.get("missed"), None);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_removed_stays_so_until_its_definition_changes() {
    let world = World::new();
    let first = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    world.pass_s(25).await;
    first.scheduler.remove_job("j").await.unwrap();
    first.stop().await;
    let second = world.process(world.job(every("j", 10), Duration::ZERO)).await;
    let so_far = world.begun().len();
    world.pass_s(60).await;
    assert_eq!(world.begun().len(), so_far);
    second.stop().await;
    let _third = world.process(world.job(every("j", 5), Duration::ZERO)).await;
    world.pass_s(30).await;
    assert!(world.begun().len() > so_far);
}

#[tokio::test(start_paused = true)]
async fn of_two_definitions_of_one_job_all_processes_follow_the_last_one_stored() {
    let world = World::new();
    let a = world.process(world.job(every("j", 5), Duration::ZERO)).await;
    world.pass_s(62).await;
    let before = world.begun().len();
    assert_eq!(before, 12);
    let b = world.process(world.job(every("j", 30), Duration::ZERO)).await;
    world.pass_s(120).await;
    assert!((4..=6).contains(&(world.begun().len() - before)), "{}", world.begun().len());
    for process in [&a, &b] {
        assert_eq!(process.scheduler.get_job_status("j").await.unwrap().schedule, "*/30 * * * * *");
    }
    assert!(world.counts().values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_as_events() {
    let world = World::new();
    let caller = world.caller(SchedulerPlugin::builder()).await;
    let mut events = caller.scheduler.subscribe();
    caller.scheduler.add_job(insert("j", "* * * * *")).await.unwrap();
    caller.scheduler.disable_job("j").await.unwrap();
    caller.scheduler.enable_job("j").await.unwrap();
    caller.scheduler.remove_job("j").await.unwrap();
    let mut told = Vec::new();
    while let Some(Delivery::Event(event)) = events.try_next() {
        told.push(*event);
    }
    let job_name = || "j".to_owned();
    assert_eq!(
        told,
        [
            SchedulerEvent::JobAdded { job_name: job_name() },
            SchedulerEvent::JobDisabled { job_name: job_name() },
            SchedulerEvent::JobEnabled { job_name: job_name() },
            SchedulerEvent::JobRemoved { job_name: job_name() },
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_file_switches_off_does_not_run_until_somebody_says_so() {
    let world = World::new();
    let process = world.process(world.job(minutely("j").enabled(false), Duration::ZERO)).await;
    world.pass_s(200).await;
    assert_eq!(world.begun().len(), 0);
    assert_eq!(process.scheduler.get_job_status("j").await.unwrap().next_run, None);
    process.scheduler.enable_job("j").await.unwrap();
    world.pass_s(65).await;
    assert_eq!((world.begun().len(), process.statuses("j").await.get("missed")), (1, None));
}
