//! Bad input: an error that names the thing and the way out, and nothing written.

use std::time::Duration;

use s3db::state_machine::{MachineDefinition, SendOptions, StateMachinePlugin, Verdict};
use s3db::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::clock::{Process, World, builder, machine};

async fn process(world: &World) -> Process {
    let plugin = builder()
        .machine(machine(
            "m",
            json!({"initialState": "a", "states": {
                "a": {"on": {"GO": "b", "FALSE": "b", "FAIL": "b", "PANIC": "b", "HANG": "b", "CEL": {"target": "b", "guard": {"cel": "context.missing == 1"}}, "TEXT": {"target": "b", "guard": {"cel": "event"}},
                             "SET": {"target": "b", "actions": {"kind": "assign", "set": {"x": "=context.missing"}}}},
                      "guards": {"FALSE": "no", "FAIL": "fail", "PANIC": "panic", "HANG": "hang"}},
                "b": {"type": "final"}
            }}),
        ))
        .guard_timeout(Duration::from_secs(2))
        .guard("no", |_| async { Ok::<_, String>(Verdict::Reject("it is Sunday".into())) })
        .guard("fail", |_| async { Err::<bool, _>("the moon is down") })
        .guard("panic", |call| async move {
            assert_eq!(call.event, "never", "boom");
            Ok::<_, String>(true)
        })
        .guard("hang", |_| std::future::pending::<Result<bool, String>>());
    world.process(plugin).await
}

