//! Every operation of machines, with every fault at each of its requests. Afterwards nothing that was
//! acknowledged is gone, log and state agree, actions ran for what was accepted and for nothing else, and
//! `doctor` leaves nothing behind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::state_machine::{
    HistoryOptions, MachineDefinition, MigrateOptions, SendOptions, StateMachineBuilder, StateMachinePlugin,
};
use s3db::store::Quirks;
use s3db::store::fault::{Fault, Faulty};
use s3db::{ErrorKind, FindingKind, Result};
use serde_json::{Value, json};

use crate::clock::{World, builder, machine};

fn first() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "a", "states": {
            "a": {"on": {"PLAIN": "b", "ACT": "c"}, "after": {"10m": "c"}},
            "b": {"on": {"PLAIN": "a", "ACT": "c", "END": "d"}},
            "c": {"on": {"PLAIN": "b"}, "entry": ["one", "two"]},
            "d": {"type": "final"}}}),
    )
}

fn second() -> MachineDefinition {
    let mut machine = first();
    machine.meta.insert("version".into(), json!(2));
    machine
}

/// Tokens of actions that ran, whoever ran them.
type Ran = Arc<Mutex<BTreeSet<(u64, String)>>>;

fn functions(ran: &Ran) -> StateMachineBuilder {
    let mut plugin = builder();
    for name in ["one", "two"] {
        let ran = Arc::clone(ran);
        plugin = plugin.action(name, move |call| {
            ran.lock().unwrap().insert((call.version, call.action.clone()));
            async move { Ok::<_, String>(json!({ call.action.clone(): call.version })) }
        });
    }
    plugin
}

type Work = fn(StateMachinePlugin) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

fn keyed() -> SendOptions {
    SendOptions { idempotency_key: Some("k".into()), ..SendOptions::default() }
}

const OPERATIONS: [(&str, Work); 9] = [
    ("initialize", |m| Box::pin(async move { m.initialize_entity("m", "new", json!({"n": 1})).await.map(drop) })),
    ("send", |m| Box::pin(async move { m.send_with("m", "e", "PLAIN", json!({"p": 1}), &keyed()).await.map(drop) })),
    ("send with actions", |m| {
        Box::pin(async move { m.send_with("m", "e", "ACT", json!({"p": 1}), &keyed()).await.map(drop) })
    }),
    ("two sends", |m| {
        Box::pin(async move {
            m.send_with("m", "e", "PLAIN", Value::Null, &SendOptions { idempotency_key: Some("1".into()), ..keyed() })
                .await?;
            m.send_with("m", "e", "ACT", Value::Null, &SendOptions { idempotency_key: Some("2".into()), ..keyed() })
                .await
                .map(drop)
        })
    }),
    ("sweep", |m| Box::pin(async move { m.sweep().await.map(drop) })),
    ("define", |m| Box::pin(async move { m.define(second()).await.map(drop) })),
    ("migrate", |m| {
        Box::pin(async move {
            m.define(second()).await?;
            m.migrate("m", &MigrateOptions::default()).await.map(drop)
        })
    }),
    ("delete", |m| Box::pin(async move { m.delete_entity("m", "e").await.map(drop) })),
    ("prune", |m| Box::pin(async move { m.prune("m", Duration::ZERO, false).await.map(drop) })),
];

/// A world with an entity whose timer is due, one that is done, and one whose actions a process left.
async fn filled(quirks: Quirks, ran: &Ran) -> World {
    let world = World::with(quirks);
    let process = world.process(functions(ran).machine(first())).await;
    process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    process.machines.initialize_entity("m", "done", Value::Null).await.unwrap();
    for event in ["PLAIN", "END"] {
        process.machines.send("m", "done", event, Value::Null).await.unwrap();
    }
    let dying = world
        .process(
            builder()
                .machine(first())
                .action("one", |_| std::future::pending::<std::result::Result<Value, String>>())
                .action("two", |_| async { Ok::<_, String>(Value::Null) }),
        )
        .await;
    dying.machines.initialize_entity("m", "left", Value::Null).await.unwrap();
    let machines = dying.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "left", "ACT", Value::Null).await });
    world.pass(Duration::from_secs(1)).await;
    sending.abort();
    world.pass(Duration::from_secs(15 * 60)).await;
    world
}

/// Log and state agree for every entity, and the history is whole.
async fn check(machines: &StateMachinePlugin, at: &str) {
    for entity in machines.entities("m", None).await.unwrap() {
        let report = machines.verify("m", &entity.entity).await.unwrap();
        assert!(report.valid, "{at}: {report:?}");
        let rows = machines.get_transition_history("m", &entity.entity, &HistoryOptions::default()).await.unwrap();
        assert_eq!(rows.items.len() as u64, report.version, "{at}");
    }
}

/// Every action of every accepted transition of `e` ran, and no other.
async fn check_actions(machines: &StateMachinePlugin, ran: &Ran, at: &str) {
    let page = match machines.get_transition_history("m", "e", &HistoryOptions::default()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        page => page.unwrap(),
    };
    let entered = page.items.iter().filter(|row| row.to == "c" && row.event != "migrate");
    let expected: BTreeSet<(u64, String)> =
        entered.clone().flat_map(|row| ["one", "two"].map(|name| (row.version.unwrap(), name.to_owned()))).collect();
    assert_eq!(*ran.lock().unwrap(), expected, "{at}");
    for row in entered {
        assert!(row.actions.len() == 2 && row.actions.iter().all(|a| a.ok), "{at}: {row:?}");
    }
}

