//! What callers, hooks and callbacks do wrong, and what must hold all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::state_machine::{ActionsState, HistoryOptions, MachineDefinition, MigrateOptions};
use s3db::store::clock::Clock as _;
use s3db::{ErrorKind, FindingKind, HookPoint};
use serde_json::{Value, json};

use crate::clock::{World, builder, machine};

fn acting() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": {"target": "a", "actions": "act"}, "T": "a"}, "after": {"1h": "a"}}}}),
    )
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_after_the_write_makes_no_second_transition() {
    let world = World::new();
    let process =
        world.process(builder().machine(acting()).action("act", |_| async { Ok::<_, String>(Value::Null) })).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.machines.send("m", "e", "T", Value::Null).await.unwrap();
    let states = process.db.resource("entity_states").await.unwrap();
    states.hook(HookPoint::AfterUpdate, |_, _| async { Err("the hook fails".to_owned()) });
    let error = process.machines.send("m", "e", "GO", Value::Null).await.unwrap_err();
    assert!(error.to_string().contains("the hook fails"), "{error}");
    let other = world.process(builder().action("act", |_| async { Ok::<_, String>(Value::Null) })).await;
    assert_eq!(other.machines.get_entity("m", "e").await.unwrap().version, 2, "one transition stands");
    let report = other.db.doctor(false, &|_, _| ()).await.unwrap();
    assert!(!report.findings.iter().any(|f| f.kind == FindingKind::MissingDueKey), "{report:?}");
    world.pass(Duration::from_secs(100)).await;
    assert_eq!(other.machines.sweep().await.unwrap().finished, 1, "its actions are found");
}

