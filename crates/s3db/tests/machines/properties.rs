//! Random machines: what live does is what simulation says and what the log replays; and senders at once,
//! on a store that fails, are told what some order of theirs explains.

use std::sync::Arc;
use std::time::Duration;

use linearizable::{Verdict, check};
use proptest::prelude::*;
use s3db::state_machine::{HistoryOptions, MachineDefinition, SendOptions};
use s3db::store::Quirks;
use s3db::store::clock::Clock as _;
use s3db::store::fault::{Fault, Faulty};
use s3db::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use crate::clock::{World, builder, machine};

/// A machine of two to six states, and events sent to it.
#[derive(Debug, Clone)]
struct Case {
    machine: MachineDefinition,
    events: Vec<(String, i64)>,
}

const EVENTS: [&str; 4] = ["A", "B", "C", "never"];

fn target(states: usize) -> impl Strategy<Value = Value> {
    (0..states, 0..4u8).prop_map(|(to, kind)| {
        let state = format!("s{to}");
        match kind {
            0 => json!(state),
            1 => json!({"target": state, "guard": {"cel": "context.n % 2 == 0"}}),
            2 => json!({"target": state, "guard": {"cel": "payload.p > 3"}, "actions": {"kind": "assign", "set": {"n": "=context.n + payload.p"}}}),
            _ => json!({"target": state, "actions": {"kind": "assign", "set": {"last": "=event"}}}),
        }
    })
}

fn state(states: usize) -> impl Strategy<Value = Value> {
    let on = prop::collection::btree_map(
        prop::sample::select(vec!["A", "B", "C", "*"]),
        prop::collection::vec(target(states), 1..3),
        0..4,
    );
    (on, any::<u8>()).prop_map(|(on, kind)| {
        if kind < 25 {
            return json!({"type": "final"});
        }
        let mut state = json!({ "on": on });
        if kind % 3 == 0 {
            state["entry"] = json!({"kind": "assign", "set": {"n": "=context.n + 1"}});
        }
        if kind % 5 == 0 {
            state["exit"] = json!({"kind": "assign", "set": {"left": "=state"}});
        }
        state
    })
}

fn case() -> impl Strategy<Value = Case> {
    (2usize..7).prop_flat_map(|states| {
        let all = prop::collection::vec(state(states), states);
        let events = prop::collection::vec((prop::sample::select(EVENTS.to_vec()), 0i64..8), 1..25);
        (all, events).prop_map(|(all, events)| {
            let named: Map<String, Value> = all.into_iter().enumerate().map(|(n, s)| (format!("s{n}"), s)).collect();
            Case {
                machine: machine("m", json!({"initialState": "s0", "states": named})),
                events: events.into_iter().map(|(event, p)| (event.to_owned(), p)).collect(),
            }
        })
    })
}

async fn live_is_simulated_and_replayed(case: Case) -> Result<(), TestCaseError> {
    let world = World::new();
    let process = world.process(builder().machine(case.machine)).await;
    let machines = &process.machines;
    let begun = machines.initialize_entity("m", "e", json!({"n": 1})).await.unwrap();
    let mut accepted: Vec<(String, Value)> = Vec::new();
    let mut before = begun;
    for (event, p) in case.events {
        let payload = json!({ "p": p });
        let sent = machines.send("m", "e", &event, payload.clone()).await;
        let events = accepted.iter().cloned().chain([(event.clone(), payload.clone())]);
        let simulated = machines.simulate("m", json!({"n": 1}), events).await.unwrap();
        let step = simulated.steps.last().unwrap();
        match &sent {
            Ok(sent) => {
                prop_assert_eq!(Some(&sent.to), step.to.as_ref());
                prop_assert_eq!(&sent.from, &before.state);
                accepted.push((event, payload));
                prop_assert_eq!(sent.version, accepted.len() as u64);
            }
            Err(error) => {
                prop_assert_eq!(Some(error.kind()), step.refusal().map(Error::kind), "{}", error);
                prop_assert_eq!(&machines.get_entity("m", "e").await.unwrap(), &before);
                continue;
            }
        }
        let view = machines.get_entity("m", "e").await.unwrap();
        prop_assert_eq!(
            (&view.state, &view.context, view.done),
            (&simulated.state, &simulated.context, simulated.done)
        );
        before = view;
    }
    let report = machines.verify("m", "e").await.unwrap();
    prop_assert!(report.valid && report.rows == accepted.len() as u64, "{:?}", report);
    let rows = machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items;
    prop_assert_eq!(rows.first().map(|row| &row.context), (!rows.is_empty()).then_some(&before.context));
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_machines_do_live_what_simulation_says_and_the_log_replays(case in case()) {
        runtime().block_on(live_is_simulated_and_replayed(case))?;
    }
}

/// What a sender was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The transition stands: state before, state after, version after.
    Done { from: String, to: String, version: u64 },
    /// It was refused in this state.
    Refused { state: String },
    /// It may or may not have taken effect, then or later.
    Unknown,
}

/// One send.
#[derive(Debug, Clone)]
struct Call {
    event: String,
    from: Duration,
    to: Duration,
    answer: Answer,
}

