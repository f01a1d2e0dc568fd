//! Every interleaving of two or three operations on one entity of a state machine.
//!
//! In every reachable state, so also after any crash, the log leads to the stored state, the entity is found
//! by its state, and every timer has its key among what is due. At the end of each path some order of the
//! operations explains what each was answered.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

mod gate;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gate::{Gated, Running, ready};
use linearizable::{Verdict, check};
use s3db::state_machine::{MachineDefinition, SendOptions, StateMachinePlugin};
use s3db::store::clock::ManualClock;
use s3db::store::memory::Memory;
use s3db::store::{Quirks, Store};
use s3db::{Database, ErrorKind, FindingKind, SeededEntropy};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Init,
    Send,
    /// Only at version 0.
    SendOnce,
    /// Fires the timer, which is due from the beginning.
    Sweep,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Answer {
    Begun,
    Sent { to: String, version: u64 },
    Swept { fired: usize },
    Deleted,
    Refused(ErrorKind),
}

/// An operation that was answered; all of them are under way at once.
#[derive(Debug)]
struct Call(Op, Answer);

/// State and version of the entity, if it exists.
type Model = Option<(String, u64)>;

impl linearizable::Call for Call {
    type State = Model;

    fn from(&self) -> Duration {
        Duration::ZERO
    }

    fn to(&self) -> Option<Duration> {
        (self.1 != Answer::Refused(ErrorKind::Unavailable)).then_some(Duration::from_secs(1))
    }

    fn step(&self, before: &Model) -> Option<Model> {
        let other = |state: &str| if state == "a" { "b" } else { "a" };
        match (&self.0, &self.1, before) {
            (Op::Init, Answer::Begun, None) => Some(Some(("a".into(), 0))),
            (Op::Init, Answer::Refused(ErrorKind::AlreadyExists), Some(_)) => Some(before.clone()),
            (Op::Send | Op::SendOnce, Answer::Sent { to, version }, Some((state, at))) => {
                let fits = to == other(state) && *version == at + 1 && (self.0 == Op::Send || *at == 0);
                fits.then(|| Some((to.clone(), *version)))
            }
            (Op::SendOnce, Answer::Refused(ErrorKind::Conflict), Some((_, at))) if *at > 0 => Some(before.clone()),
            (_, Answer::Refused(ErrorKind::NotFound), None) => Some(None),
            (Op::Sweep, Answer::Swept { fired: 0 }, _) => Some(before.clone()),
            (Op::Sweep, Answer::Swept { fired: 1 }, Some((state, at))) => Some(Some((other(state).into(), at + 1))),
            (Op::Delete, Answer::Deleted, _) => Some(None),
            // An outcome that cannot be found out is said to be so.
            (_, Answer::Refused(ErrorKind::Unavailable), Some((state, at))) if self.0 != Op::Delete => {
                Some(Some((other(state).into(), at + 1)))
            }
            (Op::Init, Answer::Refused(ErrorKind::Unavailable), None) => Some(Some(("a".into(), 0))),
            (Op::Delete, Answer::Refused(ErrorKind::Unavailable), _) => Some(None),
            _ => None,
        }
    }
}

const START: i64 = 1_795_000_000_000;

fn definition() -> MachineDefinition {
    let machine = json!({"initialState": "a", "states": {"a": {"on": {"T": "b"}, "after": {"0": "b"}}, "b": {"on": {"T": "a"}, "after": {"1h": "a"}}}});
    MachineDefinition::from_json("m", &machine).unwrap()
}

async fn connect(store: Arc<dyn Store>, seed: u64) -> (Database, StateMachinePlugin) {
    let plugin = StateMachinePlugin::builder().sweep_interval(None).build().unwrap();
    let builder = Database::builder("memory://x").store(store).clock(Arc::new(ManualClock::at(START)));
    let db = builder.entropy(Arc::new(SeededEntropy::new(seed))).plugin(plugin.clone()).connect().await.unwrap();
    (db, plugin)
}

fn start(op: Op, at: usize, store: Arc<Gated>) -> Running<Answer> {
    Box::pin(async move {
        let (_db, machines) = connect(store, 100 + at as u64).await;
        // What a process reads once: the versions of the definition, and the definition.
        machines.events_for_state("m", "a").await.unwrap();
        let result = match op {
            Op::Init => machines.initialize_entity("m", "e", Value::Null).await.map(|_| Answer::Begun),
            Op::Send | Op::SendOnce => {
                let expected_version = (op == Op::SendOnce).then_some(0);
                let options = SendOptions { expected_version, ..SendOptions::default() };
                let sent = machines.send_with("m", "e", "T", Value::Null, &options).await;
                sent.map(|sent| Answer::Sent { to: sent.to, version: sent.version })
            }
            Op::Sweep => machines.sweep().await.map(|report| {
                assert_eq!(report.failures, 0, "{report:?}");
                Answer::Swept { fired: report.fired }
            }),
            Op::Delete => machines.delete_entity("m", "e").await.map(|_| Answer::Deleted),
        };
        result.unwrap_or_else(|error| Answer::Refused(error.kind()))
    })
}

