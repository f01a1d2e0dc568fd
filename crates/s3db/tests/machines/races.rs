//! Two processes at once, and processes that come back late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::state_machine::{ActionsState, HistoryOptions, MachineDefinition, SendOptions};
use s3db::store::clock::Clock as _;
use s3db::{ErrorKind, FindingKind};
use serde_json::{Value, json};

use crate::clock::{Process, World, builder, machine};

fn timed() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": "b"}, "after": {"1h": "b"}}, "b": {"on": {"GO": "a"}, "after": {"1h": "c"}}, "c": {"type": "final"}}}),
    )
}

async fn misses_due_keys(process: &Process) -> bool {
    let report = process.db.doctor(false, &|_, _| ()).await.unwrap();
    report.findings.iter().any(|finding| finding.kind == FindingKind::MissingDueKey)
}

#[tokio::test(start_paused = true)]
async fn whoever_loses_a_race_leaves_the_winners_timers_alone() {
    let world = World::new();
    let (a, b) = (world.process(builder().machine(timed())).await, world.process(builder().machine(timed())).await);
    for n in 0..20 {
        let entity = format!("e{n}");
        let (first, second) = tokio::join!(
            a.machines.initialize_entity("m", &entity, Value::Null),
            b.machines.initialize_entity("m", &entity, Value::Null)
        );
        assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1, "one begins it");
        let (first, second) = tokio::join!(
            a.machines.send("m", &entity, "GO", Value::Null),
            b.machines.send("m", &entity, "GO", Value::Null)
        );
        assert!(first.is_ok() && second.is_ok());
    }
    assert!(!misses_due_keys(&a).await);
    world.pass(Duration::from_secs(3700)).await;
    assert_eq!(a.machines.sweep().await.unwrap().fired, 20);
}

#[tokio::test(start_paused = true)]
async fn sweepers_at_once_leave_the_next_timers_alone() {
    let chain = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"after": {"1s": "b"}}, "b": {"after": {"1s": "c"}}, "c": {"after": {"1s": "d"}}, "d": {"type": "final"}}}),
    );
    let world = World::new();
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(world.process(builder().machine(chain.clone())).await);
    }
    for n in 0..30 {
        processes[0].machines.initialize_entity("m", &format!("e{n}"), Value::Null).await.unwrap();
    }
    for _ in 0..8 {
        world.pass(Duration::from_secs(2)).await;
        let sweeps = processes.iter().map(|process| process.machines.sweep());
        futures::future::join_all(sweeps).await.into_iter().for_each(|swept| assert_eq!(swept.unwrap().failures, 0));
    }
    assert_eq!(processes[0].machines.counts("m", true).await.unwrap()["d"], 30);
}

