//! Actions: when they run, how often, and what becomes of their results.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::state_machine::{ActionsState, HistoryOptions, MachineDefinition, StateMachineBuilder};
use serde_json::{Value, json};

use crate::clock::{Process, World, builder, machine};

/// What an action of these tests was called with.
type Calls = Arc<Mutex<Vec<(String, String, u32)>>>;

fn order() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "a", "states": {
            "a": {"on": {"GO": {"target": "b", "actions": "during"}}, "exit": "leaving"},
            "b": {"on": {"BACK": "a", "STAY": "b"}, "entry": "arriving"}
        }}),
    )
}

/// Actions that note their calls; one of them fails so often.
fn noting(calls: &Calls, failing: &'static str, times: u32) -> StateMachineBuilder {
    let mut plugin = builder().machine(order());
    for name in ["leaving", "during", "arriving"] {
        let calls = Arc::clone(calls);
        plugin = plugin.action(name, move |call| {
            calls.lock().unwrap().push((call.action.clone(), call.token.clone(), call.attempt));
            async move {
                if call.action == failing && call.attempt <= times {
                    return Err(format!("{} fails", call.action));
                }
                Ok(json!({ call.action.clone(): call.version }))
            }
        });
    }
    plugin
}

async fn history(process: &Process, entity: &str) -> Vec<s3db::state_machine::HistoryRow> {
    process.machines.get_transition_history("m", entity, &HistoryOptions::default()).await.unwrap().items
}