fn details(error: &Error, name: &str) -> Value {
    error.details().map(|details| details[name].clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_kind_and_changes_nothing() {
    let world = World::new();
    let process = process(&world).await;
    let machines = &process.machines;
    machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    let before = world.memory.snapshot();
    let send = |machine: &'static str, entity: &'static str, event: &'static str, payload: Value| async move {
        machines.send(machine, entity, event, payload).await.unwrap_err()
    };
    for (machine, entity, event, payload, kind, text) in [
        ("mm", "e", "GO", Value::Null, ErrorKind::NotFound, "machine 'mm' does not exist"),
        ("m", "f", "GO", Value::Null, ErrorKind::NotFound, "machine 'm' has no entity 'f'"),
        ("m", "e", "GOO", Value::Null, ErrorKind::InvalidEvent, "does not accept 'GOO'"),
        ("m", "e", "FALSE", Value::Null, ErrorKind::GuardRejected, "it is Sunday"),
        ("m", "e", "FAIL", Value::Null, ErrorKind::GuardError, "the moon is down"),
        ("m", "e", "PANIC", Value::Null, ErrorKind::GuardError, "it panicked"),
        ("m", "e", "HANG", Value::Null, ErrorKind::GuardError, "it did not end within 2s"),
        ("m", "e", "CEL", Value::Null, ErrorKind::GuardError, "no such key 'missing'"),
        ("m", "e", "TEXT", Value::Null, ErrorKind::GuardError, "not a bool"),
        ("m", "e", "SET", Value::Null, ErrorKind::Invalid, "cannot be computed"),
        ("m", "e", "GO", json!([1]), ErrorKind::Invalid, "the payload must be a JSON object"),
        ("m", "e", "GO", json!("text"), ErrorKind::Invalid, "the payload must be a JSON object"),
        ("m", "e", "GO", json!({"big": "x".repeat(1024 * 1024)}), ErrorKind::Invalid, "at most 1048576 are allowed"),
        ("m", "e", "", Value::Null, ErrorKind::Invalid, "an event has 1 to 128 bytes"),
        ("m", "", "GO", Value::Null, ErrorKind::Invalid, "entity cannot be empty"),
        ("m", "e\u{0}", "GO", Value::Null, ErrorKind::Invalid, "control characters"),
        ("a/b", "e", "GO", Value::Null, ErrorKind::Invalid, "machine name"),
    ] {
        let error = send(machine, entity, event, payload).await;
        assert!(error.kind() == kind && error.to_string().contains(text), "{event}: {:?} {error}", error.kind());
        assert!(error.to_json()["error"]["message"].is_string());
    }
    assert_eq!(world.memory.snapshot(), before, "nothing was written");
    let wrong = send("m", "e", "GOO", Value::Null).await;
    assert_eq!((details(&wrong, "state"), wrong.guidance()), (json!("a"), Some("did you mean 'GO'?")));
    let conflict = SendOptions { expected_version: Some(5), ..SendOptions::default() };
    let error = machines.send_with("m", "e", "GO", Value::Null, &conflict).await.unwrap_err();
    assert_eq!(
        (error.kind(), details(&error, "expected"), details(&error, "found")),
        (ErrorKind::Conflict, json!(5), json!(0))
    );
    let long = SendOptions { idempotency_key: Some(String::new()), ..SendOptions::default() };
    assert_eq!(machines.send_with("m", "e", "GO", Value::Null, &long).await.unwrap_err().kind(), ErrorKind::Invalid);
    machines.send("m", "e", "GO", Value::Null).await.unwrap();
    let done = send("m", "e", "GO", Value::Null).await;
    assert_eq!((done.kind(), details(&done, "state")), (ErrorKind::FinalState, json!("b")));
    assert_eq!(machines.initialize_entity("m", "x", json!(1)).await.unwrap_err().kind(), ErrorKind::Invalid);
    let error = machines.entities_in("m", "c", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(machines.events_for_state("m", "c").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_process_without_the_named_function_leaves_the_machine_alone() {
    let world = World::new();
    let first = process(&world).await;
    first.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let other = world.process(builder()).await;
    let before = world.memory.snapshot();
    let error = other.machines.send("m", "e", "GO", Value::Null).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for name in ["guard 'fail'", "guard 'hang'", "guard 'no'", "guard 'panic'"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(
        other.machines.initialize_entity("m", "f", Value::Null).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(world.memory.snapshot(), before);
    // Reading is for everybody.
    assert_eq!(other.machines.get_state("m", "e").await.unwrap(), "a");
    assert_eq!(other.machines.get_machine_definition("m", None).await.unwrap().missing.len(), 4);
    assert!(other.machines.visualize("m", &Default::default()).await.unwrap().contains("digraph"));
}

#[tokio::test(start_paused = true)]
async fn a_stored_state_that_the_definition_does_not_have_is_told_with_the_way_out() {
    let world = World::new();
    let process = process(&world).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.db.resource("entity_states").await.unwrap().update("m_e", json!({"currentState": "gone"})).await.unwrap();
    let error = process.machines.send("m", "e", "GO", Value::Null).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.guidance().unwrap().contains("migrate"), "{:?}", error.guidance());
    assert!(!process.machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_is_an_error_that_doctor_lists() {
    let world = World::new();
    let process = process(&world).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.db.resource("entity_states").await.unwrap().update("m_e", json!({"outbox": "nonsense"})).await.unwrap();
    let fresh = world.process(builder()).await;
    assert_eq!(fresh.machines.get_state("m", "e").await.unwrap_err().kind(), ErrorKind::Integrity);
    let report = fresh.db.doctor(true, &|_, _| ()).await.unwrap();
    assert!(!report.is_healthy() && report.findings[0].kind == s3db::FindingKind::DamagedEntity, "{report:?}");
}

#[test]
fn every_problem_of_a_definition_is_told_at_once() {
    let definition = json!({"initialState": "nowhere", "stats": {}, "states": {
        "a": {"on": {"E": "b", "F": {"target": "c", "gard": "x"}, "G": []}, "guards": {"H": "typo"}, "entry": "unknown"},
        "b": {"type": "final", "on": {"X": "a"}},
        "c": {"after": {"soon": "a"}, "exit": {"kind": "asign", "set": {}}},
        "d": {"on": {"P": {"target": "a", "guard": {"cel": "contxt.total > 1"}}, "after:5m": "a"}}
    }});
    let read = MachineDefinition::from_json("m", &definition).unwrap_err();
    let paths = |error: &Error| -> Vec<String> {
        error.details().unwrap()["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["field"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = paths(&read);
    for path in ["m.stats", "m.states.a.on.F.gard", "m.states.a.on.G", "m.initialState", "m.states.b"] {
        assert!(found.iter().any(|f| f == path), "{path} is not in {found:?}");
    }
    let mut fixed = definition;
    fixed.as_object_mut().unwrap().remove("stats");
    fixed["states"]["a"]["on"]["F"].as_object_mut().unwrap().remove("gard");
    fixed["states"]["a"]["on"]["G"] = json!("a");
    let error = builder().machine(machine("m", fixed)).build().unwrap_err();
    assert!(
        error.to_string().contains("guard 'typo' is not registered")
            && error.to_string().contains("action 'unknown' is not registered"),
        "{error}"
    );
    let found = paths(&error);
    for path in [
        "m.initialState",
        "m.states.a.guards.H",
        "m.states.b",
        "m.states.c.after.soon",
        "m.states.c.exit.kind",
        "m.states.d.on.P.cel",
        "m.states.d.on.after:5m",
    ] {
        assert!(found.iter().any(|f| f == path), "{path} is not in {found:?}: {error}");
    }
    assert!(
        error.to_string().contains("did you mean 'context'?") && error.to_string().contains("did you mean 'assign'?"),
        "{error}"
    );
}

#[tokio::test]
async fn ten_thousand_states_are_loaded_and_one_more_is_refused() {
    let states = |count: usize| {
        let states: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("s{n}"), json!({"on": {"NEXT": format!("s{}", (n + 1) % count)}}))).collect();
        machine("m", json!({"initialState": "s0", "states": states}))
    };
    let plugin = builder().build().unwrap();
    assert!(plugin.validate(states(10_000)).unwrap().is_empty());
    let error = plugin.validate(states(10_001)).unwrap_err();
    assert!(error.to_string().contains("at most 10000 are allowed"), "{error}");
}

#[tokio::test]
async fn names_of_every_kind_work_and_never_meet() {
    let world_states = ["with space", "\"quoted\"", "ünïcode 状態", "end", "a/b", "~", "graph", "x_1"];
    let states: serde_json::Map<String, Value> = world_states
        .iter()
        .enumerate()
        .map(|(n, name)| {
            ((*name).to_owned(), json!({"on": {format!("go {n}"): world_states[(n + 1) % world_states.len()]}}))
        })
        .collect();
    let definition = machine("m_x.y-z", json!({"initialState": world_states[0], "states": states}));
    let plugin = StateMachinePlugin::builder().machine(definition).sweep_interval(None).build().unwrap();
    let db = s3db::Database::builder("memory://machine-names").plugin(plugin.clone()).connect().await.unwrap();
    for entity in ["a_b", "a", "~a", "a/b", "a%2Fb", "日本", "with space", "..", "'; drop", "id=7"] {
        plugin.initialize_entity("m_x.y-z", entity, json!({"me": entity})).await.unwrap();
        for n in 0..world_states.len() {
            plugin.send("m_x.y-z", entity, &format!("go {n}"), Value::Null).await.unwrap();
        }
        let view = plugin.get_entity("m_x.y-z", entity).await.unwrap();
        assert_eq!((view.context["me"].as_str(), view.version), (Some(entity), 8));
        assert!(plugin.verify("m_x.y-z", entity).await.unwrap().valid);
    }
    assert_eq!(plugin.counts("m_x.y-z", false).await.unwrap()["with space"], 10);
    assert_eq!(plugin.entities_in("m_x.y-z", "with space", None).await.unwrap().len(), 10);
    assert!(db.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
}
