//! The network between a node and the store: slow, lossy, and now and then far too late.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use s3db::store::clock::Clock;
use s3db::store::memory::Memory;
use s3db::store::{
    Capabilities, Copy, ErrorKind, List, Object, ObjectMeta, Page, Precondition, Put, Result, Store, StoreError,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::rng::Rng;

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A request takes effect within two minutes or never; this leaves room for the way there.
const LATEST_MS: u64 = 110_000;

/// How often what goes wrong, in a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// Fails before it is sent.
    pub(crate) unreachable: u64,
    /// Takes effect, and the answer is lost.
    pub(crate) answer_lost: u64,
    /// Never arrives, and nobody knows.
    pub(crate) request_lost: u64,
    /// Takes effect long after the client gave up.
    pub(crate) late: u64,
    /// 503.
    pub(crate) throttled: u64,
    /// 409 for a conditional write.
    pub(crate) conflict: u64,
    /// A proxy sends it twice.
    pub(crate) repeated: u64,
    /// The node is cut off for a while.
    pub(crate) cut_off: u64,
}

impl Rates {
    /// Rates of a seed: some quiet, some wild.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let wild = rng.below(4) * 12;
        let mut rate = || rng.below(wild + 1);
        Self {
            unreachable: rate(),
            answer_lost: rate(),
            request_lost: rate(),
            late: rate(),
            throttled: rate(),
            conflict: rate(),
            repeated: rate(),
            cut_off: rate() / 4,
        }
    }
}

/// What all nodes of a world share.
#[derive(Debug)]
pub(crate) struct Network {
    memory: Arc<Memory>,
    clock: Arc<dyn Clock>,
    rates: Rates,
    late_deletes: bool,
    healed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    requests: u64,
    faults: BTreeMap<&'static str, u64>,
    trace: DefaultHasher,
}