async fn one(name: &str, work: Work, fault: Fault, nth: usize, quirks: Quirks) -> bool {
    let ran = Ran::default();
    let world = filled(quirks, &ran).await;
    ran.lock().unwrap().clear();
    let faulty = Arc::new(Faulty::new(world.memory.clone()));
    let process = world.process_on(faulty.clone(), functions(&ran).machine(first())).await;
    if !matches!(name, "sweep" | "define") {
        // What is due is for the sweep alone to be tried on.
        process.machines.sweep().await.unwrap();
        ran.lock().unwrap().clear();
        let back = process.machines.get_entity("m", "e").await.unwrap();
        assert_eq!(back.state, "c");
        process.machines.send("m", "e", "PLAIN", Value::Null).await.unwrap();
        process.machines.send("m", "e", "PLAIN", Value::Null).await.unwrap();
    }
    // The entity `left` has actions of its own; those of `e` are looked at.
    let begun = process.machines.get_entity("m", "e").await.unwrap().version;
    let before = faulty.sent();
    faulty.plan(nth, fault);
    let outcome = work(process.machines.clone()).await;
    let reached = faulty.sent() - before >= nth;
    faulty.heal();
    faulty.land().await;
    if !reached {
        return false;
    }
    let at = format!("{name}, {fault:?} at request {nth}, ended with {outcome:?}");
    if let Err(error) = &outcome {
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::AlreadyExists),
            "{at}"
        );
    }
    // Before anything is mended.
    let other = world.process(functions(&ran).machine(first())).await;
    check(&other.machines, &at).await;
    if outcome.is_ok() && name.starts_with("send") {
        assert_eq!(other.machines.get_entity("m", "e").await.unwrap().version, begun + 1, "{at}");
    }
    // Two hours later nothing is under way any more, and every time is over.
    world.pass(Duration::from_secs(7200)).await;
    for _ in 0..3 {
        other.machines.sweep().await.unwrap();
        world.pass(Duration::from_secs(3700)).await;
    }
    let mended = other.db.doctor(true, &|_, _| ()).await.unwrap();
    assert!(mended.is_healthy(), "{at}: {mended:?}");
    let missing = mended.findings.iter().any(|f| f.kind == FindingKind::MissingDueKey);
    assert!(!missing, "{at}: a timer or an action would never be found: {mended:?}");
    let again = other.db.doctor(false, &|_, _| ()).await.unwrap();
    assert!(again.findings.is_empty(), "{at}: {again:?}");
    for entity in other.machines.entities("m", None).await.unwrap() {
        let view = other.machines.get_entity("m", &entity.entity).await.unwrap();
        assert!(view.pending.is_empty(), "{at}: {view:?}");
    }
    check(&other.machines, &at).await;
    retry(&other.machines, name, work, outcome.is_ok(), &at).await;
    check(&other.machines, &at).await;
    true
}

/// The caller tries again: it is done, or it had been done, and a key is answered once.
async fn retry(machines: &StateMachinePlugin, name: &str, work: Work, acknowledged: bool, at: &str) {
    let before = machines.get_entity("m", "e").await.ok().map(|view| view.version);
    let retried = work(machines.clone()).await;
    if let Err(error) = &retried {
        let fits = matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound)
            // Its timer went on meanwhile.
            || (name.contains("send") && matches!(error.kind(), ErrorKind::InvalidEvent));
        assert!(fits, "{at}: {error}");
    }
    if acknowledged && name.contains("send") {
        let after = machines.get_entity("m", "e").await.ok().map(|view| view.version);
        assert_eq!(before, after, "{at}: a key that was answered changed something");
    }
}

async fn sweep(quirks: Quirks) -> usize {
    let mut points = 0;
    for (name, work) in OPERATIONS {
        for fault in Fault::ALL {
            for nth in 1..80 {
                if !one(name, work, fault, nth, quirks).await {
                    break;
                }
                points += 1;
            }
        }
    }
    points
}

#[tokio::test(start_paused = true)]
async fn operations_end_right_after_every_fault() {
    let mut points = 0;
    for quirks in [Quirks::default(), Quirks::S3] {
        points += sweep(quirks).await;
    }
    println!("{points} points of failure");
    assert!(points > 500, "only {points} points");
}

/// The same for actions: of the transition that a fault met, each action ran, and of no other.
#[tokio::test(start_paused = true)]
async fn actions_run_for_what_was_accepted_and_for_nothing_else() {
    let mut points = 0;
    for fault in Fault::ALL {
        for nth in 1..60 {
            let ran = Ran::default();
            let world = World::with(Quirks::S3);
            let faulty = Arc::new(Faulty::new(world.memory.clone()));
            let process = world.process_on(faulty.clone(), functions(&ran).machine(first())).await;
            process.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
            process.machines.send("m", "e", "PLAIN", Value::Null).await.unwrap();
            let before = faulty.sent();
            faulty.plan(nth, fault);
            let outcome = process.machines.send("m", "e", "ACT", Value::Null).await;
            let reached = faulty.sent() - before >= nth;
            faulty.heal();
            faulty.land().await;
            if !reached {
                break;
            }
            points += 1;
            let at = format!("{fault:?} at request {nth}, ended with {outcome:?}");
            let other = world.process(functions(&ran).machine(first())).await;
            for _ in 0..3 {
                world.pass(Duration::from_secs(3700)).await;
                other.machines.sweep().await.unwrap();
            }
            check_actions(&other.machines, &ran, &at).await;
            let state = other.machines.get_state("m", "e").await.unwrap();
            assert!(outcome.is_err() || state == "c", "{at}: it was acknowledged, and the state is '{state}'");
        }
    }
    println!("{points} points of failure");
    assert!(points > 50, "only {points} points");
}