/// Actions that note their version; the first of each transition takes so long.
fn slow(world: &World, ran: &Arc<Mutex<Vec<String>>>, first: Duration) -> s3db::state_machine::StateMachineBuilder {
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": {"target": "a", "actions": ["one", "two"]}}}}}),
    );
    let mut plugin = builder().machine(definition).action_timeout(Duration::from_secs(10));
    for (name, pause) in [("one", first), ("two", Duration::ZERO)] {
        let (ran, clock) = (Arc::clone(ran), world.clock.clone());
        plugin = plugin.action(name, move |call| {
            let (ran, clock) = (Arc::clone(&ran), clock.clone());
            async move {
                clock.sleep(pause).await;
                ran.lock().unwrap().push(format!("{}@{}", call.action, call.version));
                Ok::<_, String>(json!({ call.action: call.version }))
            }
        });
    }
    plugin
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_lost_its_group_merges_nothing_and_claims_nothing() {
    let (world, ran) = (World::new(), Arc::default());
    let late = world.process(slow(&world, &ran, Duration::from_secs(8))).await;
    late.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = late.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await.unwrap() });
    world.pass(Duration::from_secs(1)).await;
    // As another process sees it whose clock says that the time of the first is over.
    let states = late.db.resource("entity_states").await.unwrap();
    let mut row = states.get("m_e").await.unwrap().attributes;
    row["outbox"]["groups"][0]["untilMs"] = json!(1);
    states.update("m_e", json!({"outbox": row["outbox"]})).await.unwrap();
    let other = world.process(slow(&world, &ran, Duration::ZERO)).await;
    other.machines.send("m", "e", "GO", Value::Null).await.unwrap();
    assert_eq!(*ran.lock().unwrap(), ["one@1", "two@1", "one@2", "two@2"], "in the order of versions");
    let sent = sending.await.unwrap();
    assert_eq!(sent.actions, ActionsState::Pending, "it does not know what became of them");
    let again = ran.lock().unwrap().clone();
    assert!(!again[4..].iter().any(|ran| ran == "two@2"), "{again:?}");
    let view = other.machines.get_entity("m", "e").await.unwrap();
    assert_eq!((view.pending.len(), json!(view.context)), (0, json!({"one": 2, "two": 2})));
    assert!(other.machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn results_of_actions_reach_the_log_whoever_comes_between() {
    let (world, ran) = (World::new(), Arc::default());
    let mut processes = Vec::new();
    for _ in 0..6 {
        processes.push(world.process(slow(&world, &ran, Duration::from_millis(20))).await);
    }
    processes[0].machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let senders: Vec<_> = (0..60)
        .map(|n| {
            let (machines, clock) = (processes[n % 6].machines.clone(), world.clock.clone());
            tokio::spawn(async move {
                clock.sleep(Duration::from_millis(7 * n as u64)).await;
                machines.send("m", "e", "GO", Value::Null).await.unwrap()
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let rows = processes[0].machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items;
    assert_eq!(rows.len(), 60);
    for row in rows {
        assert_eq!(row.actions.len(), 2, "{row:?}");
    }
    assert_eq!(ran.lock().unwrap().len(), 120, "each ran once, since nobody died");
}

#[tokio::test(start_paused = true)]
async fn an_action_that_was_done_is_not_blamed_for_the_one_that_kills() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": {"target": "a", "actions": ["fine", "deadly"]}}}}}),
    );
    for attempt in 0..6 {
        let process = world
            .process(
                builder()
                    .machine(definition.clone())
                    .action("fine", |_| async { Ok::<_, String>(json!({"fine": true})) })
                    .action("deadly", |_| std::future::pending::<Result<Value, String>>()),
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
    let last = world.process(builder()).await;
    let row = &last.machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items[0];
    let shown: Vec<_> = row.actions.iter().map(|action| (action.name.as_str(), action.ok)).collect();
    assert_eq!(shown, [("fine", true), ("deadly", false)], "{row:?}");
    assert_eq!(last.machines.get_entity("m", "e").await.unwrap().context["fine"], true);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_may_not_run_programs_reads_and_leaves_the_rest_to_others() {
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": "b"}, "after": {"1h": "b"}}, "b": {"entry": {"kind": "exec", "command": ["true"]}, "on": {"GO": "a"}}}}),
    );
    let world = World::new();
    let allowed = world.process(builder().machine(definition).allow_exec(true)).await;
    allowed.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let other = world.process(builder()).await;
    assert_eq!(other.machines.get_valid_events("m", "e").await.unwrap(), ["GO"]);
    assert_eq!(other.machines.counts("m", false).await.unwrap()["a"], 1);
    let error = other.machines.send("m", "e", "GO", Value::Null).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unsupported && error.to_string().contains("leave to run the program"),
        "{error}"
    );
    world.pass(Duration::from_secs(3700)).await;
    let swept = other.machines.sweep().await.unwrap();
    assert_eq!((swept.waiting, swept.failures), (1, 0), "{swept:?}");
}

#[tokio::test(start_paused = true)]
async fn events_that_the_log_uses_for_itself_cannot_be_sent() {
    let world = World::new();
    let definition = machine("m", json!({"initialState": "a", "states": {"a": {"on": {"*": "a"}}}}));
    let process = world.process(builder().machine(definition)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    for event in ["after:30m", "migrate", "baseline", "*"] {
        let error = process.machines.send("m", "e", event, Value::Null).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{event}");
    }
    assert_eq!(process.machines.send("m", "e", "anything", Value::Null).await.unwrap().version, 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_entities_one_that_refuses_does_not_keep_the_event_from_the_others() {
    let world = World::new();
    let orders = machine(
        "order",
        json!({"initialState": "waiting", "states": {"waiting": {"on": {"RELEASE": {"target": "released", "guard": {"cel": "context.ok"}}}}, "released": {"type": "final"}}}),
    );
    let batch = machine(
        "batch",
        json!({"initialState": "open", "states": {"open": {"on": {"CLOSE": {"target": "closed", "actions": {"kind": "send_event", "machine": "order", "state": "waiting", "event": "RELEASE"}}}}, "closed": {"type": "final"}}}),
    );
    let process = world.process(builder().machine(orders).machine(batch).action_attempts(1)).await;
    for (entity, ok) in [("o0", true), ("o1", false), ("o2", true)] {
        process.machines.initialize_entity("order", entity, json!({ "ok": ok })).await.unwrap();
    }
    // A long name makes a long token.
    let entity = "b".repeat(240);
    process.machines.initialize_entity("batch", &entity, Value::Null).await.unwrap();
    let sent = process.machines.send("batch", &entity, "CLOSE", Value::Null).await.unwrap();
    assert_eq!(sent.actions, ActionsState::Failed);
    let counts = process.machines.counts("order", true).await.unwrap();
    assert_eq!((counts["released"], counts["waiting"]), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_send_answers_what_became_of_the_actions() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"PLAIN": "a", "BAD": {"target": "a", "actions": "fails"}, "GOOD": {"target": "a", "actions": "works"}}}}}),
    );
    let plugin = builder()
        .machine(definition)
        .action_attempts(1)
        .action("fails", |_| async { Err::<Value, _>("no") })
        .action("works", |_| async { Ok::<_, String>(Value::Null) });
    let process = world.process(plugin).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let mut first = Vec::new();
    for round in 0..2 {
        for (at, event) in ["PLAIN", "BAD", "GOOD"].into_iter().enumerate() {
            let options = SendOptions { idempotency_key: Some(event.into()), ..SendOptions::default() };
            let mut sent = process.machines.send_with("m", "e", event, Value::Null, &options).await.unwrap();
            assert_eq!(sent.duplicate, round == 1);
            sent.duplicate = false;
            match round {
                0 => first.push(sent),
                _ => assert_eq!(sent, first[at]),
            }
        }
    }
    let states: Vec<ActionsState> = first.iter().map(|sent| sent.actions).collect();
    assert_eq!(states, [ActionsState::None, ActionsState::Failed, ActionsState::Done]);
}

#[tokio::test(start_paused = true)]
async fn two_guards_in_place_with_one_expression_look_their_own_records_up() {
    let world = World::new();
    let guard = |id: &str| json!({"cel": "found != null", "with": {"found": {"resource": "keys", "id": id}}});
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {
        "X": {"target": "a", "guard": guard("'x'")}, "Y": {"target": "a", "guard": guard("'y'")}}}}}),
    );
    let process = world.process(builder().machine(definition)).await;
    let keys = process
        .db
        .create_resource(s3db::ResourceDefinition::new("keys").attribute("n", "number|optional"))
        .await
        .unwrap();
    keys.insert(json!({"id": "x"})).await.unwrap();
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    assert!(process.machines.send("m", "e", "X", Value::Null).await.is_ok());
    assert_eq!(process.machines.send("m", "e", "Y", Value::Null).await.unwrap_err().kind(), ErrorKind::GuardRejected);
}

