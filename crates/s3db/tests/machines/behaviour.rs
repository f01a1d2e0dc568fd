//! What a machine does with events.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use s3db::state_machine::{Guard, HistoryOptions, SendOptions, StateMachineEvent, Verdict};
use s3db::{Delivery, ErrorKind};
use serde_json::{Value, json};

use crate::clock::{World, builder, machine};

fn toggle() -> Value {
    json!({"initialState": "off", "states": {"off": {"on": {"T": "on"}}, "on": {"on": {"T": "off"}}}})
}

#[tokio::test(start_paused = true)]
async fn the_payload_replaces_members_of_the_context_and_later_guards_see_it() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {
            "a": {"on": {"GO": "b"}},
            "b": {"on": {"GO": {"target": "c", "guard": {"cel": "context.paid == true && context.kept.deep == 1"}}}},
            "c": {"type": "final"}
        }}),
    );
    let process = world.process(builder().machine(definition)).await;
    let machines = &process.machines;
    machines.initialize_entity("m", "e", json!({"paid": false, "kept": {"deep": 1}})).await.unwrap();
    machines.send("m", "e", "GO", json!({"paid": true, "list": [1]})).await.unwrap();
    machines.send("m", "e", "GO", json!({"list": [2]})).await.unwrap();
    let view = machines.get_entity("m", "e").await.unwrap();
    assert_eq!(json!(view.context), json!({"paid": true, "kept": {"deep": 1}, "list": [2]}));
    let rows = machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items;
    assert_eq!(
        (json!(rows[0].payload), json!(rows[1].payload)),
        (json!({"list": [2]}), json!({"paid": true, "list": [1]}))
    );
    assert_eq!(rows[1].context["paid"], true);
}

#[tokio::test(start_paused = true)]
async fn candidates_are_tried_in_order_and_a_star_takes_what_is_left() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "new", "states": {
            "new": {"on": {
                "PAY": [
                    {"target": "large", "guard": {"cel": "context.total >= 100"}},
                    {"target": "small", "guard": {"cel": "context.total > 0"}},
                ],
                "*": {"target": "other", "actions": {"kind": "assign", "set": {"got": "=event"}}}
            }},
            "large": {"type": "final"}, "small": {"type": "final"}, "other": {"type": "final"}
        }}),
    );
    let process = world.process(builder().machine(definition)).await;
    let machines = &process.machines;
    for (entity, event, total, state) in
        [("l", "PAY", 100, "large"), ("s", "PAY", 99, "small"), ("o", "ANY THING", 0, "other")]
    {
        machines.initialize_entity("m", entity, json!({"total": total})).await.unwrap();
        assert_eq!(machines.send("m", entity, event, Value::Null).await.unwrap().to, state);
    }
    assert_eq!(machines.get_entity("m", "o").await.unwrap().context["got"], "ANY THING");
    machines.initialize_entity("m", "none", json!({"total": 0})).await.unwrap();
    let refused = machines.send("m", "none", "PAY", Value::Null).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::GuardRejected);
    assert_eq!(refused.details().unwrap()["guard"], "context.total >= 100");
    assert_eq!(machines.get_valid_events("m", "none").await.unwrap(), ["*", "PAY"]);
    assert_eq!(machines.get_passing_events("m", "none", json!({"total": 5}), None).await.unwrap(), ["*", "PAY"]);
    assert_eq!(machines.get_passing_events("m", "none", Value::Null, None).await.unwrap(), ["*"]);
}

#[tokio::test(start_paused = true)]
async fn guards_look_records_up_and_a_missing_one_is_null() {
    let world = World::new();
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"SHIP": "b"}, "guards": {"SHIP": "canShip"}}, "b": {"type": "final"}},
        "guards": {"canShip": {
            "cel": "inventory != null && context.quantity <= inventory.quantity",
            "with": {"inventory": {"resource": "inventory", "id": "context.productId"}}
        }}}),
    );
    let process = world.process(builder().machine(definition)).await;
    let stock = s3db::ResourceDefinition::new("inventory").attribute("quantity", "number");
    let stock = process.db.create_resource(stock).await.unwrap();
    let machines = &process.machines;
    machines.initialize_entity("m", "e", json!({"productId": "p", "quantity": 3})).await.unwrap();
    let refused = machines.send("m", "e", "SHIP", Value::Null).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::GuardRejected, "{refused}");
    stock.insert(json!({"id": "p", "quantity": 2})).await.unwrap();
    assert_eq!(machines.send("m", "e", "SHIP", Value::Null).await.unwrap_err().kind(), ErrorKind::GuardRejected);
    stock.update("p", json!({"quantity": 3})).await.unwrap();
    assert_eq!(machines.send("m", "e", "SHIP", Value::Null).await.unwrap().to, "b");
}

