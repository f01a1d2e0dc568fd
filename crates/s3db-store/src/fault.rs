//! Injects faults into any store: the Nth request fails before or after it took effect, lands late,
//! or the process "dies" and sends nothing more.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::{
    Capabilities, Copy, ErrorKind, List, Object, ObjectMeta, Page, Precondition, Probe, Put, Result, Store, StoreError,
    Wrapped,
};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails before it takes effect, and the caller knows.
    ErrorBefore,
    /// It takes effect, and the answer is lost.
    ErrorAfter,
    /// It takes no effect, and the caller cannot know.
    LostRequest,
    /// It takes effect after this many later requests, the answer is lost.
    LandsLate(usize),
    /// 409: another conditional write is under way.
    Conflict,
    /// 412 for a request that took effect, as a proxy that repeats requests makes it.
    RepeatedByProxy,
    /// 503.
    Throttled,
    /// This request and all later ones fail; nothing takes effect any more.
    Kill,
}

impl Fault {
    /// Every kind of fault.
    pub const ALL: [Fault; 8] = [
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::LostRequest,
        Fault::LandsLate(2),
        Fault::Conflict,
        Fault::RepeatedByProxy,
        Fault::Throttled,
        Fault::Kill,
    ];
}

/// A store whose requests fail as planned.
#[derive(Debug)]
pub struct Faulty {
    inner: Wrapped,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    sent: usize,
    plan: BTreeMap<usize, Fault>,
    dead: bool,
    late: Vec<(usize, Write)>,
}

#[derive(Debug, Clone)]
enum Write {
    Put(String, Put, Precondition),
    Delete(String, Precondition),
    DeleteMany(Vec<String>),
    Copy(String, String, Copy),
}

impl Faulty {
    /// Wraps a store; nothing fails until it is planned.
    pub fn new(inner: Wrapped) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Plans a fault for the request that is the `nth` from now, counted from 1.
    pub fn plan(&self, nth: usize, fault: Fault) {
        let mut state = self.lock();
        let at = state.sent + nth;
        state.plan.insert(at, fault);
    }

    /// Forgets all plans and revives the process; writes that are still to land stay.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.plan.clear();
        state.dead = false;
    }

    /// Requests sent so far.
    pub fn sent(&self) -> usize {
        self.lock().sent
    }

    /// Lets every late write land now.
    pub async fn land(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for (_, write) in late {
            // A late write that its precondition refuses is one that was lost.
            let _lost = self.apply(write).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(&self) -> Result<Option<Fault>> {
        let (fault, due) = {
            let mut state = self.lock();
            state.sent += 1;
            let sent = state.sent;
            let fault = state.plan.remove(&sent);
            state.dead |= fault == Some(Fault::Kill);
            let (due, late) = std::mem::take(&mut state.late).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= sent);
            state.late = late;
            if state.dead {
                return Err(StoreError::new(ErrorKind::Unknown, "the process was killed"));
            }
            (fault, due)
        };
        for (_, write) in due {
            let _lost = self.apply(write).await;
        }
        Ok(fault)
    }

    async fn apply(&self, write: Write) -> Result<String> {
        match write {
            Write::Put(key, put, precondition) => self.inner.put(&key, put, precondition).await,
            Write::Delete(key, precondition) => self.inner.delete(&key, precondition).await.map(|()| String::new()),
            Write::DeleteMany(keys) => self.inner.delete_many(&keys).await.map(|()| String::new()),
            Write::Copy(from, to, copy) => self.inner.copy(&from, &to, copy).await,
        }
    }

    async fn write(&self, write: Write) -> Result<String> {
        let unknown = || Err(StoreError::new(ErrorKind::Unknown, "the answer was lost"));
        match self.next().await? {
            None => self.apply(write).await,
            Some(Fault::ErrorAfter) => self.apply(write).await.and_then(|_| unknown()),
            Some(Fault::RepeatedByProxy) => {
                self.apply(write.clone()).await?;
                self.apply(write).await
            }
            Some(Fault::LandsLate(requests)) => {
                let mut state = self.lock();
                let at = state.sent + requests;
                state.late.push((at, write));
                drop(state);
                unknown()
            }
            Some(Fault::LostRequest) => unknown(),
            Some(fault) => Err(refusal(fault)),
        }
    }

    async fn read(&self) -> Result<()> {
        match self.next().await? {
            None | Some(Fault::RepeatedByProxy) => Ok(()),
            Some(fault) => Err(refusal(fault)),
        }
    }
}

fn refusal(fault: Fault) -> StoreError {
    match fault {
        Fault::Conflict => StoreError::new(ErrorKind::Conflict, "another write is under way"),
        Fault::Throttled => StoreError::new(ErrorKind::Throttled, "the store asks to slow down"),
        Fault::Kill => StoreError::new(ErrorKind::Unknown, "the process was killed"),
        _ => StoreError::new(ErrorKind::Unavailable, "the store cannot be reached"),
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        self.read().await?;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.read().await?;
        self.inner.head(key).await
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String> {
        self.write(Write::Put(key.to_owned(), put, precondition)).await
    }

    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.write(Write::Delete(key.to_owned(), precondition)).await.map(|_| ())
    }

    async fn delete_many(&self, keys: &[String]) -> Result<()> {
        self.write(Write::DeleteMany(keys.to_vec())).await.map(|_| ())
    }

    async fn list(&self, list: List) -> Result<Page> {
        self.read().await?;
        self.inner.list(list).await
    }

    async fn copy(&self, from: &str, to: &str, copy: Copy) -> Result<String> {
        self.write(Write::Copy(from.to_owned(), to.to_owned(), copy)).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { definite_refusals: false, ..self.inner.capabilities() }
    }

    fn probe(&self) -> Option<Probe> {
        self.inner.probe()
    }

    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