#[tokio::test(start_paused = true)]
async fn a_delete_takes_no_row_of_an_entity_that_was_begun_anew() {
    let toggle =
        machine("m", json!({"initialState": "a", "states": {"a": {"on": {"T": "b"}}, "b": {"on": {"T": "a"}}}}));
    for pause in 0..12 {
        let world = World::new();
        let (a, b) = (world.process(builder().machine(toggle.clone())).await, world.process(builder()).await);
        a.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
        for _ in 0..3 {
            a.machines.send("m", "e", "T", Value::Null).await.unwrap();
        }
        let anew = async {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            while b.machines.initialize_entity("m", "e", Value::Null).await.is_err() {
                tokio::task::yield_now().await;
            }
            for _ in 0..3 {
                b.machines.send("m", "e", "T", Value::Null).await.unwrap();
            }
        };
        let (deleted, ()) = tokio::join!(a.machines.delete_entity("m", "e"), anew);
        deleted.unwrap();
        let report = b.machines.verify("m", "e").await.unwrap();
        assert!(report.valid && report.rows == 3, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_on_also_where_only_the_plugin_is_kept() {
    let world = World::new();
    let on = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": {"target": "b", "actions": {"kind": "send_event", "machine": "m", "entity": "other", "event": "NOTE"}}, "NOTE": "a"}}, "b": {"type": "final"}}}),
    );
    let process = world.process(builder().machine(on)).await;
    let machines = process.machines.clone();
    drop(process);
    for entity in ["e", "other"] {
        machines.initialize_entity("m", entity, Value::Null).await.unwrap();
    }
    assert_eq!(machines.send("m", "e", "GO", Value::Null).await.unwrap().actions, ActionsState::Done);
    assert_eq!(machines.get_entity("m", "other").await.unwrap().version, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_for_a_send_stops_its_action() {
    let (world, ticks) = (World::new(), Arc::new(AtomicUsize::new(0)));
    let (counted, clock) = (Arc::clone(&ticks), world.clock.clone());
    let plugin = builder().machine(acting()).action("act", move |_| {
        let (counted, clock) = (Arc::clone(&counted), clock.clone());
        async move {
            loop {
                clock.sleep(Duration::from_secs(1)).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
            #[expect(unreachable_code, reason = "it never ends")]
            Ok::<_, String>(Value::Null)
        }
    });
    let process = world.process(plugin).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = process.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await });
    world.pass(Duration::from_millis(2_500)).await;
    sending.abort();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(ticks.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn migrate_waits_for_actions_that_a_process_left_and_finishes_them() {
    let world = World::new();
    let dying = world
        .process(builder().machine(acting()).action("act", |_| std::future::pending::<Result<Value, String>>()))
        .await;
    dying.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = dying.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await });
    world.pass(Duration::from_secs(1)).await;
    sending.abort();
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let other = world
        .process(builder().action("act", move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, String>(Value::Null) }
        }))
        .await;
    let mut second = acting();
    second.meta.insert("v".into(), json!(2));
    other.machines.define(second).await.unwrap();
    let report = other.machines.migrate("m", &MigrateOptions::default()).await.unwrap();
    assert_eq!((report.migrated, report.unmapped, ran.load(Ordering::SeqCst)), (1, 0, 1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn migrate_from_a_version_leaves_the_others_alone() {
    let world = World::new();
    let process = world.process(builder().action("act", |_| async { Ok::<_, String>(Value::Null) })).await;
    for number in 1..=3 {
        let mut definition = acting();
        definition.meta.insert("v".into(), json!(number));
        process.machines.define(definition).await.unwrap();
        process.machines.initialize_entity("m", &format!("on{number}"), Value::Null).await.unwrap();
    }
    let options = MigrateOptions { from: Some("1".into()), to: Some("3".into()), ..MigrateOptions::default() };
    let report = process.machines.migrate("m", &options).await.unwrap();
    assert_eq!((report.migrated, report.moves), (1, BTreeMap::from([("a → a".to_owned(), 1)])));
    assert_eq!(process.machines.get_entity("m", "on2").await.unwrap().version, 0);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_does_not_end_the_others() {
    let world = World::new();
    let called = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&called);
    let plugin = builder()
        .machine(acting())
        .action("act", |_| async { Ok::<_, String>(Value::Null) })
        .on_transition(|_| panic!("boom"))
        .on_transition(move |_| *counted.lock().unwrap() += 1);
    let process = world.process(plugin).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    for _ in 0..5 {
        process.machines.send("m", "e", "T", Value::Null).await.unwrap();
    }
    world.pass(Duration::from_millis(1)).await;
    assert_eq!(*called.lock().unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn stopping_says_so_where_work_was_cut_off() {
    let world = World::new();
    let clock = world.clock.clone();
    let late = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"after": {"1s": "b"}}, "b": {"type": "final", "entry": "act"}}}),
    );
    let plugin = builder()
        .machine(late)
        .sweep_interval(Some(Duration::from_secs(5)))
        .action("act", move |_| {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(20)).await;
                Ok::<_, String>(Value::Null)
            }
        })
        .build()
        .unwrap();
    let db = s3db::Database::builder("memory://m").store(world.memory.clone()).clock(world.clock.clone());
    let db = db.plugin(plugin.clone()).connect().await.unwrap();
    plugin.initialize_entity("m", "e", Value::Null).await.unwrap();
    world.pass(Duration::from_secs(6)).await;
    let error = db.stop(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Busy && error.to_string().contains("cut off"), "{error}");
    assert_eq!(plugin.get_entity("m", "e").await.unwrap().pending.len(), 1, "it is there for the next sweep");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_too_large_is_a_failure_of_its_action() {
    let world = World::new();
    let plugin = builder()
        .machine(acting())
        .action("act", |_| async { Ok::<_, String>(json!({"big": "x".repeat(1024 * 1024)})) });
    let process = world.process(plugin).await;
    process.machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    assert_eq!(process.machines.send("m", "e", "GO", Value::Null).await.unwrap().actions, ActionsState::Failed);
    assert_eq!(process.machines.metrics().action_errors, 1);
    let rows = process.machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items;
    assert!(rows[0].actions[0].error.as_ref().unwrap().contains("was not merged"), "{rows:?}");
    assert_eq!(json!(process.machines.get_entity("m", "e").await.unwrap().context), json!({"n": 1}));
}

#[tokio::test(start_paused = true)]
async fn a_later_timer_of_a_state_is_never_taken_for_a_left_over() {
    let world = World::new();
    let two = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"after": {"1h": {"target": "b", "guard": {"cel": "false"}}, "2h": "b"}}, "b": {"type": "final"}}}),
    );
    let process = world.process(builder().machine(two)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    world.pass(Duration::from_secs(3_700)).await;
    assert_eq!(process.machines.sweep().await.unwrap().blocked, 1);
    world.pass(Duration::from_secs(10_000)).await;
    assert_eq!(process.machines.sweep().await.unwrap().fired, 1);
    assert_eq!(process.machines.get_state("m", "e").await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_given_twice_is_refused() {
    let plugin = || builder().sweep_interval(None).build().unwrap();
    let twice = s3db::Database::builder("memory://twice").plugin(plugin()).plugin(plugin()).connect().await;
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::Invalid);
}