#[tokio::test(start_paused = true)]
async fn who_may_send_is_asked_before_guards() {
    let world = World::new();
    let asked = Arc::new(Mutex::new(0));
    let definition = machine(
        "m",
        json!({"initialState": "a", "authorize": {"SHIP": {"cel": "actor in ['ops']"}, "*": {"cel": "true"}},
            "states": {"a": {"on": {"SHIP": "a", "NOTE": "a"}, "guards": {"SHIP": "g"}}}}),
    );
    let counted = Arc::clone(&asked);
    let plugin = builder()
        .machine(definition)
        .guard("g", move |_| {
            *counted.lock().unwrap() += 1;
            async { Ok::<_, String>(true) }
        })
        .authorize(|call| async move {
            Ok::<_, String>(if call.actor.as_deref() == Some("mallory") {
                Verdict::Reject("mallory may do nothing".into())
            } else {
                Verdict::Pass
            })
        });
    let process = world.process(plugin).await;
    let machines = &process.machines;
    machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let send = |event: &'static str, actor: &'static str| {
        let options = SendOptions { actor: Some(actor.into()), ..SendOptions::default() };
        async move { machines.send_with("m", "e", event, Value::Null, &options).await }
    };
    for (event, actor) in [("SHIP", "ana"), ("NOTE", "mallory")] {
        let refused = send(event, actor).await.unwrap_err();
        assert_eq!(
            (refused.kind(), &refused.details().unwrap()["guard"]),
            (ErrorKind::GuardRejected, &json!("authorize"))
        );
    }
    assert_eq!(*asked.lock().unwrap(), 0);
    assert!(send("NOTE", "ana").await.is_ok() && send("SHIP", "ops").await.is_ok());
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn sixty_four_senders_of_one_process_and_of_several_make_gap_free_versions() {
    let world = World::new();
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(world.process(builder().machine(machine("m", toggle()))).await);
    }
    processes[0].machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let senders: Vec<_> = (0..64)
        .map(|n| {
            let machines = processes[n % 4].machines.clone();
            tokio::spawn(async move { machines.send("m", "e", "T", Value::Null).await.unwrap().version })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for sender in senders {
        versions.insert(sender.await.unwrap());
    }
    assert_eq!(versions, (1..=64).collect(), "each send is one transition");
    let report = processes[1].machines.verify("m", "e").await.unwrap();
    assert!(report.valid && report.rows == 64, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_history_comes_in_pages_without_gaps() {
    let world = World::new();
    let process = world.process(builder().machine(machine("m", toggle()))).await;
    let machines = &process.machines;
    machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    for _ in 0..50 {
        machines.send("m", "e", "T", Value::Null).await.unwrap();
    }
    let mut cursor = None;
    let mut seen = Vec::new();
    loop {
        let options = HistoryOptions { limit: Some(7), offset: 0, cursor };
        let page = machines.get_transition_history("m", "e", &options).await.unwrap();
        seen.extend(page.items.iter().filter_map(|row| row.version));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=50).rev().collect::<Vec<u64>>());
    let page = HistoryOptions { limit: Some(3), offset: 48, cursor: None };
    let rows = machines.get_transition_history("m", "e", &page).await.unwrap();
    assert_eq!(rows.items.iter().filter_map(|row| row.version).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(rows.next, None);
    let wrong = HistoryOptions { cursor: Some("x".into()), ..HistoryOptions::default() };
    assert_eq!(machines.get_transition_history("m", "e", &wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn keys_are_kept_for_64_sends_and_bound_to_their_event_and_payload() {
    let world = World::new();
    let process = world.process(builder().machine(machine("m", toggle()))).await;
    let machines = &process.machines;
    machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let send = |key: String, payload: Value| async move {
        let options = SendOptions { idempotency_key: Some(key), ..SendOptions::default() };
        machines.send_with("m", "e", "T", payload, &options).await
    };
    let first = send("k0".into(), json!({"n": 1})).await.unwrap();
    let again = send("k0".into(), json!({"n": 1})).await.unwrap();
    assert_eq!((again.version, again.transition_id, again.duplicate), (1, first.transition_id, true));
    let other = send("k0".into(), json!({"n": 2})).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Invalid);
    for n in 1..=64 {
        assert!(!send(format!("k{n}"), Value::Null).await.unwrap().duplicate);
    }
    assert!(send("k1".into(), Value::Null).await.unwrap().duplicate);
    assert!(!send("k0".into(), json!({"n": 1})).await.unwrap().duplicate, "65 keys later it is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_lenient_plugin_makes_an_entity_with_its_first_event() {
    let world = World::new();
    let process = world.process(builder().machine(machine("m", toggle())).lenient(true)).await;
    let machines = &process.machines;
    assert_eq!(machines.get_state("m", "e").await.unwrap(), "off");
    assert_eq!(machines.get_valid_events("m", "e").await.unwrap(), ["T"]);
    assert_eq!(machines.send("m", "e", "T", Value::Null).await.unwrap().version, 1);
    assert_eq!(machines.get_state("nope", "e").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn without_a_log_states_are_kept_and_a_history_is_refused() {
    let world = World::new();
    let process = world.process(builder().machine(machine("m", toggle())).persist_transitions(false)).await;
    let machines = &process.machines;
    machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    for _ in 0..3 {
        machines.send("m", "e", "T", Value::Null).await.unwrap();
    }
    assert_eq!(machines.get_entity("m", "e").await.unwrap().version, 3);
    let refused = machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(process.db.resource("transitions").await.is_err(), "no log was made");
    assert!(machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn events_and_callbacks_tell_what_happened() {
    let world = World::new();
    let called = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&called);
    let definition =
        machine("m", json!({"initialState": "a", "states": {"a": {"on": {"GO": "b"}}, "b": {"type": "final"}}}));
    let process = world
        .process(builder().machine(definition).on_done(move |event| sink.lock().unwrap().push(event.clone())))
        .await;
    let machines = &process.machines;
    let mut events = machines.subscribe();
    machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    let sent = machines.send("m", "e", "GO", Value::Null).await.unwrap();
    let mut told = Vec::new();
    while let Some(Delivery::Event(event)) = events.try_next() {
        told.push(json!(*event));
    }
    assert_eq!(
        json!(told),
        json!([
            {"type": "entity_initialized", "machineId": "m", "entityId": "e", "state": "a", "context": {"n": 1}},
            {"type": "transition", "machineId": "m", "entityId": "e", "from": "a", "to": "b", "event": "GO",
             "context": {"n": 1}, "version": 1, "transitionId": sent.transition_id},
            {"type": "done", "machineId": "m", "entityId": "e", "state": "b"},
        ])
    );
    world.pass(std::time::Duration::from_millis(1)).await;
    let done = called.lock().unwrap().clone();
    assert!(matches!(&done[..], [StateMachineEvent::Done { entity_id, .. }] if entity_id == "e"), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn verify_finds_drift_of_each_kind() {
    let world = World::new();
    let process = world.process(builder().machine(machine("m", toggle()))).await;
    let machines = &process.machines;
    let log = |entity: &str, version: u64| format!("m_{entity}_{version:012}");
    for entity in ["missing", "other", "state", "chain"] {
        machines.initialize_entity("m", entity, Value::Null).await.unwrap();
        for _ in 0..4 {
            machines.send("m", entity, "T", Value::Null).await.unwrap();
        }
        assert!(machines.verify("m", entity).await.unwrap().valid);
    }
    let rows = process.db.resource("transitions").await.unwrap();
    rows.delete(&log("missing", 2)).await.unwrap();
    rows.update(&log("other", 4), json!({"transitionId": "another"})).await.unwrap();
    rows.update(&log("chain", 3), json!({"fromState": "on", "toState": "on"})).await.unwrap();
    let states = process.db.resource("entity_states").await.unwrap();
    states.update("m_state", json!({"currentState": "on"})).await.unwrap();
    for (entity, problem) in [
        ("missing", "the log row is missing"),
        ("other", "another transition"),
        ("chain", "no transition from 'on' to 'on'"),
        ("state", "the log leads to 'off', stored is 'on'"),
    ] {
        let report = machines.verify("m", entity).await.unwrap();
        assert!(!report.valid && report.drift.iter().any(|d| d.problem.contains(problem)), "{entity}: {report:?}");
    }
    let gap = machines.get_transition_history("m", "missing", &HistoryOptions::default()).await.unwrap_err();
    assert_eq!(gap.kind(), ErrorKind::Integrity);
}

#[tokio::test(start_paused = true)]
async fn a_row_of_the_same_version_that_a_restore_left_is_replaced() {
    let world = World::new();
    let process = world.process(builder().machine(machine("m", toggle()))).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.machines.send("m", "e", "T", Value::Null).await.unwrap();
    let states = process.db.resource("entity_states").await.unwrap();
    let old = states.get("m_e").await.unwrap();
    process.machines.send("m", "e", "T", json!({"lost": true})).await.unwrap();
    // The state goes back, the log does not.
    states.replace("m_e", Value::Object(old.attributes), &Default::default()).await.unwrap();
    let fresh = world.process(builder().machine(machine("m", toggle()))).await;
    fresh.machines.send("m", "e", "T", json!({"lost": false})).await.unwrap();
    let report = fresh.machines.verify("m", "e").await.unwrap();
    assert!(report.valid, "{report:?}");
    let rows = fresh.machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items;
    assert_eq!((rows.len(), &rows[0].payload["lost"]), (2, &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn a_guard_as_data_sees_every_documented_variable() {
    let world = World::new();
    let cel = "machine == 'm' && entity == 'e' && state == 'a' && event == 'GO' && version == 0 && actor == 'ana' \
               && reason == 'why' && payload.n == 1 && context.n == 1 && target == null && now > timestamp('2026-01-01T00:00:00Z')";
    let definition =
        machine("m", json!({"initialState": "a", "states": {"a": {"on": {"GO": "a"}, "guards": {"GO": "all"}}}}))
            .guard("all", Guard::cel(cel));
    let process = world.process(builder().machine(definition)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let options = SendOptions { actor: Some("ana".into()), reason: Some("why".into()), ..SendOptions::default() };
    process.machines.send_with("m", "e", "GO", json!({"n": 1}), &options).await.unwrap();
}