#[tokio::test(start_paused = true)]
async fn actions_run_in_order_and_their_results_are_merged_and_logged() {
    let (world, calls) = (World::new(), Calls::default());
    let process = world.process(noting(&calls, "", 0)).await;
    process.machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    let sent = process.machines.send("m", "e", "GO", json!({"p": 2})).await.unwrap();
    assert_eq!(sent.actions, ActionsState::Done);
    let names: Vec<String> = calls.lock().unwrap().iter().map(|(name, ..)| name.clone()).collect();
    assert_eq!(names, ["leaving", "during", "arriving"]);
    let view = process.machines.get_entity("m", "e").await.unwrap();
    assert_eq!(json!(view.context), json!({"n": 1, "p": 2, "leaving": 1, "during": 1, "arriving": 1}));
    assert_eq!((view.version, view.pending.len()), (1, 0));
    let rows = history(&process, "e").await;
    assert_eq!(json!(rows[0].context), json!({"n": 1, "p": 2}), "the row says what the transition wrote");
    assert_eq!(
        rows[0].actions.iter().map(|a| (a.name.as_str(), a.ok)).collect::<Vec<_>>(),
        [("leaving", true), ("during", true), ("arriving", true)]
    );
    // The entity's next transition keeps the row as it is.
    process.machines.send("m", "e", "BACK", Value::Null).await.unwrap();
    assert_eq!(history(&process, "e").await[1], rows[0]);
    assert!(process.machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn a_failing_action_is_tried_three_times_and_the_transition_stands() {
    let (world, calls) = (World::new(), Calls::default());
    let process = world.process(noting(&calls, "during", 99)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let sent = process.machines.send("m", "e", "GO", Value::Null).await.unwrap();
    assert_eq!((sent.actions, sent.to.as_str()), (ActionsState::Failed, "b"));
    let calls = calls.lock().unwrap().clone();
    let during: Vec<_> = calls.iter().filter(|(name, ..)| name == "during").collect();
    assert_eq!(during.iter().map(|(_, _, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(during.iter().all(|(_, token, _)| *token == during[0].1), "the token stays the same");
    assert!(during[0].1.starts_with("m/e/1/during/"));
    assert_eq!(calls.last().unwrap().0, "arriving", "the next action runs all the same");
    let row = &history(&process, "e").await[0];
    assert_eq!(
        (row.actions[1].ok, row.actions[1].attempts, row.actions[1].error.as_deref()),
        (false, 3, Some("during fails"))
    );
    assert!(process.machines.get_entity("m", "e").await.unwrap().pending.is_empty());
    assert_eq!(process.machines.metrics().action_errors, 3);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_fails_once_is_done_by_its_second_attempt() {
    let (world, calls) = (World::new(), Calls::default());
    let process = world.process(noting(&calls, "arriving", 1)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    assert_eq!(process.machines.send("m", "e", "GO", Value::Null).await.unwrap().actions, ActionsState::Done);
    assert_eq!(history(&process, "e").await[0].actions[2].attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn actions_that_panic_or_never_end_count_as_failed() {
    let world = World::new();
    let plugin = builder()
        .machine(order())
        .action_attempts(1)
        .action_timeout(Duration::from_secs(3))
        .action("leaving", |call| async move {
            assert!(call.context.is_empty(), "boom");
            Ok::<_, String>(Value::Null)
        })
        .action("during", |_| std::future::pending::<Result<Value, String>>())
        .action("arriving", |_| async { Ok::<_, String>(json!("no object is not merged")) });
    let process = world.process(plugin).await;
    process.machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    assert_eq!(process.machines.send("m", "e", "GO", Value::Null).await.unwrap().actions, ActionsState::Failed);
    let row = &history(&process, "e").await[0];
    let errors: Vec<Option<&str>> = row.actions.iter().map(|a| a.error.as_deref()).collect();
    assert!(errors[0].unwrap().contains("it panicked: boom"), "{errors:?}");
    assert_eq!(errors[1..], [Some("it did not end within 3s"), None]);
    assert_eq!(json!(process.machines.get_entity("m", "e").await.unwrap().context), json!({"n": 1}));
}

#[tokio::test(start_paused = true)]
async fn actions_of_a_process_that_died_are_finished_by_the_sweep_of_another() {
    let (world, calls) = (World::new(), Calls::default());
    let dying = world
        .process(
            builder()
                .machine(order())
                .action("leaving", |_| async { Ok::<_, String>(Value::Null) })
                .action("during", |_| std::future::pending::<Result<Value, String>>())
                .action("arriving", |_| async { Ok::<_, String>(Value::Null) }),
        )
        .await;
    dying.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = dying.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await });
    world.pass(Duration::from_secs(1)).await;
    sending.abort();
    drop(dying);

    let other = world.process(noting(&calls, "", 0)).await;
    let report = other.machines.sweep().await.unwrap();
    assert_eq!((report.due, report.finished), (0, 0), "its time is not over");
    let view = other.machines.get_entity("m", "e").await.unwrap();
    assert_eq!((view.version, view.pending[0].actions.len()), (1, 3));
    world.pass(Duration::from_secs(100)).await;
    let report = other.machines.sweep().await.unwrap();
    assert_eq!((report.due, report.finished, report.failures), (1, 1, 0), "{report:?}");
    assert_eq!(calls.lock().unwrap().len(), 3, "all run again: at least once");
    assert!(other.machines.get_entity("m", "e").await.unwrap().pending.is_empty());
    assert_eq!(other.machines.sweep().await.unwrap().due, 0, "nothing is due any more");
    assert!(other.machines.verify("m", "e").await.unwrap().valid);
    assert!(other.db.doctor(false, &|_, _| ()).await.unwrap().findings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_next_sender_finishes_what_a_process_left() {
    let (world, calls) = (World::new(), Calls::default());
    let dying = world
        .process(
            builder()
                .machine(order())
                .action("leaving", |_| std::future::pending::<Result<Value, String>>())
                .action("during", |_| async { Ok::<_, String>(Value::Null) })
                .action("arriving", |_| async { Ok::<_, String>(Value::Null) }),
        )
        .await;
    dying.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = dying.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await });
    world.pass(Duration::from_secs(1)).await;
    sending.abort();
    world.pass(Duration::from_secs(100)).await;
    let other = world.process(noting(&calls, "", 0)).await;
    other.machines.send("m", "e", "BACK", Value::Null).await.unwrap();
    let names: Vec<String> = calls.lock().unwrap().iter().map(|(name, ..)| name.clone()).collect();
    assert_eq!(names, ["leaving", "during", "arriving"], "before the event was decided");
    let rows = history(&other, "e").await;
    assert_eq!((rows.len(), rows[1].actions.len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_action_that_kills_each_process_is_given_up_after_three() {
    let world = World::new();
    let runs = Arc::new(AtomicUsize::new(0));
    for attempt in 0..4 {
        let counted = Arc::clone(&runs);
        let process = world
            .process(
                builder()
                    .machine(order())
                    .action("leaving", move |_| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        std::future::pending::<Result<Value, String>>()
                    })
                    .action("during", |_| async { Ok::<_, String>(Value::Null) })
                    .action("arriving", |_| async { Ok::<_, String>(Value::Null) }),
            )
            .await;
        let machines = process.machines.clone();
        let working = tokio::spawn(async move {
            if attempt == 0 {
                machines.initialize_entity("m", "e", Value::Null).await.unwrap();
                machines.send("m", "e", "GO", Value::Null).await.unwrap();
            } else {
                machines.sweep().await.unwrap();
            }
        });
        world.pass(Duration::from_secs(1)).await;
        working.abort();
        world.pass(Duration::from_secs(120)).await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    let last = world.process(noting(&Calls::default(), "", 0)).await;
    let row = &history(&last, "e").await[0];
    assert!(
        row.actions.iter().any(|a| !a.ok && a.error.as_deref() == Some("each process that ran it ended before it did")),
        "{row:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_send_while_another_process_runs_older_actions_is_pending_and_runs_after_them() {
    let (world, calls) = (World::new(), Calls::default());
    let slow = Arc::clone(&calls);
    let clock = world.clock.clone();
    let first = world
        .process(
            builder()
                .machine(order())
                .action("leaving", |_| async { Ok::<_, String>(Value::Null) })
                .action("during", |_| async { Ok::<_, String>(Value::Null) })
                .action("arriving", move |call| {
                    let (slow, clock) = (Arc::clone(&slow), clock.clone());
                    async move {
                        use s3db::store::clock::Clock as _;
                        clock.sleep(Duration::from_secs(10)).await;
                        slow.lock().unwrap().push((
                            format!("{}@{}", call.action, call.version),
                            call.token,
                            call.attempt,
                        ));
                        Ok::<_, String>(json!({ "last": call.version }))
                    }
                }),
        )
        .await;
    let second = world.process(noting(&calls, "", 0)).await;
    first.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = first.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await.unwrap() });
    world.pass(Duration::from_secs(1)).await;
    let sent = second.machines.send("m", "e", "STAY", Value::Null).await.unwrap();
    assert_eq!((sent.version, sent.actions), (2, ActionsState::Pending));
    assert_eq!(sending.await.unwrap().actions, ActionsState::Done);
    let names: Vec<String> = calls.lock().unwrap().iter().map(|(name, ..)| name.clone()).collect();
    assert_eq!(names, ["arriving@1", "arriving@2"], "the process that runs older ones runs it");
    let rows = history(&second, "e").await;
    assert_eq!((rows[0].actions.len(), rows[1].actions.len()), (1, 3), "each row says what became of its own");
    assert_eq!(second.machines.get_entity("m", "e").await.unwrap().context["last"], 2);
    assert!(second.machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn an_action_may_send_to_its_own_entity() {
    let world = World::new();
    let plugin = builder()
        .machine(machine("m", json!({"initialState": "a", "states": {
            "a": {"on": {"GO": "b"}}, "b": {"on": {"NEXT": "c"}, "entry": "onward"}, "c": {"type": "final", "entry": "end"}}})))
        .action("onward", |call| async move {
            let machines = call.db.plugin::<s3db::state_machine::StateMachinePlugin>().map_err(|e| e.to_string())?;
            let sent = machines.send("m", &call.entity, "NEXT", Value::Null).await.map_err(|e| e.to_string())?;
            assert_eq!(sent.actions, ActionsState::Pending);
            Ok::<_, String>(json!({"onward": true}))
        })
        .action("end", |call| async move { Ok::<_, String>(json!({"sawOnward": call.context.contains_key("onward")})) });
    let process = world.process(plugin).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.machines.send("m", "e", "GO", Value::Null).await.unwrap();
    let view = process.machines.get_entity("m", "e").await.unwrap();
    assert_eq!((view.state.as_str(), view.version, view.pending.len()), ("c", 2, 0));
    assert_eq!(json!(view.context), json!({"onward": true, "sawOnward": true}));
}

#[tokio::test(start_paused = true)]
async fn entry_actions_of_the_initial_state_run_when_an_entity_begins() {
    let world = World::new();
    let plugin = builder()
        .machine(machine("m", json!({"initialState": "a", "states": {"a": {"on": {"GO": "a"}, "entry": ["welcome", {"kind": "assign", "set": {"born": "=entity"}}]}}})))
        .action("welcome", |call| async move {
            assert_eq!((call.version, call.from.as_str(), call.to.as_str()), (0, "a", "a"));
            Ok::<_, String>(json!({"welcomed": true}))
        });
    let process = world.process(plugin).await;
    let view = process.machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    assert_eq!(json!(view.context), json!({"n": 1, "born": "e", "welcomed": true}));
    assert_eq!((view.version, view.pending.len()), (0, 0));
    assert!(history(&process, "e").await.is_empty());
}