impl Network {
    /// A network before a store.
    pub(crate) fn new(
        memory: Arc<Memory>,
        clock: Arc<dyn Clock>,
        seed: u64,
        rates: Rates,
        late_deletes: bool,
    ) -> Arc<Self> {
        let state = State { rng: Rng::new(seed), requests: 0, faults: BTreeMap::new(), trace: DefaultHasher::new() };
        Arc::new(Self { memory, clock, rates, late_deletes, healed: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    /// Requests so far, what went wrong with them, and a digest of everything in order.
    pub(crate) fn summary(&self) -> (u64, BTreeMap<&'static str, u64>, u64) {
        let state = self.lock();
        (state.requests, state.faults.clone(), state.trace.finish())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: &str, key: &str) {
        let now = self.clock.monotonic();
        (what, key, now).hash(&mut self.lock().trace);
    }
}

/// A request as it travels.
#[derive(Debug, Clone)]
enum Request {
    Get(String, Option<Range<u64>>),
    Head(String),
    Put(String, Put, Precondition),
    Delete(String, Precondition),
    DeleteMany(Vec<String>),
    List(List),
    Copy(String, String, Copy),
}

#[derive(Debug)]
enum Answer {
    Object(Object),
    Meta(ObjectMeta),
    Etag(String),
    Done,
    Page(Page),
}

impl Request {
    fn writes(&self) -> bool {
        !matches!(self, Self::Get(..) | Self::Head(_) | Self::List(_))
    }

    fn is_conditional(&self) -> bool {
        matches!(self, Self::Put(_, _, p) | Self::Delete(_, p) if *p != Precondition::None)
    }

    /// A delete without a condition that lands late may take a newer object; see `docs/consistency.md`.
    fn is_bare_delete(&self) -> bool {
        matches!(self, Self::Delete(key, _) if key.contains("/data/id="))
    }

    /// An insert that a proxy repeats, and whose record others delete and insert anew before its sender
    /// has looked, is told that the id is taken: no token is left that says otherwise. See
    /// `docs/consistency.md`.
    fn is_insert(&self) -> bool {
        matches!(self, Self::Put(key, _, Precondition::Absent) if key.contains("/data/id="))
    }

    fn name(&self) -> (&'static str, &str) {
        match self {
            Self::Get(key, _) => ("get", key),
            Self::Head(key) => ("head", key),
            Self::Put(key, ..) => ("put", key),
            Self::Delete(key, _) => ("delete", key),
            Self::DeleteMany(keys) => ("delete many", keys.first().map_or("", String::as_str)),
            Self::List(list) => ("list", &list.prefix),
            Self::Copy(from, ..) => ("copy", from),
        }
    }
}

async fn apply(memory: &Memory, request: Request) -> Result<Answer> {
    match request {
        Request::Get(key, range) => memory.get(&key, range).await.map(Answer::Object),
        Request::Head(key) => memory.head(&key).await.map(Answer::Meta),
        Request::Put(key, put, precondition) => memory.put(&key, put, precondition).await.map(Answer::Etag),
        Request::Delete(key, precondition) => memory.delete(&key, precondition).await.map(|()| Answer::Done),
        Request::DeleteMany(keys) => memory.delete_many(&keys).await.map(|()| Answer::Done),
        Request::List(list) => memory.list(list).await.map(Answer::Page),
        Request::Copy(from, to, copy) => memory.copy(&from, &to, copy).await.map(Answer::Etag),
    }
}

/// A store as one node sees it.
#[derive(Debug)]
pub(crate) struct NodeStore {
    network: Arc<Network>,
    node: u64,
    cut_off_until: Mutex<Option<Instant>>,
    dead: AtomicBool,
    /// How far the node's idea of the store's time is ahead of it.
    ahead_ms: AtomicI64,
}

/// What happens to a request on its way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Fine,
    Unreachable,
    AnswerLost,
    RequestLost,
    Late(u64),
    Throttled,
    Conflict,
    Repeated,
}

impl NodeStore {
    /// The store as this node sees it.
    pub(crate) fn new(network: Arc<Network>, node: u64) -> Self {
        Self {
            network,
            node,
            cut_off_until: Mutex::new(None),
            dead: AtomicBool::new(false),
            ahead_ms: AtomicI64::new(0),
        }
    }

    /// The node is no more: it sends nothing, and hears nothing.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Sets how far the node's idea of the store's time is ahead of it.
    pub(crate) fn set_ahead(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::SeqCst);
    }

    /// Draws what happens to a request, and how long it is on its way there and back.
    fn draw(&self, request: &Request) -> (Fate, Duration, Duration) {
        let rates = self.network.rates;
        let healed = self.network.healed.load(Ordering::SeqCst);
        let mut state = self.network.lock();
        state.requests += 1;
        let way = |rng: &mut Rng| {
            let slow = if rng.chance(20) { 4_000 } else { 30 };
            Duration::from_millis(1 + rng.below(slow))
        };
        let (there, back) = (way(&mut state.rng), way(&mut state.rng));
        let rng = &mut state.rng;
        let late = |rng: &mut Rng| Fate::Late(rng.below(LATEST_MS));
        let may_be_late = request.writes() && (self.network.late_deletes || !request.is_bare_delete());
        let (fate, name) = match () {
            () if healed => (Fate::Fine, ""),
            () if self.is_cut_off() => (Fate::Unreachable, "cut off"),
            () if rng.chance(rates.unreachable) => (Fate::Unreachable, "unreachable"),
            () if rng.chance(rates.answer_lost) => (Fate::AnswerLost, "answer lost"),
            () if rng.chance(rates.request_lost) => (Fate::RequestLost, "request lost"),
            () if may_be_late && rng.chance(rates.late) => (late(rng), "late"),
            () if rng.chance(rates.throttled) => (Fate::Throttled, "503"),
            () if request.is_conditional() && rng.chance(rates.conflict) => (Fate::Conflict, "409"),
            () if request.writes() && !request.is_insert() && rng.chance(rates.repeated) => {
                (Fate::Repeated, "repeated")
            }
            () if rng.chance(rates.cut_off) => {
                let pause = Duration::from_millis(500 + rng.below(20_000));
                *self.cut_off_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
                (Fate::Unreachable, "cut off")
            }
            () => (Fate::Fine, ""),
        };
        if !name.is_empty() {
            *state.faults.entry(name).or_default() += 1;
        }
        (fate, there, back)
    }

    fn is_cut_off(&self) -> bool {
        self.cut_off_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    async fn send(&self, request: Request) -> Result<Answer> {
        if self.dead.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let answer = self.send_alive(request).await;
        if self.dead.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        answer
    }

    async fn send_alive(&self, request: Request) -> Result<Answer> {
        let (fate, there, back) = self.draw(&request);
        let (verb, key) = request.name();
        self.network.note(verb, &format!("{} {key} {fate:?}", self.node));
        let unknown = if request.writes() { ErrorKind::Unknown } else { ErrorKind::Unavailable };
        let failed = |kind, why: &str| Err(StoreError::new(kind, format!("{verb} of '{key}': {why}")));
        match fate {
            Fate::Unreachable => {
                self.network.clock.sleep(there).await;
                failed(ErrorKind::Unavailable, "the store cannot be reached")
            }
            Fate::Throttled => {
                self.network.clock.sleep(there + back).await;
                failed(ErrorKind::Throttled, "the store asks to slow down")
            }
            Fate::Conflict => {
                self.network.clock.sleep(there + back).await;
                failed(ErrorKind::Conflict, "another write is under way")
            }
            Fate::RequestLost => {
                self.network.clock.sleep(TIMEOUT).await;
                failed(unknown, "no answer")
            }
            Fate::Late(ms) => {
                drop(self.travel(request.clone(), Duration::from_millis(ms), back, false));
                self.network.clock.sleep(TIMEOUT).await;
                failed(unknown, "no answer")
            }
            Fate::AnswerLost => {
                let answered = self.travel(request.clone(), there, back, false);
                let _lost = self.within(answered).await;
                failed(unknown, "the answer was lost")
            }
            Fate::Fine | Fate::Repeated => {
                let answered = self.travel(request.clone(), there, back, matches!(fate, Fate::Repeated));
                match self.within(answered).await {
                    Some(answer) => answer,
                    None => failed(unknown, "no answer in time"),
                }
            }
        }
    }

    /// Sends a request off: it takes effect whatever becomes of the sender.
    fn travel(
        &self,
        request: Request,
        there: Duration,
        back: Duration,
        twice: bool,
    ) -> oneshot::Receiver<Result<Answer>> {
        let (answer, answered) = oneshot::channel();
        let network = Arc::clone(&self.network);
        tokio::spawn(async move {
            network.clock.sleep(there).await;
            let mut result = apply(&network.memory, request.clone()).await;
            if twice && result.is_ok() {
                result = apply(&network.memory, request.clone()).await;
            }
            let (verb, key) = request.name();
            network.note(verb, &format!("{key} {}", outcome(&result)));
            network.clock.sleep(back).await;
            let _the_sender_may_be_gone = answer.send(result);
        });
        answered
    }

    async fn within(&self, answered: oneshot::Receiver<Result<Answer>>) -> Option<Result<Answer>> {
        let late = self.network.clock.sleep(TIMEOUT);
        match futures::future::select(answered, late).await {
            futures::future::Either::Left((answer, _)) => answer.ok(),
            futures::future::Either::Right(_) => None,
        }
    }
}

fn outcome(result: &Result<Answer>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("{:?}", error.kind),
    }
}

fn expected<T>(answer: Option<T>) -> Result<T> {
    answer.ok_or_else(|| StoreError::new(ErrorKind::Invalid, "an answer of another kind"))
}

async fn of<T>(sent: impl Future<Output = Result<Answer>>, pick: fn(Answer) -> Option<T>) -> Result<T> {
    expected(pick(sent.await?))
}

fn etag(answer: Answer) -> Option<String> {
    if let Answer::Etag(etag) = answer { Some(etag) } else { None }
}

fn done(answer: Answer) -> Option<()> {
    matches!(answer, Answer::Done).then_some(())
}

#[async_trait]
impl Store for NodeStore {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        of(self.send(Request::Get(key.to_owned(), range)), |a| if let Answer::Object(o) = a { Some(o) } else { None })
            .await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        of(self.send(Request::Head(key.to_owned())), |a| if let Answer::Meta(m) = a { Some(m) } else { None }).await
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String> {
        of(self.send(Request::Put(key.to_owned(), put, precondition)), etag).await
    }

    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        of(self.send(Request::Delete(key.to_owned(), precondition)), done).await
    }

    async fn delete_many(&self, keys: &[String]) -> Result<()> {
        of(self.send(Request::DeleteMany(keys.to_vec())), done).await
    }

    async fn list(&self, list: List) -> Result<Page> {
        of(self.send(Request::List(list)), |a| if let Answer::Page(p) = a { Some(p) } else { None }).await
    }

    async fn copy(&self, from: &str, to: &str, copy: Copy) -> Result<String> {
        of(self.send(Request::Copy(from.to_owned(), to.to_owned(), copy)), etag).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { definite_refusals: false, ..self.network.memory.capabilities() }
    }

    fn now_ms(&self) -> i64 {
        self.network.memory.now_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }

    fn location(&self) -> String {
        format!("sim://node-{}", self.node)
    }
}
