//! Definitions: stored by hash, entities pinned, migrated when told.

use std::collections::BTreeMap;

use s3db::state_machine::{
    Guard, HistoryOptions, MachineDefinition, MachineFile, MigrateOptions, State, Target, schema,
};
use s3db::{ErrorKind, config::Config};
use serde_json::{Value, json};

use crate::clock::{World, builder, machine};

fn first() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": "b"}}, "b": {"on": {"END": "c"}}, "c": {"type": "final"}}}),
    )
}

fn second() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": "middle"}}, "middle": {"on": {"END": "c"}, "after": {"1h": "c"}}, "c": {"type": "final"}}}),
    )
}

#[tokio::test(start_paused = true)]
async fn an_equal_definition_is_a_no_op_and_a_changed_one_a_version() {
    let world = World::new();
    let process = world.process(builder()).await;
    let machines = &process.machines;
    let defined = machines.define(first()).await.unwrap();
    assert_eq!((defined.version, defined.changed), (1, true));
    let before = world.memory.snapshot();
    assert!(!machines.define(first()).await.unwrap().changed);
    assert_eq!(world.memory.snapshot(), before);
    assert_eq!(machines.define(second()).await.unwrap().version, 2);
    // Going back makes the first one current again, under its number.
    let back = machines.define(first()).await.unwrap();
    assert_eq!((back.version, back.changed, back.hash), (1, true, defined.hash.clone()));
    let versions = machines.get_machine_versions("m").await.unwrap();
    assert_eq!((versions.versions.len(), versions.current == defined.hash), (2, true));
    let old = machines.get_machine_definition("m", Some("2")).await.unwrap();
    assert_eq!(old.definition, second());
    assert_eq!(machines.get_machine_definition("m", Some(&old.hash[7..15])).await.unwrap().version, 2);
    assert_eq!(machines.get_machine_definition("m", Some("3")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(machines.get_machines().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn definitions_of_several_processes_all_survive() {
    let world = World::new();
    let mut processes = Vec::new();
    for _ in 0..8 {
        processes.push(world.process(builder()).await);
    }
    let definitions = processes.iter().enumerate().map(|(n, process)| {
        let state = State::new("a").on("GO", format!("s{n}"));
        process.machines.define(MachineDefinition::new("m", "a").state(state).state(State::finished(format!("s{n}"))))
    });
    let defined = futures::future::join_all(definitions).await;
    let mut numbers: Vec<u64> = defined.into_iter().map(|d| d.unwrap().version).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
    assert_eq!(world.process(builder()).await.machines.get_machine_versions("m").await.unwrap().versions.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn entities_stay_on_their_definition_until_they_are_migrated() {
    let world = World::new();
    let process = world.process(builder()).await;
    let machines = &process.machines;
    machines.define(first()).await.unwrap();
    for entity in ["in-a", "in-b", "in-c"] {
        machines.initialize_entity("m", entity, json!({"kept": entity})).await.unwrap();
    }
    machines.send("m", "in-b", "GO", Value::Null).await.unwrap();
    for event in ["GO", "END"] {
        machines.send("m", "in-c", event, Value::Null).await.unwrap();
    }
    machines.define(second()).await.unwrap();
    assert_eq!(machines.initialize_entity("m", "new", Value::Null).await.unwrap().version, 0);
    assert_eq!(machines.send("m", "new", "GO", Value::Null).await.unwrap().to, "middle");
    assert_eq!(machines.get_valid_events("m", "in-b").await.unwrap(), ["END"], "by the old definition");

    let options = MigrateOptions { to: Some("2".into()), ..MigrateOptions::default() };
    let before = world.memory.snapshot();
    let dry = machines.migrate("m", &MigrateOptions { dry_run: true, ..options.clone() }).await.unwrap();
    assert_eq!((dry.migrated, dry.unmapped, dry.problems[0].entity.as_str()), (2, 1, "in-b"));
    assert_eq!(world.memory.snapshot(), before);
    let partial = machines.migrate("m", &options).await.unwrap();
    assert_eq!((partial.migrated, partial.unmapped), (2, 1), "what can be moved is moved");
    let mapped =
        MigrateOptions { map: BTreeMap::from([("b".into(), "middle".into())]), actor: Some("ops".into()), ..options };
    let done = machines.migrate("m", &mapped).await.unwrap();
    assert_eq!((done.migrated, done.unmapped, done.moves["b → middle"]), (1, 0, 1));
    assert_eq!(machines.migrate("m", &mapped).await.unwrap().migrated, 0);

    let view = machines.get_entity("m", "in-b").await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.version, view.timers.len(), &view.context["kept"]),
        ("middle", 2, 1, &json!("in-b"))
    );
    let row = &machines.get_transition_history("m", "in-b", &HistoryOptions::default()).await.unwrap().items[0];
    assert_eq!(
        (row.event.as_str(), row.actor.as_deref(), row.from.as_str(), row.to.as_str()),
        ("migrate", Some("ops"), "b", "middle")
    );
    for entity in ["in-a", "in-b", "in-c", "new"] {
        let report = machines.verify("m", entity).await.unwrap();
        assert!(report.valid, "{report:?}");
    }
    let wrong = MigrateOptions { map: BTreeMap::from([("b".into(), "nowhere".into())]), ..mapped };
    assert_eq!(machines.migrate("m", &wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_definition_survives_json_toml_and_the_builder() {
    let file = MachineFile::from_json(&json!({
        "machines": {"door": {"initialState": "closed", "meta": {"team": "x"}, "authorize": {"cel": "actor != null"}, "states": {
            "closed": {"on": {"OPEN": [{"target": "open", "guard": ["hasKey", {"cel": "context.n > 1"}]}, "closed"]}, "meta": {"color": "red"}},
            "open": {"on": {"CLOSE": {"target": "closed", "actions": ["note"]}}, "after": {"30m": "closed"}, "entry": "note", "exit": ["note", {"kind": "assign", "set": {"n": 1}}]},
            "gone": {"type": "final", "description": "no more"}}}},
        "guards": {"hasKey": {"cel": "k != null", "with": {"k": {"resource": "keys", "id": "context.key"}}}, "unused": {"cel": "true"}},
        "actions": {"note": {"kind": "insert", "resource": "notes", "record": {"who": "=entity"}}}
    })).unwrap();
    assert_eq!((file.warnings.len(), file.warnings[0].path.as_str()), (1, "guards.unused"));
    let definition = &file.machines[0];
    assert_eq!(MachineDefinition::from_json("door", &definition.to_json()).unwrap(), *definition);
    assert_eq!(definition.guards.len(), 1, "only what it names is stored with it");

    let toml = "[machines.t]\ninitialState = \"a\"\n[machines.t.states.a]\non = { GO = \"b\" }\n[machines.t.states.b]\ntype = \"final\"\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.toml"), toml).unwrap();
    std::fs::write(folder.path().join("bad.json"), "{\"machines\": {").unwrap();
    let from_toml = MachineFile::load(&folder.path().join("t.toml")).unwrap();
    let built = MachineDefinition::new("t", "a").state(State::new("a").on("GO", "b")).state(State::finished("b"));
    assert_eq!(from_toml.machines, std::slice::from_ref(&built));
    assert_eq!(from_toml.machines[0].hash(), built.hash());
    assert_ne!(
        built.hash(),
        built.clone().state(State::new("c").on("X", Target::to("a").guard(Guard::cel("true")))).hash()
    );
    assert!(MachineFile::load(&folder.path().join("bad.json")).unwrap_err().to_string().contains("is not JSON"));
    assert_eq!(MachineFile::load(&folder.path().join("none.json")).unwrap_err().kind(), ErrorKind::NotFound);

    let config = "[stateMachine]\nfiles = [\"*.toml\"]\n[stateMachine.machines.inline]\ninitialState = \"x\"\nstates = { x = { type = \"final\" } }\n";
    let config = Config::parse(config, &folder.path().join("s3db.toml")).unwrap();
    let names: Vec<String> =
        MachineFile::configured(&config).unwrap().into_iter().flat_map(|f| f.machines).map(|m| m.name).collect();
    assert_eq!(names, ["t", "inline"]);
    let none = Config::parse("[stateMachine]\nfiles = [\"x/*.json\"]\n", &folder.path().join("s3db.toml")).unwrap();
    assert!(MachineFile::configured(&none).unwrap_err().to_string().contains("matches no file"));
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/vectors/fsm-seed-cases.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let file = |machine: &Value| json!({"machines": {"m": machine}});
    assert!(validator.is_valid(&json!({"machines": vectors["machines"]})));
    let mut refused = 0;
    for case in vectors["reject"].as_array().unwrap() {
        let by_reader = MachineDefinition::from_json("m", &case["machine"]).is_err();
        if by_reader {
            refused += 1;
            assert!(!validator.is_valid(&file(&case["machine"])), "{}", case["why"]);
        }
    }
    assert!(refused >= 3, "{refused}");
    for action in [
        json!({"kind": "assign", "set": {"a": "=event"}}),
        json!({"kind": "send_event", "machine": "m", "entity": "=entity", "event": "E", "payload": {}}),
        json!({"kind": "webhook", "url": "https://example.org", "timeout": "5s", "retries": 2, "headers": {"a": "b"}, "body": {"x": 1}}),
        json!({"kind": "exec", "command": ["true"], "timeout": 1000}),
    ] {
        let whole =
            json!({"initialState": "a", "states": {"a": {"on": {"E": {"target": "a", "actions": [action, "named"]}}}}});
        assert!(validator.is_valid(&file(&whole)), "{action}");
    }
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/machines.schema.json"));
    let wanted = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("S3DB_UPDATE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/machines.schema.json"), &wanted).unwrap();
    } else {
        assert_eq!(
            written.unwrap(),
            wanted,
            "docs/machines.schema.json is old: S3DB_UPDATE=1 cargo test -p s3db --test machines"
        );
    }
}
