//! A store whose every request waits until an explorer lets it go, and runs along lists of its choices.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use s3db::store::memory::Memory;
use s3db::store::{
    Capabilities, Copy, List, Object, ObjectMeta, Page, Precondition, Put, Result as StoreResult, Store,
};

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
pub(crate) struct Gated {
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
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the set-up waits"),
    }
}

/// An operation under way.
pub(crate) type Running<A> = Pin<Box<dyn Future<Output = A>>>;

/// One run of several operations from the start, along a list of choices.
pub(crate) struct Run<A> {
    pub(crate) memory: Arc<Memory>,
    gate: Arc<Mutex<Gate>>,
    ops: Vec<Option<Running<A>>>,
    pub(crate) answers: Vec<Option<A>>,
}

impl<A: Clone + Hash> Run<A> {
    /// Starts so many operations, each on its own way to the store. The first requests of each are let pass.
    pub(crate) fn new(
        memory: Arc<Memory>,
        count: usize,
        first: usize,
        start: impl Fn(usize, Arc<Gated>) -> Running<A>,
    ) -> Self {
        let gate = Arc::new(Mutex::new(Gate::default()));
        let ops = (0..count).map(|at| {
            let gated = Gated { inner: Arc::clone(&memory), gate: Arc::clone(&gate), op: at };
            Some(start(at, Arc::new(gated)))
        });
        let ops: Vec<Option<Running<A>>> = ops.collect();
        let mut run = Self { answers: vec![None; count], memory, gate, ops };
        for at in 0..count {
            run.poll(at);
            for number in 1..=first {
                run.grant((at, number));
            }
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

    pub(crate) fn grant(&mut self, ticket: (usize, usize)) {
        let waker = {
            let mut gate = self.gate.lock().unwrap();
            *gate.waiting.get_mut(&ticket).unwrap() = true;
            gate.wakers.remove(&ticket)
        };
        waker.unwrap().wake();
        self.poll(ticket.0);
    }

    pub(crate) fn choices(&self) -> Vec<(usize, usize)> {
        self.gate.lock().unwrap().waiting.keys().copied().collect()
    }

    /// What is stored and what each operation has seen and still waits for.
    pub(crate) fn state(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, object) in self.memory.snapshot() {
            (key, &object.body[..], format!("{:?}", object.meta.headers)).hash(&mut hasher);
        }
        let gate = self.gate.lock().unwrap();
        (&gate.seen, &gate.waiting, &self.answers).hash(&mut hasher);
        hasher.finish()
    }
}
