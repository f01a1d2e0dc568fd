//! Blocking work off the async threads: a few threads take one piece after another, so that a busy
//! store wakes no thread for each.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{ErrorKind, Result, StoreError};

/// Threads that work at once.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// Work that waits for a thread.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
}

impl Pool {
    /// Does something on one of the threads.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // If nobody waits any more, nobody misses the answer.
            let _gone = answer.send(work());
        });
        if self.add(job) {
            let pool = self.clone();
            tokio::task::spawn_blocking(move || pool.work());
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::new(ErrorKind::Unknown, "a thread of the store panicked")))
    }

    /// Whether another thread is needed.
    fn add(&self, job: Job) -> bool {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let more = state.threads < THREADS;
        state.threads += usize::from(more);
        more
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // A panic is told to the one who waits, by the answer that never comes.
            let _panicked = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.jobs.pop_front();
        state.threads -= usize::from(job.is_none());
        job
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.lock().threads).finish()
    }
}