/// The entity as it is stored, after asserting what holds in every state.
fn look(memory: &Arc<Memory>, path: &[(usize, usize)]) -> Model {
    ready(async {
        let (db, machines) = connect(memory.clone(), 9).await;
        let report = db.doctor(false, &|_, _| ()).await.unwrap();
        let missing =
            report.findings.iter().find(|f| matches!(f.kind, FindingKind::MissingDueKey | FindingKind::MissingKey));
        assert!(missing.is_none(), "{missing:?} after {path:?}");
        let view = match machines.get_entity("m", "e").await {
            Ok(view) => view,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("{error} after {path:?}"),
        };
        let verified = machines.verify("m", "e").await.unwrap();
        assert!(verified.valid, "{verified:?} after {path:?}");
        Some((view.state, view.version))
    })
}

fn explore(ops: &[Op], present: bool, quirks: Quirks) -> (usize, usize) {
    let (mut seen, mut ends) = (HashSet::new(), 0);
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let memory = Arc::new(Memory::with(quirks, Arc::new(ManualClock::at(START))));
        ready(async {
            let (_db, machines) = connect(memory.clone(), 1).await;
            machines.define(definition()).await.unwrap();
            machines.initialize_entity("m", if present { "e" } else { "other" }, Value::Null).await.unwrap();
        });
        let mut run = gate::Run::new(memory, ops.len(), 3, |at, store| start(ops[at], at, store));
        for ticket in &path {
            run.grant(*ticket);
        }
        if !seen.insert(run.state()) {
            continue;
        }
        let stored = look(&run.memory, &path);
        let choices = run.choices();
        if choices.is_empty() {
            ends += 1;
            let calls: Vec<Call> = ops.iter().zip(&run.answers).map(|(op, a)| Call(*op, a.clone().unwrap())).collect();
            let begin = present.then(|| ("a".to_owned(), 0));
            let verdict = check(&calls, &begin, &stored);
            assert!(matches!(verdict, Verdict::Explained(_)), "{calls:?} left {stored:?} by {path:?}");
        }
        paths.extend(choices.into_iter().map(|choice| path.iter().copied().chain([choice]).collect()));
    }
    (seen.len(), ends)
}

fn explore_all(sets: &[(&[Op], bool)], quirks: Quirks) -> usize {
    let mut states = 0;
    for (ops, present) in sets {
        let (visited, ends) = explore(ops, *present, quirks);
        println!("{visited} states, {ends} ends: {ops:?}");
        assert!(ends > 0);
        states += visited;
    }
    states
}

const PAIRS: [(&[Op], bool); 7] = [
    (&[Op::Init, Op::Init], false),
    (&[Op::Init, Op::Send], false),
    (&[Op::SendOnce, Op::SendOnce], true),
    (&[Op::SendOnce, Op::Sweep], true),
    (&[Op::Sweep, Op::Sweep], true),
    (&[Op::SendOnce, Op::Delete], true),
    (&[Op::Delete, Op::Init], true),
];

/// Those whose losers go on, with 50,000 states: with S3DB_EXPLORE=all, a quarter of an hour.
const LONG: [(&[Op], bool); 2] = [(&[Op::Send, Op::Send], true), (&[Op::Send, Op::Sweep], true)];

#[test]
fn every_interleaving_of_two_operations_on_an_entity_holds() {
    let mut states = explore_all(&PAIRS, Quirks::default());
    if std::env::var("S3DB_EXPLORE").is_ok_and(|wanted| wanted == "all") {
        states += explore_all(&LONG, Quirks::default());
    }
    assert!(states > 400, "only {states} states were visited");
}

#[test]
fn every_interleaving_of_two_operations_on_an_entity_holds_as_real_servers_behave() {
    let states = explore_all(&PAIRS, Quirks::S3);
    assert!(states > 200, "only {states} states were visited");
}

#[test]
fn every_interleaving_of_three_operations_on_an_entity_holds() {
    let states = explore_all(&[(&[Op::Init, Op::Init, Op::SendOnce], false)], Quirks::S3);
    assert!(states > 100, "only {states} states were visited");
}