#[tokio::test(start_paused = true)]
async fn names_that_would_not_fit_later_are_refused_at_the_beginning() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": "%".repeat(120)}}, "%".repeat(120): {"type": "final"}}}),
    );
    let process = world.process(builder().machine(definition)).await;
    for entity in ["/".repeat(200), "%".repeat(256)] {
        let error = process.machines.initialize_entity("m", &entity, Value::Null).await.unwrap_err();
        assert_eq!(
            (error.kind(), &error.details().unwrap()["fields"][0]["field"]),
            (ErrorKind::Invalid, &json!("entity")),
            "{error}"
        );
    }
    for entity in ["/".repeat(100), "%".repeat(100), "x".repeat(256)] {
        process.machines.initialize_entity("m", &entity, Value::Null).await.unwrap();
        process.machines.send("m", &entity, "GO", Value::Null).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn failing_entry_actions_of_the_beginning_are_told_in_the_entity() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"entry": "fails", "on": {"GO": "b"}}, "b": {"type": "final"}}}),
    );
    let process =
        world.process(builder().machine(definition).action("fails", |_| async { Err::<Value, _>("no ink") })).await;
    let begun = process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    assert_eq!((begun.failed.len(), begun.failed[0].error.as_deref()), (1, Some("no ink")));
    process.machines.send("m", "e", "GO", Value::Null).await.unwrap();
    assert_eq!(process.machines.get_entity("m", "e").await.unwrap().failed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_an_entity_that_was_deleted_is_none_of_its_successor() {
    let world = World::new();
    let (a, b) = (world.process(builder().machine(timed())).await, world.process(builder().machine(timed())).await);
    let options = SendOptions { idempotency_key: Some("k".into()), ..SendOptions::default() };
    a.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    a.machines.send_with("m", "e", "GO", Value::Null, &options).await.unwrap();
    b.machines.delete_entity("m", "e").await.unwrap();
    b.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let sent = a.machines.send_with("m", "e", "GO", Value::Null, &options).await.unwrap();
    assert_eq!((sent.duplicate, sent.version), (false, 1));
    let page = HistoryOptions::default();
    assert_eq!(b.machines.get_transition_history("m", "e", &page).await.unwrap().items.len(), 1);
    assert!(b.machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_another_process_left_unwritten_is_made_of_its_own_transition() {
    let world = World::new();
    let process = world.process(builder().machine(timed())).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.machines.send("m", "e", "GO", Value::Null).await.unwrap();
    // As after a crash between the state and its row, over a row that a restore left.
    let log = process.db.resource("transitions").await.unwrap();
    log.update("m_e_000000000001", json!({"transitionId": "foreign", "payload": {"foreign": true}})).await.unwrap();
    let other = world.process(builder()).await;
    other.machines.send("m", "e", "GO", Value::Null).await.unwrap();
    let report = other.machines.verify("m", "e").await.unwrap();
    assert!(report.valid, "{report:?}");
    assert!(log.get("m_e_000000000001").await.unwrap().attributes["payload"].as_object().unwrap().is_empty());
}
