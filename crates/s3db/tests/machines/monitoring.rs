//! Looking at many entities: by state, by age, counts; removing them; pictures; metrics.

use std::sync::Arc;
use std::time::Duration;

use s3db::ErrorKind;
use s3db::state_machine::{PictureFormat, VisualizeOptions};
use s3db::store::meter::Meter;
use serde_json::{Value, json};

use crate::clock::{World, builder, machine};

fn order() -> s3db::state_machine::MachineDefinition {
    machine(
        "order",
        json!({"initialState": "pending", "states": {
            "pending": {"on": {"CONFIRM": "confirmed"}}, "confirmed": {"on": {"SHIP": "shipped", "TOUCH": "confirmed"}}, "shipped": {"type": "final"}}}),
    )
}

#[tokio::test(start_paused = true)]
async fn old_entities_are_found_without_reading_the_young() {
    let world = World::new();
    let meter = Meter::new(world.memory.clone());
    let counters = meter.counters();
    let process = world.process_on(Arc::new(meter), builder().machine(order())).await;
    let machines = &process.machines;
    for n in 0..30 {
        let entity = format!("e{n:02}");
        machines.initialize_entity("order", &entity, Value::Null).await.unwrap();
        if n % 3 == 1 {
            machines.send("order", &entity, "CONFIRM", Value::Null).await.unwrap();
        }
        if n == 0 {
            world.pass(Duration::from_secs(7200)).await;
        }
    }
    machines.counts("order", false).await.unwrap();
    let before = counters.read();
    let old = machines.entities_in("order", "pending", Some(Duration::from_secs(3600))).await.unwrap();
    let cost = counters.read() - before;
    assert_eq!(old.iter().map(|e| e.entity.as_str()).collect::<Vec<_>>(), ["e00"]);
    assert_eq!((cost.list, cost.get), (1, 1), "one LIST, and one GET for the one that is old");
    let before = counters.read();
    let counts = machines.counts("order", false).await.unwrap();
    assert_eq!((counts["pending"], counts["confirmed"], counts["shipped"]), (20, 10, 0));
    let cost = counters.read() - before;
    assert_eq!((cost.list, cost.get), (1, 0));
    let before = counters.read();
    let stuck = machines.stuck("order", Duration::from_secs(3600)).await.unwrap();
    assert_eq!(stuck.iter().map(|e| (e.entity.as_str(), e.age_ms >= 7_200_000)).collect::<Vec<_>>(), [("e00", true)]);
    let cost = counters.read() - before;
    assert_eq!((cost.list, cost.get), (2, 1), "one LIST for each state that is not final");
    assert_eq!(machines.entities("order", None).await.unwrap().len(), 30);
    assert_eq!(machines.entities_in("order", "confirmed", None).await.unwrap().len(), 10);
    world.pass(Duration::from_secs(7200)).await;
    assert_eq!(machines.stuck("order", Duration::from_secs(3600)).await.unwrap().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_entered_again_counts_from_then() {
    let world = World::new();
    let process = world.process(builder().machine(order())).await;
    process.machines.initialize_entity("order", "e", Value::Null).await.unwrap();
    process.machines.send("order", "e", "CONFIRM", Value::Null).await.unwrap();
    world.pass(Duration::from_secs(7200)).await;
    process.machines.send("order", "e", "TOUCH", Value::Null).await.unwrap();
    assert!(
        process.machines.entities_in("order", "confirmed", Some(Duration::from_secs(3600))).await.unwrap().is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_not_built_is_answered_by_reading() {
    let world = World::new();
    let process = world.process(builder().machine(order())).await;
    for n in 0..5 {
        process.machines.initialize_entity("order", &format!("e{n}"), Value::Null).await.unwrap();
    }
    for key in world.memory.snapshot().into_keys().filter(|key| key.starts_with("s3db/tmp/")) {
        use s3db::store::Store as _;
        world.memory.delete(&key, s3db::store::Precondition::None).await.unwrap();
    }
    let fresh = world.process(builder()).await;
    assert_eq!(fresh.machines.entities_in("order", "pending", None).await.unwrap().len(), 5);
    assert_eq!(fresh.machines.counts("order", false).await.unwrap()["pending"], 5);
    assert!(fresh.db.doctor(true, &|_, _| ()).await.unwrap().is_healthy());
    assert_eq!(fresh.machines.counts("order", false).await.unwrap()["pending"], 5);
}

#[tokio::test(start_paused = true)]
async fn an_untracked_machine_keeps_no_index() {
    let world = World::new();
    let process = world.process(builder().machine(order().track_states(false))).await;
    process.machines.initialize_entity("order", "e", Value::Null).await.unwrap();
    process.machines.send("order", "e", "CONFIRM", Value::Null).await.unwrap();
    assert!(!world.memory.snapshot().into_keys().any(|key| key.starts_with("s3db/tmp/index/")));
    assert_eq!(process.machines.counts("order", false).await.unwrap()["confirmed"], 1);
    assert_eq!(process.machines.entities_in("order", "confirmed", None).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn doctor_rebuilds_what_is_due_and_removes_what_nothing_needs() {
    use s3db::store::Store as _;
    let world = World::new();
    let definition =
        machine("m", json!({"initialState": "a", "states": {"a": {"after": {"1h": "b"}}, "b": {"type": "final"}}}));
    let process = world.process(builder().machine(definition)).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let due: Vec<String> = world.memory.snapshot().into_keys().filter(|k| k.starts_with("s3db/tmp/due/")).collect();
    assert_eq!(due.len(), 1);
    world.memory.delete(&due[0], s3db::store::Precondition::None).await.unwrap();
    let stray = "s3db/tmp/due/009999999999/m/e/7-timer-01M8";
    world.memory.put(stray, Default::default(), s3db::store::Precondition::None).await.unwrap();
    let found = process.db.doctor(false, &|_, _| ()).await.unwrap();
    assert_eq!(
        found.findings.iter().map(|f| f.kind).collect::<Vec<_>>(),
        [s3db::FindingKind::MissingDueKey],
        "the stray one is young"
    );
    world.pass(Duration::from_secs(7200)).await;
    let mended = process.db.doctor(true, &|_, _| ()).await.unwrap();
    assert!(mended.is_healthy() && mended.findings.len() == 2, "{mended:?}");
    assert_eq!(process.machines.sweep().await.unwrap().fired, 1);
    assert!(!world.memory.snapshot().into_keys().any(|key| key.starts_with("s3db/tmp/due/")));
}

#[tokio::test(start_paused = true)]
async fn entities_are_deleted_and_pruned_with_their_history() {
    let world = World::new();
    let process = world.process(builder().machine(order())).await;
    let machines = &process.machines;
    for entity in ["old", "young", "open", "open_x"] {
        machines.initialize_entity("order", entity, Value::Null).await.unwrap();
        machines.send("order", entity, "CONFIRM", Value::Null).await.unwrap();
    }
    machines.send("order", "old", "SHIP", Value::Null).await.unwrap();
    world.pass(Duration::from_secs(86_400)).await;
    machines.send("order", "young", "SHIP", Value::Null).await.unwrap();
    let age = Duration::from_secs(3600);
    assert_eq!(machines.prune("order", age, true).await.unwrap().would_delete, Some(1));
    let report = machines.prune("order", age, false).await.unwrap();
    assert_eq!((report.deleted, report.rows), (1, 2));
    assert_eq!(machines.get_state("order", "old").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(machines.delete_entity("order", "open").await.unwrap(), 1);
    assert_eq!(machines.delete_entity("order", "open").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(machines.verify("order", "open_x").await.unwrap().valid, "its neighbour's rows stay");
    assert_eq!(process.db.resource("transitions").await.unwrap().count().await.unwrap(), 3);
    // A new entity of the same name begins anew.
    machines.initialize_entity("order", "open", Value::Null).await.unwrap();
    assert_eq!(machines.send("order", "open", "CONFIRM", Value::Null).await.unwrap().version, 1);
    assert!(process.db.doctor(false, &|_, _| ()).await.unwrap().findings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pictures_show_the_machine_and_an_entitys_state() {
    let world = World::new();
    let process = world.process(builder().machine(order())).await;
    process.machines.initialize_entity("order", "e", Value::Null).await.unwrap();
    for (format, begin) in
        [(PictureFormat::Dot, "digraph"), (PictureFormat::Mermaid, "stateDiagram-v2"), (PictureFormat::Svg, "<svg")]
    {
        let plain =
            process.machines.visualize("order", &VisualizeOptions { format, ..Default::default() }).await.unwrap();
        let lit = VisualizeOptions { format, entity: Some("e".into()), version: None };
        let lit = process.machines.visualize("order", &lit).await.unwrap();
        assert!(plain.contains(begin) && plain.contains("CONFIRM") && plain.contains("pending"), "{plain}");
        assert_ne!(plain, lit);
    }
    assert!("gif".parse::<PictureFormat>().is_err());
    let unknown = VisualizeOptions { entity: Some("x".into()), ..Default::default() };
    assert_eq!(process.machines.visualize("order", &unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn metrics_count_by_machine_states_event_and_outcome() {
    let world = World::new();
    let process = world.process(builder().machine(order())).await;
    process.machines.initialize_entity("order", "e", Value::Null).await.unwrap();
    process.machines.send("order", "e", "CONFIRM", Value::Null).await.unwrap();
    for _ in 0..2 {
        process.machines.send("order", "e", "CONFIRM", Value::Null).await.unwrap_err();
    }
    let counts = process.machines.metrics().transitions;
    let shown: Vec<_> = counts
        .iter()
        .map(|c| (c.from.as_str(), c.to.as_str(), c.event.as_str(), c.outcome.as_str(), c.count))
        .collect();
    assert_eq!(shown, [("", "", "CONFIRM", "InvalidEvent", 2), ("pending", "confirmed", "CONFIRM", "ok", 1)]);
}
