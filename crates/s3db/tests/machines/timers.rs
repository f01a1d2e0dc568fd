//! Timers: absolute instants, fired once, cancelled by leaving the state.

use std::time::Duration;

use s3db::state_machine::{MachineDefinition, StateMachineEvent, SweepReport};
use s3db::{Delivery, ErrorKind};
use serde_json::{Value, json};

use crate::clock::{Process, World, builder, machine};

fn reminders() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "open", "states": {
            "open": {"on": {"CLOSE": "closed", "POKE": "open"}, "after": {"30m": "late", "1500ms": {"target": "noted", "guard": {"cel": "has(context.note)"}}}},
            "noted": {"on": {"*": "open"}},
            "late": {"after": {"1h": "lost"}, "on": {"CLOSE": "closed"}},
            "lost": {"type": "final"}, "closed": {"type": "final"}
        }}),
    )
}

async fn process(world: &World) -> Process {
    world.process(builder().machine(reminders())).await
}

async fn sweep(process: &Process) -> SweepReport {
    let report = process.machines.sweep().await.unwrap();
    assert_eq!(report.failures, 0, "{report:?}");
    report
}

async fn state(process: &Process, entity: &str) -> String {
    process.machines.get_state("m", entity).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_once_at_its_instant_and_not_before() {
    let world = World::new();
    let process = process(&world).await;
    let begun = process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let due: Vec<&str> = begun.timers.iter().map(|timer| timer.after.as_str()).collect();
    assert_eq!(due, ["30m", "1500ms"]);
    world.pass(Duration::from_secs(29 * 60)).await;
    // The short one runs out in vain: its guard lets nothing pass.
    assert_eq!((sweep(&process).await.blocked, state(&process, "e").await.as_str()), (1, "open"));
    assert_eq!(sweep(&process).await, SweepReport::default());
    world.pass(Duration::from_secs(61)).await;
    let mut events = process.machines.subscribe();
    assert_eq!((sweep(&process).await.fired, state(&process, "e").await.as_str()), (1, "late"));
    assert_eq!(sweep(&process).await.due, 0);
    let mut fired = 0;
    while let Some(Delivery::Event(event)) = events.try_next() {
        if let StateMachineEvent::TimerFired { state, due_at, .. } = *event {
            assert_eq!(state, "open");
            assert_eq!(due_at, begun.timers[0].due_at, "when it was due, not when it was found");
            fired += 1;
        }
    }
    assert_eq!(fired, 1);
    let row = &process.machines.get_transition_history("m", "e", &Default::default()).await.unwrap().items[0];
    assert_eq!((row.event.as_str(), row.version), ("after:30m", Some(1)));
    assert!(process.machines.verify("m", "e").await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn leaving_the_state_cancels_and_coming_back_begins_anew() {
    let world = World::new();
    let process = process(&world).await;
    for entity in ["closed", "poked"] {
        process.machines.initialize_entity("m", entity, Value::Null).await.unwrap();
    }
    world.pass(Duration::from_secs(20 * 60)).await;
    process.machines.send("m", "closed", "CLOSE", Value::Null).await.unwrap();
    process.machines.send("m", "poked", "POKE", Value::Null).await.unwrap();
    world.pass(Duration::from_secs(15 * 60)).await;
    let report = sweep(&process).await;
    assert_eq!((report.fired, report.blocked), (0, 1), "only the short timer of the one that came back");
    assert_eq!((state(&process, "closed").await.as_str(), state(&process, "poked").await.as_str()), ("closed", "open"));
    world.pass(Duration::from_secs(16 * 60)).await;
    assert_eq!(sweep(&process).await.fired, 1);
    assert_eq!(state(&process, "poked").await, "late");
}

#[tokio::test(start_paused = true)]
async fn after_a_long_stop_a_due_timer_fires_and_the_next_begins_then() {
    let world = World::new();
    let first = process(&world).await;
    first.machines.initialize_entity("m", "e", json!({"note": 1})).await.unwrap();
    drop(first);
    world.pass(Duration::from_secs(400 * 86_400)).await;
    let later = process(&world).await;
    // Both are due; the earlier one goes first.
    assert_eq!(sweep(&later).await.fired, 1);
    assert_eq!(state(&later, "e").await, "noted");
    later.machines.send("m", "e", "BACK", Value::Null).await.unwrap();
    assert_eq!(sweep(&later).await.fired, 0);
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(sweep(&later).await.fired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_year_long_timer_is_a_key_and_costs_nothing_while_it_waits() {
    let world = World::new();
    let definition =
        machine("m", json!({"initialState": "a", "states": {"a": {"after": {"52w": "b"}}, "b": {"type": "final"}}}));
    let process = world.process(builder().machine(definition)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    for _ in 0..3 {
        world.pass(Duration::from_secs(100 * 86_400)).await;
        assert_eq!(sweep(&process).await.due, 0);
    }
    world.pass(Duration::from_secs(65 * 86_400)).await;
    assert_eq!(sweep(&process).await.fired, 1);
}

#[tokio::test(start_paused = true)]
async fn two_sweepers_fire_each_timer_once() {
    let world = World::new();
    let (a, b) = (process(&world).await, process(&world).await);
    for n in 0..40 {
        a.machines.initialize_entity("m", &format!("e{n}"), Value::Null).await.unwrap();
    }
    world.pass(Duration::from_secs(3600)).await;
    let (first, second) = tokio::join!(a.machines.sweep(), b.machines.sweep());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.failures + second.failures, 0, "{first:?} {second:?}");
    // The short ones are in vain; then the long ones.
    let (third, fourth) = tokio::join!(a.machines.sweep(), b.machines.sweep());
    let (third, fourth) = (third.unwrap(), fourth.unwrap());
    let fired = first.fired + second.fired + third.fired + fourth.fired;
    assert_eq!(fired, 40, "{first:?} {second:?} {third:?} {fourth:?}");
    for n in 0..40 {
        let report = a.machines.verify("m", &format!("e{n}")).await.unwrap();
        assert!(report.valid && report.version == 1, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_and_a_timer_at_once_have_one_winner() {
    let world = World::new();
    let (a, b) = (process(&world).await, process(&world).await);
    for n in 0..30 {
        let entity = format!("e{n}");
        a.machines.initialize_entity("m", &entity, Value::Null).await.unwrap();
        world.pass(Duration::from_secs(2)).await;
        sweep(&a).await;
        world.pass(Duration::from_secs(30 * 60)).await;
        let (swept, sent) = tokio::join!(b.machines.sweep(), a.machines.send("m", &entity, "CLOSE", Value::Null));
        let closed = sent.is_ok();
        swept.unwrap();
        let view = a.machines.get_entity("m", &entity).await.unwrap();
        match (closed, view.version) {
            (true, 1 | 2) => assert_eq!(view.state, "closed"),
            other => panic!("{other:?}"),
        }
        assert!(a.machines.verify("m", &entity).await.unwrap().valid);
    }
}

#[tokio::test(start_paused = true)]
async fn timers_of_no_time_fire_with_the_next_sweep_and_a_circle_of_them_is_refused() {
    let world = World::new();
    let chain = json!({"initialState": "a", "states": {"a": {"after": {"0": "b"}}, "b": {"after": {"0s": "c"}}, "c": {"type": "final"}}});
    let process = world.process(builder().machine(machine("m", chain))).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    for _ in 0..2 {
        world.pass(Duration::from_secs(1)).await;
        sweep(&process).await;
    }
    assert_eq!(state(&process, "e").await, "c");
    let circle = json!({"initialState": "a", "states": {
        "a": {"after": {"0": "b"}}, "b": {"on": {"X": "end"}, "after": {"0": {"target": "a", "guard": {"cel": "true"}}}}, "end": {"type": "final"}}});
    let refused = builder().machine(machine("m", circle)).build().unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("circle"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_connected_process_sweeps_by_itself_and_stops_when_told() {
    let world = World::new();
    let plugin = builder().machine(reminders()).sweep_interval(Some(Duration::from_secs(10))).build().unwrap();
    let db = s3db::Database::builder("memory://m")
        .store(world.memory.clone())
        .clock(world.clock.clone())
        .plugin(plugin.clone())
        .connect()
        .await
        .unwrap();
    plugin.initialize_entity("m", "e", Value::Null).await.unwrap();
    world.pass(Duration::from_secs(30 * 60 + 11)).await;
    assert_eq!(plugin.get_state("m", "e").await.unwrap(), "late");
    db.stop(Duration::from_secs(5)).await.unwrap();
    let sweeps = plugin.metrics().sweeps;
    world.pass(Duration::from_secs(3600 * 3)).await;
    assert_eq!((plugin.metrics().sweeps, plugin.get_state("m", "e").await.unwrap().as_str()), (sweeps, "late"));
}