impl linearizable::Call for Call {
    /// State and version.
    type State = (String, u64);

    fn from(&self) -> Duration {
        self.from
    }

    fn to(&self) -> Option<Duration> {
        (self.answer != Answer::Unknown).then_some(self.to)
    }

    fn step(&self, (state, version): &(String, u64)) -> Option<(String, u64)> {
        let next = rules(state, &self.event);
        match &self.answer {
            Answer::Done { from, to, version: told } => {
                let fits = from == state && next == Some(to.as_str()) && *told == version + 1;
                fits.then(|| (to.clone(), *told))
            }
            Answer::Refused { state: told } => (told == state && next.is_none()).then(|| (state.clone(), *version)),
            Answer::Unknown => next.map(|next| (next.to_owned(), version + 1)),
        }
    }
}

/// A machine without guards whose rules are plain.
fn ring() -> MachineDefinition {
    machine(
        "m",
        json!({"initialState": "s0", "states": {
            "s0": {"on": {"A": "s1", "B": "s2"}}, "s1": {"on": {"A": "s2", "C": "s0"}},
            "s2": {"on": {"B": "s0", "C": "s3"}}, "s3": {"on": {"A": "s0"}}}}),
    )
}

fn rules(state: &str, event: &str) -> Option<&'static str> {
    match (state, event) {
        ("s0", "A") => Some("s1"),
        ("s0", "B") | ("s1", "A") => Some("s2"),
        ("s1", "C") | ("s2", "B") | ("s3", "A") => Some("s0"),
        ("s2", "C") => Some("s3"),
        _ => None,
    }
}

/// A sequence that looks random and is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Two to 64 senders in two to eight processes, each on its own failing way to one store.
async fn senders_at_once(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let quirks = if seed.is_multiple_of(2) { Quirks::S3 } else { Quirks::default() };
    let world = World::with(quirks);
    let setup = world.process(builder().machine(ring())).await;
    setup.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let mut processes = Vec::new();
    for _ in 0..2 + dice.roll(7) {
        let faulty = Arc::new(Faulty::new(world.memory.clone()));
        let process = world.process_on(faulty.clone(), builder().machine(ring())).await;
        for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::Kill) {
            faulty.plan(1 + usize::try_from(dice.roll(60)).unwrap(), fault);
        }
        processes.push((process, faulty));
    }
    let senders = 2 + dice.roll(63);
    let mut tasks = Vec::new();
    for sender in 0..senders {
        let at = usize::try_from(dice.roll(processes.len() as u64)).unwrap();
        let (machines, clock) = (processes[at].0.machines.clone(), world.clock.clone());
        let event = ["A", "B", "C"][usize::try_from(dice.roll(3)).unwrap()].to_owned();
        let pause = Duration::from_millis(dice.roll(40));
        let options = SendOptions { actor: Some(format!("sender {sender}")), ..SendOptions::default() };
        tasks.push(tokio::spawn(async move {
            clock.sleep(pause).await;
            let from = clock.monotonic();
            let sent = machines.send_with("m", "e", &event, Value::Null, &options).await;
            let to = clock.monotonic();
            (Call { event, from, to, answer: answer(&sent) }, sent.ok())
        }));
    }
    let mut calls = Vec::new();
    let mut accepted = Vec::new();
    for task in tasks {
        let (call, sent) = task.await.unwrap();
        calls.push(call);
        accepted.extend(sent);
    }
    for (_, faulty) in &processes {
        faulty.heal();
        faulty.land().await;
    }
    let view = setup.machines.get_entity("m", "e").await.unwrap();
    let end = (view.state.clone(), view.version);
    let verdict = check(&calls, &("s0".to_owned(), 0), &end);
    assert!(matches!(verdict, Verdict::Explained(_)), "seed {seed}: {verdict:?}: {calls:#?}, which ended as {end:?}");
    let report = setup.machines.verify("m", "e").await.unwrap();
    assert!(report.valid, "seed {seed}: {report:?}");
    let rows = setup.machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items;
    assert_eq!(rows.len() as u64, view.version);
    for sent in accepted {
        let row = rows.iter().find(|row| row.version == Some(sent.version)).unwrap();
        assert_eq!(row.transition_id.as_ref(), Some(&sent.transition_id), "seed {seed}: an answer is not in the log");
    }
    calls.len()
}

fn answer(sent: &s3db::Result<s3db::state_machine::Sent>) -> Answer {
    match sent {
        Ok(sent) => Answer::Done { from: sent.from.clone(), to: sent.to.clone(), version: sent.version },
        Err(error) if error.kind() == ErrorKind::InvalidEvent => {
            let state = error.details().unwrap()["state"].as_str().unwrap().to_owned();
            Answer::Refused { state }
        }
        Err(error) => {
            let fits = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict);
            assert!(fits, "{error}");
            Answer::Unknown
        }
    }
}

#[test]
fn senders_at_once_on_a_failing_store_are_told_what_some_order_explains() {
    let mut calls = 0;
    for seed in 1..=400 {
        calls += runtime().block_on(senders_at_once(seed));
    }
    println!("{calls} sends in 400 histories, each explained by some order");
    assert!(calls > 5_000);
}
