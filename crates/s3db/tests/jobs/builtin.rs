//! Jobs whose action is data, with the other plugins: what the documentation combines.

use std::sync::Arc;
use std::time::Duration;

use s3db::backup::{BackupPlugin, BackupType, ListOptions, Mode, RestoreOptions};
use s3db::scheduler::{Action, JobDefinition, RunStatus, SchedulerBuilder, SchedulerPlugin};
use s3db::state_machine::{MachineDefinition, State, StateMachinePlugin};
use s3db::store::memory::Memory;
use s3db::{HookPoint, ResourceDefinition};
use serde_json::{Value, json};

use crate::world::{BEGIN, Process, World, is, minutely};

fn job(name: &str, action: Action) -> JobDefinition {
    minutely(name).action(action)
}

/// A process with machines and backups to a shelf.
async fn whole(world: &World, shelf: &Arc<Memory>, builder: SchedulerBuilder) -> Process {
    let orders = MachineDefinition::new("order", "pending")
        .state(State::new("pending").on("CONFIRM", "confirmed").on("AUTO_PROCESS", "confirmed"))
        .state(State::finished("confirmed"));
    let machines = StateMachinePlugin::builder().machine(orders).build().unwrap();
    let backups = BackupPlugin::builder().destination_store(shelf.clone()).clock(world.clock.clone()).build().unwrap();
    let more = |database: s3db::DatabaseBuilder| database.plugin(machines).plugin(backups);
    world.connect_with(world.memory.clone(), builder, true, more).await.unwrap()
}

fn shelf(world: &World) -> Arc<Memory> {
    Arc::new(Memory::with(s3db::store::Quirks::S3, world.clock.clone()))
}

#[tokio::test(start_paused = true)]
async fn sessions_that_have_expired_are_deleted() {
    let world = World::new();
    let clean =
        Action::new("delete_where").field("resource", "sessions").field("where", json!({"expiresAt": {"$lt": "$now"}}));
    let process = world.process(SchedulerPlugin::builder().job(job("cleanup", clean))).await;
    let sessions = ResourceDefinition::new("sessions").attribute("expiresAt", "number");
    let sessions = process.db.create_resource(sessions).await.unwrap();
    for (id, expires) in [("old", BEGIN - 1), ("soon", BEGIN + 90_000), ("later", BEGIN + 9_000_000)] {
        sessions.insert(json!({"id": id, "expiresAt": expires})).await.unwrap();
    }
    world.pass_s(65).await;
    assert_eq!(sessions.count().await.unwrap(), 2);
    world.pass_s(60).await;
    let rows = process.history("cleanup").await;
    let results: Vec<&Value> = rows.iter().map(|row| &row.result).collect();
    assert_eq!((results, sessions.count().await.unwrap()), (vec![&json!({"deleted": 1}), &json!({"deleted": 1})], 1));
}

