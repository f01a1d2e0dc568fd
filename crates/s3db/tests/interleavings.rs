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

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use s3db::store::clock::ManualClock;
use s3db::store::memory::Memory;
use s3db::store::{
    Capabilities, Copy, List, Object, ObjectMeta, Page, Precondition, Put, Quirks, Result as StoreResult, Store,
};
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

/// Requests that wait for the explorer, and what each operation has been answered.
#[derive(Debug, Default)]
struct Gate {
    waiting: BTreeMap<(usize, usize), bool>,
    sent: BTreeMap<usize, usize>,
    seen: BTreeMap<usize, u64>,
    wakers: BTreeMap<(usize, usize), Waker>,
}

/// A store that lets no request pass before its turn.
#[derive(Debug)]
struct Gated {
    inner: Arc<Memory>,
    gate: Arc<Mutex<Gate>>,
    op: usize,
}

struct Turn {
    gate: Arc<Mutex<Gate>>,
    ticket: (usize, usize),
}

impl Future for Turn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.gate.lock().unwrap();
        gate.wakers.insert(self.ticket, context.waker().clone());
        if gate.waiting.get(&self.ticket) == Some(&true) {
            gate.waiting.remove(&self.ticket);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Gated {
    async fn turn(&self) {
        let ticket = {
            let mut gate = self.gate.lock().unwrap();
            let number = gate.sent.entry(self.op).or_default();
            *number += 1;
            let ticket = (self.op, *number);
            gate.waiting.insert(ticket, false);
            ticket
        };
        Turn { gate: Arc::clone(&self.gate), ticket }.await;
    }

    fn answered<T: std::fmt::Debug>(&self, result: StoreResult<T>) -> StoreResult<T> {
        let mut gate = self.gate.lock().unwrap();
        let seen = gate.seen.entry(self.op).or_default();
        let mut hasher = DefaultHasher::new();
        (*seen, format!("{result:?}")).hash(&mut hasher);
        *seen = hasher.finish();
        drop(gate);
        result
    }
}

#[async_trait::async_trait]
impl Store for Gated {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Object> {
        self.turn().await;
        self.answered(self.inner.get(key, range).await)
    }
    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.turn().await;
        self.answered(self.inner.head(key).await)
    }
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> StoreResult<String> {
        self.turn().await;
        self.answered(self.inner.put(key, put, precondition).await)
    }
    async fn delete(&self, key: &str, precondition: Precondition) -> StoreResult<()> {
        self.turn().await;
        self.answered(self.inner.delete(key, precondition).await)
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.turn().await;
        self.answered(self.inner.delete_many(keys).await)
    }
    async fn list(&self, list: List) -> StoreResult<Page> {
        self.turn().await;
        self.answered(self.inner.list(list).await)
    }
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> StoreResult<String> {
        self.turn().await;
        self.answered(self.inner.copy(from, to, copy).await)
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

/// Runs a future that never waits for anything but the gate.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the set-up waits"),
    }
}

type Running = Pin<Box<dyn Future<Output = Answer>>>;

/// One run from the start, along a list of choices.
struct Run {
    memory: Arc<Memory>,
    gate: Arc<Mutex<Gate>>,
    ops: Vec<Option<Running>>,
    answers: Vec<Option<Answer>>,
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
        let gate = Arc::new(Mutex::new(Gate::default()));
        let running = ops.iter().enumerate().map(|(at, op)| {
            let gated = Gated { inner: Arc::clone(&memory), gate: Arc::clone(&gate), op: at };
            start(*op, at, Arc::new(gated), world.shared)
        });
        let ops: Vec<Option<Running>> = running.map(Some).collect();
        let mut run = Self { answers: vec![None; ops.len()], memory, gate, ops, shared: world.shared };
        for at in 0..run.ops.len() {
            run.poll(at);
            // The first request of each is the read of the catalog on connecting: let it pass.
            run.grant((at, 1));
        }
        run
    }

    fn poll(&mut self, at: usize) {
        if let Some(op) = &mut self.ops[at]
            && let Poll::Ready(answer) = op.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            self.ops[at] = None;
            self.answers[at] = Some(answer);
        }
    }

    fn grant(&mut self, ticket: (usize, usize)) {
        let waker = {
            let mut gate = self.gate.lock().unwrap();
            *gate.waiting.get_mut(&ticket).unwrap() = true;
            gate.wakers.remove(&ticket)
        };
        waker.unwrap().wake();
        self.poll(ticket.0);
    }

    fn choices(&self) -> Vec<(usize, usize)> {
        self.gate.lock().unwrap().waiting.keys().copied().collect()
    }

    /// What is stored and what each operation has seen and still waits for.
    fn state(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, object) in self.memory.snapshot() {
            (key, &object.body[..], format!("{:?}", object.meta.headers)).hash(&mut hasher);
        }
        let gate = self.gate.lock().unwrap();
        (&gate.seen, &gate.waiting, &self.answers).hash(&mut hasher);
        hasher.finish()
    }

    /// The record's values, if it exists, after asserting that its current index key exists, or, at the
    /// end of a path, that exactly its references exist.
    fn check(&self, path: &[(usize, usize)], ended: bool) -> Option<(Value, Value)> {
        let objects = self.memory.snapshot();
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
            run.grant(*ticket);
        }
        if !seen.insert(run.state()) {
            continue;
        }
        found.states += 1;
        let choices = run.choices();
        let undecided = run.answers.contains(&Some(Answer::Refused(ErrorKind::Unavailable)));
        let stored = run.check(&path, choices.is_empty() && !undecided);
        if choices.is_empty() {
            let answers: Vec<Answer> =
                run.answers.iter().map(|a| a.expect("an operation waits for nothing and has no answer")).collect();
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
