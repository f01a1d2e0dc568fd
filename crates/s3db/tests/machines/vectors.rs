//! The cases of `testdata/vectors/fsm-seed-cases.json`: every scenario, every definition to refuse, every
//! definition to warn about.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use s3db::state_machine::{
    Guard, HistoryOptions, MachineDefinition, SendOptions, StateMachineBuilder, StateMachineEvent,
};
use s3db::{Delivery, Error, ErrorKind};
use serde_json::{Value, json};

use crate::clock::{Process, World, builder};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/vectors/fsm-seed-cases.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

type Ran = Arc<Mutex<Vec<String>>>;

/// A process that has the machines of the file, with the case's guards and actions.
fn process(vectors: &Value, case: &Value, ran: &Ran) -> StateMachineBuilder {
    let mut plugin = builder();
    for (name, definition) in vectors["machines"].as_object().unwrap() {
        let mut machine = MachineDefinition::from_json(name, definition).unwrap();
        if let Some(Value::String(cel)) = case["guards"].get("canShip") {
            machine = machine.guard("canShip", Guard::cel(cel));
        }
        plugin = plugin.machine(machine);
    }
    let passes = case["guards"].get("canShip").and_then(Value::as_bool).unwrap_or(true);
    let throws = case["actions"].get("onConfirmed").is_some();
    let ran = Arc::clone(ran);
    plugin.guard("canShip", move |_| async move { Ok::<_, String>(passes) }).action("onConfirmed", move |call| {
        ran.lock().unwrap().push(call.action.clone());
        async move { if throws { Err("it throws".to_owned()) } else { Ok(Value::Null) } }
    })
}

fn kind_of(name: &str) -> ErrorKind {
    match name {
        "MACHINE_NOT_FOUND" | "ENTITY_NOT_FOUND" => ErrorKind::NotFound,
        "GUARD_REJECTED" => ErrorKind::GuardRejected,
        "INVALID_EVENT" => ErrorKind::InvalidEvent,
        "ALREADY_EXISTS" => ErrorKind::AlreadyExists,
        "CONFLICT" => ErrorKind::Conflict,
        other => panic!("{other}"),
    }
}

fn check_error(error: &Error, step: &Value) {
    assert_eq!(error.kind(), kind_of(step["error"].as_str().unwrap()), "{error}");
    assert!(error.guidance().is_some(), "{error}");
    if let Some(events) = step.get("valid_events") {
        assert_eq!(&error.details().unwrap()["validEvents"], events);
    }
}

#[tokio::test(start_paused = true)]
async fn every_scenario_of_the_vectors_holds() {
    let vectors = vectors();
    for case in vectors["cases"].as_array().unwrap() {
        println!("{}", case["name"]);
        let (world, ran) = (World::new(), Ran::default());
        let mut process = world.process(self::process(&vectors, case, &ran)).await;
        let machine = case["machine"].as_str().unwrap();
        for step in case["steps"].as_array().into_iter().flatten() {
            if step.get("restart").is_some() {
                process = world.process(self::process(&vectors, case, &ran)).await;
                continue;
            }
            run(&process, machine, step, &ran).await;
        }
        if case.get("race").is_some() {
            race(&world, &vectors, case, &ran).await;
        }
        check_history(&process, machine, case).await;
    }
}