#[tokio::test(start_paused = true)]
async fn records_are_inserted_and_changed() {
    let world = World::new();
    let insert = Action::new("insert")
        .field("resource", "log")
        .field("record", json!({"text": "=job + ' at ' + scheduledTime", "n": "=attempt"}));
    let update = Action::new("update_where")
        .field("resource", "log")
        .field("where", json!({"n": {"$lt": 5}}))
        .field("set", json!({"n": "=context.n"}));
    let builder = SchedulerPlugin::builder().job(job("write", insert)).job(job("raise", update).enabled(false));
    let process = world.process(builder).await;
    let log = ResourceDefinition::new("log").attribute("text", "string").attribute("n", "number");
    let log = process.db.create_resource(log).await.unwrap();
    world.pass_s(125).await;
    let texts: Vec<Value> =
        log.list(&s3db::Query::all()).await.unwrap().items.iter().map(|row| row.attributes["text"].clone()).collect();
    assert!(texts.contains(&json!("write at 2026-01-01T00:01:00.000Z")) && texts.len() == 2, "{texts:?}");
    let run = process.scheduler.run_job("raise", json!({"n": 7})).await.unwrap();
    assert_eq!((run.status, run.result), (RunStatus::Success, json!({"updated": 2})));
    assert_eq!(log.query(json!({"n": 7})).await.unwrap().len(), 2);
    // What it changes does not exist: a failure that says so.
    process.db.drop_resource("log").await.unwrap();
    let failed = process.scheduler.run_job("raise", json!({"n": 1})).await.unwrap();
    assert!(
        failed.status == RunStatus::Error && failed.error.as_ref().unwrap().contains("resource 'log' does not exist"),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn pending_orders_are_processed_every_ten_minutes() {
    let world = World::new();
    let send =
        Action::new("send_event").field("machine", "order").field("state", "pending").field("event", "AUTO_PROCESS");
    let every_ten = JobDefinition::new("process_pending", "*/10 * * * *").retries(0).action(send);
    let process = whole(&world, &shelf(&world), SchedulerPlugin::builder().job(every_ten)).await;
    let machines = process.db.plugin::<StateMachinePlugin>().unwrap();
    let orders =
        process.db.create_resource(ResourceDefinition::new("orders").attribute("total", "number")).await.unwrap();
    // An order that is inserted begins in its machine.
    let begins = machines.clone();
    orders.hook(HookPoint::AfterInsert, move |id, order| {
        let machines = begins.clone();
        async move {
            machines
                .initialize_entity("order", &id, json!({"total": order["total"]}))
                .await
                .map_err(|e| e.to_string())?;
            Ok(order)
        }
    });
    for n in 0..5 {
        orders.insert(json!({"id": format!("o{n}"), "total": n})).await.unwrap();
    }
    machines.send("order", "o0", "CONFIRM", Value::Null).await.unwrap();
    world.pass_s(605).await;
    let row = &process.history("process_pending").await[0];
    assert!(is(row, RunStatus::Success) && row.result == json!({"sent": 4}), "{row:?}");
    for n in 0..5 {
        assert_eq!(machines.get_state("order", &format!("o{n}")).await.unwrap(), "confirmed");
    }
    let row = &machines.get_transition_history("order", "o3", &Default::default()).await.unwrap().items[0];
    assert_eq!((row.event.as_str(), row.actor.as_deref()), ("AUTO_PROCESS", Some("job:process_pending")));
}

#[tokio::test(start_paused = true)]
async fn backups_are_made_and_cleaned_up_on_schedule() {
    let world = World::new();
    let shelf = shelf(&world);
    let nightly =
        |name: &str, schedule: &str, action: Action| JobDefinition::new(name, schedule).retries(0).action(action);
    let builder = SchedulerPlugin::builder()
        .job(nightly("full", "0 2 * * *", Action::new("backup")))
        .job(nightly("changes", "0 * * * *", Action::new("backup").field("type", "incremental")))
        .job(nightly("tidy", "30 2 * * *", Action::new("cleanup_backups")));
    let process = whole(&world, &shelf, builder).await;
    assert_eq!(process.scheduler.get_job("full").await.unwrap().timeout, Some(Duration::ZERO));
    let users = process.db.create_resource(ResourceDefinition::new("users").attribute("n", "number")).await.unwrap();
    users.insert(json!({"id": "a", "n": 1})).await.unwrap();
    world.pass_s(3 * 3600 + 60).await;
    let rows = process.history("full").await;
    assert!(is(&rows[0], RunStatus::Success) && rows[0].result["type"] == "full", "{rows:?}");
    assert!(is(&process.history("tidy").await[0], RunStatus::Success));
    let backups = process.db.plugin::<BackupPlugin>().unwrap();
    let made = backups.list_backups(&ListOptions::default()).await.unwrap();
    assert!(
        made.len() >= 3 && made.iter().any(|backup| backup.id == rows[0].result["id"].as_str().unwrap()),
        "{made:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_does_not_make_instants_run_again() {
    let world = World::new();
    let shelf = shelf(&world);
    let process = whole(&world, &shelf, world.job(minutely("j"), Duration::ZERO)).await;
    world.pass_s(65).await;
    let backups = process.db.plugin::<BackupPlugin>().unwrap();
    let made = backups.backup(BackupType::Full).await.unwrap();
    world.pass_s(600).await;
    let options = RestoreOptions { mode: Mode::Replace, ..RestoreOptions::default() };
    backups.restore(&made.id, &options).await.unwrap();
    world.pass_s(125).await;
    process.stop().await;
    assert!(world.counts().values().all(|count| *count == 1), "{:?}", world.counts());
    assert!(world.counts().len() >= 12);
}

/// In real time: a program waits for nobody's clock.
#[tokio::test]
async fn a_program_is_run_where_that_is_allowed_and_only_there() {
    let world = World::new();
    let echo =
        Action::new("exec").field("command", json!(["sh", "-c", "echo '{\"answer\": 42}'; test -n \"$S3DB_TOKEN\""]));
    let folder = tempfile::tempdir().unwrap();
    let builder = |allow| SchedulerPlugin::builder().allow_exec(allow).exec_folder(folder.path());
    let allowed = world.caller(builder(true).job(job("echo", echo.clone()))).await;
    let run = allowed.scheduler.run_job("echo", Value::Null).await.unwrap();
    assert_eq!((run.status, run.result), (RunStatus::Success, json!({"answer": 42})), "{:?}", run.error);
    // Another process finds the job, and does not run it.
    let other = world.caller(builder(false)).await;
    let refused = other.scheduler.run_job("echo", Value::Null).await.unwrap_err();
    assert!(refused.to_string().contains("allowExec"), "{refused}");
    let fails = Action::new("exec").field("command", json!(["sh", "-c", "echo no >&2; exit 3"]));
    allowed.scheduler.add_job(job("fails", fails)).await.unwrap();
    let run = allowed.scheduler.run_job("fails", Value::Null).await.unwrap();
    assert!(run.status == RunStatus::Error && run.error.as_ref().unwrap().contains("no"), "{run:?}");
}

/// In real time: what a program has started ends with it, so that no two attempts are under way at once.
#[tokio::test]
async fn a_program_that_takes_too_long_ends_with_all_that_it_has_started() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let script = "sh -c 'echo $$ > child; sleep 600' & wait";
    let slow = Action::new("exec").field("command", json!(["sh", "-c", script]));
    let job = job("slow", slow).timeout(Duration::from_secs(2));
    let caller = world.caller(SchedulerPlugin::builder().allow_exec(true).exec_folder(folder.path()).job(job)).await;
    let run = caller.scheduler.run_job("slow", Value::Null).await.unwrap();
    assert!(run.status == RunStatus::Timeout && run.duration < 8_000, "{run:?}");
    let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
    // A signal takes its time. It is gone, or nobody has looked at its end yet.
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    let ends = async {
        while !(stat().is_empty() || stat().contains(") Z ")) {
            world.pass(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), ends).await.is_ok(), "{}", stat());
}
