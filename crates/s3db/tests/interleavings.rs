//! Every interleaving of two to four operations on one record with one partition.
//!
//! The real library runs on a store whose every request waits until the explorer lets it go. The
//! explorer visits every reachable state once (a state is what is stored together with what each
//! operation has seen) and asserts in each, so also after any crash, that the record's current index
//! key exists. At the end of each path the answers must be those of some order of the operations.
//!
//! In a database that s3db.js shares, references are not safe against a crash; there the end of every
//! path must have exactly the references of the record.
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

use gate::{Gated, ready};
use s3db::store::clock::ManualClock;
use s3db::store::memory::Memory;
use s3db::store::{Quirks, Store};
use s3db::{Database, ErrorKind, ResourceDefinition, SeededEntropy, UpdateOptions};
use s3db_format::catalog::Catalog;
use s3db_format::record::{StoredObject, decode};
use serde_json::{Value, json};

/// One operation of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Insert(&'static str),
    Update(&'static str),
    UpdateOther,
    UpdateOnce(&'static str),
    Upsert(&'static str),
    Delete,
}

/// Who keeps the partitions, and how the store behaves.
#[derive(Debug, Clone, Copy)]
struct World {
    quirks: Quirks,
    shared: bool,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Done,
    Refused(ErrorKind),
}

type Running = gate::Running<Answer>;

/// One run from the start, along a list of choices.
struct Run {
    steps: gate::Run<Answer>,
    shared: bool,
}

const START: i64 = 1_795_000_000_000;

async fn connect(store: Arc<dyn Store>, seed: u64, shared: bool) -> Database {
    let builder = Database::builder("memory://x").shared(shared).store(store).clock(Arc::new(ManualClock::at(START)));
    builder.entropy(Arc::new(SeededEntropy::new(seed))).connect().await.unwrap()
}

impl Run {
    fn new(ops: &[Op], present: bool, world: World) -> Self {
        let memory = Arc::new(Memory::with(world.quirks, Arc::new(ManualClock::at(START))));
        ready(async {
            let db = connect(Arc::clone(&memory) as Arc<dyn Store>, 1, world.shared).await;
            let definition = ResourceDefinition::new("r")
                .attribute("s", "string")
                .attribute("n", "number|default:0")
                .partition("byS", [("s", "string")]);
            let resource = db.create_resource(definition).await.unwrap();
            if present {
                resource.insert(json!({"id": "x", "s": "a"})).await.unwrap();
            }
        });
        // The first request of each is the read of the catalog on connecting: let it pass.
        let steps = gate::Run::new(memory, ops.len(), 1, |at, store| start(ops[at], at, store, world.shared));
        Self { steps, shared: world.shared }
    }

    /// The record's values, if it exists, after asserting that its current index key exists, or, at the
    /// end of a path, that exactly its references exist.
    fn check(&self, path: &[(usize, usize)], ended: bool) -> Option<(Value, Value)> {
        let objects = self.steps.memory.snapshot();
        let references: Vec<&String> = objects.keys().filter(|k| k.starts_with("resource=r/partition=")).collect();
        let Some(record) = objects.get("resource=r/data/id=x") else {
            assert!(!ended || references.is_empty(), "{references:?} refer to nothing after {path:?}");
            return None;
        };
        let catalog = Catalog::parse(&objects["s3db.json"].body).unwrap();
        let resource = catalog.resource("r").unwrap();
        let object = StoredObject {
            headers: &record.meta.headers,
            content_type: record.meta.content_type.as_deref(),
            body: &record.body,
        };
        let decoded = decode(resource, object).unwrap();
        let partition = resource.partition("byS").unwrap();
        let values = partition.values(&decoded.attributes, &decoded.version).unwrap();
        if self.shared {
            assert!(!ended || !decoded.deleted, "a delete was not finished after {path:?}");
            let wanted = partition.reference_key("r", &values, "x");
            assert!(!ended || references == [&wanted], "{references:?} instead of {wanted} after {path:?}");
            return (!decoded.deleted).then(|| (decoded.attributes["s"].clone(), decoded.attributes["n"].clone()));
        }
        let revision = decoded.stamp.as_ref().unwrap().index_revision("byS").to_owned();
        let key = partition.index_key("r", &values, "x", &revision);
        assert!(objects.contains_key(&key), "the current key {key} is missing after {path:?}");
        Some((decoded.attributes["s"].clone(), decoded.attributes["n"].clone()))
    }
}

fn start(op: Op, at: usize, store: Arc<Gated>, shared: bool) -> Running {
    Box::pin(async move {
        let db = connect(store, 100 + at as u64, shared).await;
        let r = db.resource("r").await.unwrap();
        let result = match op {
            Op::Insert(s) => r.insert(json!({"id": "x", "s": s})).await.map(|_| ()),
            Op::Update(s) => r.update("x", json!({"s": s})).await.map(|_| ()),
            Op::UpdateOther => r.update("x", json!({"n": at + 1})).await.map(|_| ()),
            Op::Upsert(s) => r.upsert(json!({"id": "x", "s": s})).await.map(|_| ()),
            Op::Delete => r.delete("x").await,
            Op::UpdateOnce(s) => match r.get("x").await {
                Ok(read) => r
                    .update_with("x", json!({"s": s}), &UpdateOptions { expected_rev: Some(read.meta.rev) })
                    .await
                    .map(|_| ()),
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(error.kind()),
        }
    })
}

/// A record as the model has it.
type Model = Option<(String, u64)>;

/// Whether the answers and the end are those of some order of the operations.
fn is_explained(
    ops: &[Op],
    answers: &[Answer],
    left: &mut Vec<usize>,
    state: &Model,
    end: &Model,
    quirks: Quirks,
) -> bool {
    if left.is_empty() {
        return state == end;
    }
    for position in 0..left.len() {
        let at = left.remove(position);
        let next = step(ops[at], at, answers[at], state, quirks);
        let explained = next.is_some_and(|next| is_explained(ops, answers, left, &next, end, quirks));
        left.insert(position, at);
        if explained {
            return true;
        }
    }
    false
}

fn step(op: Op, at: usize, answer: Answer, state: &Model, quirks: Quirks) -> Option<Model> {
    let moved = |s: &str| Some(Some((s.to_owned(), state.as_ref().map_or(0, |(_, n)| *n))));
    match (op, answer, state) {
        (Op::Insert(s), Answer::Done, None) => moved(s),
        (Op::Insert(_), Answer::Refused(ErrorKind::AlreadyExists), Some(_)) => Some(state.clone()),
        // In a shared database an insert waits for a delete that is under way, and gives up in the end.
        (Op::Insert(_) | Op::Upsert(_), Answer::Refused(ErrorKind::Busy), None) => Some(None),
        (Op::Update(s) | Op::UpdateOnce(s), Answer::Done, Some(_)) => moved(s),
        (Op::UpdateOther, Answer::Done, Some((s, _))) => Some(Some((s.clone(), at as u64 + 1))),
        (Op::Upsert(s), Answer::Done, _) => moved(s),
        (Op::Delete, Answer::Done, Some(_)) => Some(None),
        // A delete without a condition does not tell who deleted.
        (Op::Delete, Answer::Done, None) if quirks.unconditional_delete => Some(None),
        (
            Op::Update(_) | Op::UpdateOther | Op::UpdateOnce(_) | Op::Delete,
            Answer::Refused(ErrorKind::NotFound),
            None,
        ) => Some(None),
        // A single attempt that lost leaves everything as it is.
        (Op::UpdateOnce(_), Answer::Refused(ErrorKind::Conflict), _) => Some(state.clone()),
        _ => None,
    }
}

struct Explored {
    states: usize,
    ends: usize,
    undecided: usize,
}

/// Visits every reachable state.
fn explore(ops: &[Op], present: bool, world: World) -> Explored {
    let quirks = world.quirks;
    let mut seen = HashSet::new();
    let mut found = Explored { states: 0, ends: 0, undecided: 0 };
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let mut run = Run::new(ops, present, world);
        for ticket in &path {
            run.steps.grant(*ticket);
        }
        if !seen.insert(run.steps.state()) {
            continue;
        }
        found.states += 1;
        let choices = run.steps.choices();
        let undecided = run.steps.answers.contains(&Some(Answer::Refused(ErrorKind::Unavailable)));
        let stored = run.check(&path, choices.is_empty() && !undecided);
        if choices.is_empty() {
            let answers: Vec<Answer> = run
                .steps
                .answers
                .iter()
                .map(|a| a.expect("an operation waits for nothing and has no answer"))
                .collect();
            found.ends += 1;
            // An outcome that cannot be found out is said to be so; it may or may not have happened.
            if undecided {
                found.undecided += 1;
                continue;
            }
            let end = stored.map(|(s, n)| (s.as_str().unwrap().to_owned(), n.as_u64().unwrap()));
            let start = present.then(|| ("a".to_owned(), 0));
            let mut left = (0..ops.len()).collect();
            assert!(
                is_explained(ops, &answers, &mut left, &start, &end, quirks),
                "{ops:?} answered {answers:?} and left {end:?} by {path:?}"
            );
        }
        for choice in choices {
            let mut longer = path.clone();
            longer.push(choice);
            paths.push(longer);
        }
    }
    found
}

fn explore_all(sets: &[(&[Op], bool)], quirks: Quirks, shared: bool) -> usize {
    let mut states = 0;
    for (ops, present) in sets {
        let found = explore(ops, *present, World { quirks, shared });
        println!("{} states, {} ends, {} undecided: {ops:?}", found.states, found.ends, found.undecided);
        assert!(found.ends > 0);
        if quirks == Quirks::default() {
            assert_eq!(found.undecided, 0, "{ops:?}: a store that never repeats requests leaves nothing undecided");
        }
        states += found.states;
    }
    states
}

const PAIRS: [(&[Op], bool); 11] = [
    (&[Op::Update("b"), Op::Update("b")], true),
    (&[Op::Update("b"), Op::Update("c")], true),
    (&[Op::Update("b"), Op::UpdateOther], true),
    (&[Op::Update("b"), Op::Delete], true),
    (&[Op::UpdateOnce("b"), Op::UpdateOnce("c")], true),
    (&[Op::Delete, Op::Delete], true),
    (&[Op::Delete, Op::Insert("a")], true),
    (&[Op::Delete, Op::Upsert("b")], true),
    (&[Op::Insert("a"), Op::Insert("b")], false),
    (&[Op::Insert("a"), Op::Delete], false),
    (&[Op::Upsert("a"), Op::Upsert("b")], false),
];

const TRIPLES: [(&[Op], bool); 5] = [
    (&[Op::Update("b"), Op::Update("a"), Op::UpdateOther], true),
    (&[Op::Update("b"), Op::Delete, Op::Insert("a")], true),
    (&[Op::Insert("a"), Op::Insert("b"), Op::Delete], false),
    (&[Op::Upsert("b"), Op::Delete, Op::Update("c")], true),
    (&[Op::Delete, Op::Insert("a"), Op::Delete], true),
];

#[test]
fn every_interleaving_of_two_operations_keeps_the_current_key() {
    let states = explore_all(&PAIRS, Quirks::default(), false);
    assert!(states > 300, "only {states} states were visited");
}

#[test]
fn every_interleaving_of_two_operations_holds_as_real_servers_behave() {
    let states = explore_all(&PAIRS, Quirks::S3, false);
    assert!(states > 300, "only {states} states were visited");
}

#[test]
fn every_interleaving_of_three_operations_keeps_the_current_key() {
    let states = explore_all(&TRIPLES, Quirks::default(), false);
    assert!(states > 3000, "only {states} states were visited");
}

#[test]
fn every_interleaving_of_three_operations_holds_as_real_servers_behave() {
    let states = explore_all(&TRIPLES, Quirks::S3, false);
    assert!(states > 1500, "only {states} states were visited");
}

#[test]
fn every_interleaving_of_four_operations_keeps_the_current_key() {
    let four: (&[Op], bool) = (&[Op::UpdateOnce("b"), Op::Delete, Op::Insert("b"), Op::Delete], true);
    let states = explore_all(&[four], Quirks::default(), false);
    assert!(states > 3000, "only {states} states were visited");
}

#[test]
fn in_a_shared_database_every_interleaving_of_two_operations_ends_with_the_records_references() {
    for quirks in [Quirks::default(), Quirks::S3] {
        let states = explore_all(&PAIRS, quirks, true);
        assert!(states > 500, "only {states} states were visited");
    }
}

#[test]
fn in_a_shared_database_three_operations_end_with_the_records_references() {
    let three: [(&[Op], bool); 1] = [(&[Op::Insert("a"), Op::Insert("b"), Op::Delete], false)];
    let states = explore_all(&three, Quirks::default(), true);
    assert!(states > 2000, "only {states} states were visited");
}