async fn run(process: &Process, machine: &str, step: &Value, ran: &Ran) {
    let machines = &process.machines;
    let entity = step["entity"].as_str().unwrap_or("e1");
    let context = step.get("ctx").cloned().unwrap_or(Value::Null);
    let mut events = machines.subscribe();
    ran.lock().unwrap().clear();
    if step.get("init").is_some() {
        match (machines.initialize_entity(machine, entity, context).await, step.get("error")) {
            (Ok(view), None) => {
                assert!(step.get("expect").is_none_or(|expected| view.state == *expected));
                assert_eq!(view.version, 0);
            }
            (Err(error), Some(_)) => check_error(&error, step),
            other => panic!("{step}: {other:?}"),
        }
    } else if let Some(event) = step["send"].as_str() {
        let options =
            SendOptions { idempotency_key: step["key"].as_str().map(str::to_owned), ..SendOptions::default() };
        match (machines.send_with(machine, entity, event, context, &options).await, step.get("error")) {
            (Ok(sent), None) => {
                assert!(step.get("expect").is_none_or(|expected| sent.to == *expected));
                assert_eq!(sent.duplicate, step["duplicate"] == true);
            }
            (Err(error), Some(_)) => check_error(&error, step),
            other => panic!("{step}: {other:?}"),
        }
    } else {
        assert_eq!(json!(machines.get_valid_events(machine, entity).await.unwrap()), step["valid_events"]);
    }
    if let Some(expected) = step.get("actions") {
        assert_eq!(json!(*ran.lock().unwrap()), *expected);
    }
    if let Some(expected) = step.get("events") {
        let mut seen = BTreeSet::new();
        while let Some(Delivery::Event(event)) = events.try_next() {
            seen.insert(match *event {
                StateMachineEvent::ActionError { .. } => "action_error",
                StateMachineEvent::Transition { .. } => "transition",
                _ => "other",
            });
        }
        let expected: BTreeSet<&str> = expected.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(seen, expected);
    }
    if let Some(state) = step.get("state") {
        assert_eq!(machines.get_state(machine, entity).await.unwrap(), *state);
    }
    if let Some(done) = step.get("done") {
        assert_eq!(machines.get_entity(machine, entity).await.unwrap().done, *done);
    }
}

/// Two processes send at once.
async fn race(world: &World, vectors: &Value, case: &Value, ran: &Ran) {
    let (a, b) = (world.process(process(vectors, case, ran)).await, world.process(process(vectors, case, ran)).await);
    let machine = case["machine"].as_str().unwrap();
    a.machines.initialize_entity(machine, "e1", Value::Null).await.unwrap();
    let race = case["race"].as_array().unwrap();
    let send = |process: &Process, step: &Value| {
        let (machines, machine) = (process.machines.clone(), machine.to_owned());
        let event = step["send"].as_str().unwrap().to_owned();
        let options = SendOptions { expected_version: step["expected_version"].as_u64(), ..SendOptions::default() };
        async move { machines.send_with(&machine, "e1", &event, Value::Null, &options).await }
    };
    let (first, second) = tokio::join!(send(&a, &race[0]), send(&b, &race[1]));
    let losers: Vec<Error> = [first, second].into_iter().filter_map(Result::err).collect();
    assert_eq!(losers.len(), 1, "one wins and one loses");
    assert_eq!(losers[0].kind(), kind_of(case["loser_error"].as_str().unwrap()), "{}", losers[0]);
}

async fn check_history(process: &Process, machine: &str, case: &Value) {
    let history = || async {
        let page = process.machines.get_transition_history(machine, "e1", &HistoryOptions::default()).await.unwrap();
        page.items.into_iter().rev().collect::<Vec<_>>()
    };
    if let Some(expected) = case.get("history") {
        let rows: Vec<Value> = history().await.iter().map(|row| json!([row.from, row.to, row.event])).collect();
        assert_eq!(json!(rows), *expected);
    }
    if let Some(expected) = case.get("history_len") {
        let rows = history().await;
        assert_eq!(json!(rows.len()), *expected);
        let versions: Vec<u64> = rows.iter().filter_map(|row| row.version).collect();
        assert_eq!(versions, (1..=rows.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn every_definition_to_refuse_is_refused_with_its_place() {
    for case in vectors()["reject"].as_array().unwrap() {
        let read = MachineDefinition::from_json("m", &case["machine"]);
        let error = read.and_then(|machine| builder().machine(machine).build()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", case["why"]);
        let fields = error.details().unwrap()["fields"].as_array().unwrap().clone();
        assert!(
            !fields.is_empty() && fields.iter().all(|f| f["field"].as_str().unwrap().starts_with('m')),
            "{fields:?}"
        );
        println!("{}: {error}", case["why"]);
    }
}

#[tokio::test]
async fn every_definition_to_warn_about_is_taken_with_a_warning() {
    for case in vectors()["warn"].as_array().unwrap() {
        let machine = MachineDefinition::from_json("m", &case["machine"]).unwrap();
        let plugin = builder().build().unwrap();
        let warnings = plugin.validate(machine).unwrap();
        assert_eq!(warnings.len(), 1, "{}: {warnings:?}", case["why"]);
    }
}
