//! Processes on one store, with a clock that moves when nothing else can run, and that can be killed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::scheduler::{
    HistoryOptions, HistoryRow, JobCall, JobDefinition, RunStatus, SchedulerBuilder, SchedulerPlugin,
};
use s3db::store::clock::{Clock, Sleep};
use s3db::store::memory::Memory;
use s3db::store::{
    Capabilities, Copy, List, Object, ObjectMeta, Page, Precondition, Put, Quirks, Result as StoreResult, Store,
};
use s3db::{Database, DatabaseBuilder, SeededEntropy};
use serde_json::{Value, json};
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z.
pub(crate) const BEGIN: i64 = 1_767_225_600_000;

/// The runtime's own clock, which is paused: it moves when nothing else can run.
#[derive(Debug)]
pub(crate) struct Virtual {
    begun: Instant,
    base_ms: i64,
    set_ms: AtomicI64,
}

impl Virtual {
    /// Sets the wall clock ahead, or back.
    pub(crate) fn step(&self, seconds: i64) {
        self.set_ms.fetch_add(seconds * 1000, Ordering::Relaxed);
    }
}

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap();
        self.base_ms + passed + self.set_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock of the test")]
    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// A process's way to the store, which ends when it is killed: no request of it is ever answered again.
#[derive(Debug)]
pub(crate) struct Way {
    store: Arc<dyn Store>,
    dead: AtomicBool,
    down: AtomicBool,
    pub(crate) requests: AtomicU64,
}

impl Way {
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// The store cannot be reached, or can be again.
    pub(crate) fn down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    async fn pass(&self) -> StoreResult<()> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(s3db::store::StoreError::new(s3db::store::ErrorKind::Unavailable, "the store is down"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store for Way {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Object> {
        self.pass().await?;
        self.store.get(key, range).await
    }
    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.pass().await?;
        self.store.head(key).await
    }
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> StoreResult<String> {
        self.pass().await?;
        self.store.put(key, put, precondition).await
    }
    async fn delete(&self, key: &str, precondition: Precondition) -> StoreResult<()> {
        self.pass().await?;
        self.store.delete(key, precondition).await
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.pass().await?;
        self.store.delete_many(keys).await
    }
    async fn list(&self, list: List) -> StoreResult<Page> {
        self.pass().await?;
        self.store.list(list).await
    }
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> StoreResult<String> {
        self.pass().await?;
        self.store.copy(from, to, copy).await
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.store.now_ms()
    }
    fn location(&self) -> String {
        self.store.location()
    }
}

/// A run that began: its id, the process, the attempt.
pub(crate) type Begun = (String, usize, u32);

pub(crate) struct World {
    pub(crate) clock: Arc<Virtual>,
    pub(crate) memory: Arc<Memory>,
    processes: AtomicU64,
    pub(crate) begun: Arc<Mutex<Vec<Begun>>>,
}

pub(crate) struct Process {
    pub(crate) db: Database,
    pub(crate) scheduler: SchedulerPlugin,
    pub(crate) way: Arc<Way>,
    pub(crate) number: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at(BEGIN)
    }

    pub(crate) fn at(base_ms: i64) -> Self {
        let clock = Arc::new(Virtual { begun: Instant::now(), base_ms, set_ms: AtomicI64::new(0) });
        // As most servers are: ETags are digests, deletes unconditional, times have a second's grain.
        let memory = Arc::new(Memory::with(Quirks::S3, clock.clone()));
        Self { clock, memory, processes: AtomicU64::new(1), begun: Arc::default() }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    pub(crate) async fn pass_s(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds)).await;
    }

    /// A process whose loop runs.
    pub(crate) async fn process(&self, builder: SchedulerBuilder) -> Process {
        self.connect(builder, true).await.unwrap()
    }

    /// A process that only does what it is told.
    pub(crate) async fn caller(&self, builder: SchedulerBuilder) -> Process {
        self.connect(builder, false).await.unwrap()
    }

    pub(crate) async fn connect(&self, builder: SchedulerBuilder, start: bool) -> s3db::Result<Process> {
        self.connect_on(self.memory.clone(), builder, start).await
    }

    pub(crate) async fn connect_on(
        &self,
        store: Arc<dyn Store>,
        builder: SchedulerBuilder,
        start: bool,
    ) -> s3db::Result<Process> {
        self.connect_with(store, builder, start, |database| database).await
    }

    /// A connection with other plugins, too.
    pub(crate) async fn connect_with(
        &self,
        store: Arc<dyn Store>,
        builder: SchedulerBuilder,
        start: bool,
        more: impl FnOnce(DatabaseBuilder) -> DatabaseBuilder,
    ) -> s3db::Result<Process> {
        let number = self.processes.fetch_add(1, Ordering::SeqCst);
        let way = Arc::new(Way {
            store,
            dead: AtomicBool::new(false),
            down: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        });
        let scheduler = builder.build()?;
        let builder = Database::builder("memory://")
            .store(way.clone())
            .clock(self.clock.clone())
            .entropy(Arc::new(SeededEntropy::new(number << 32)));
        let db = more(builder).plugin(scheduler.clone()).start_plugins(start).connect().await?;
        Ok(Process { db, scheduler, way, number: usize::try_from(number).unwrap() })
    }

    /// A scheduler with one job that takes so long, and writes down when it begins.
    pub(crate) fn job(&self, job: JobDefinition, takes: Duration) -> SchedulerBuilder {
        self.with_job(SchedulerPlugin::builder(), job, takes)
    }

    pub(crate) fn with_job(&self, builder: SchedulerBuilder, job: JobDefinition, takes: Duration) -> SchedulerBuilder {
        builder.job_fn(job, self.function(takes))
    }

    pub(crate) fn function(
        &self,
        takes: Duration,
    ) -> impl Fn(JobCall) -> std::pin::Pin<Box<dyn Future<Output = Result<Value, String>> + Send>> + Send + Sync + 'static
    {
        let (begun, clock) = (Arc::clone(&self.begun), Arc::clone(&self.clock));
        let number = usize::try_from(self.processes.load(Ordering::SeqCst)).unwrap();
        move |call: JobCall| {
            begun.lock().unwrap().push((call.context.run_id.clone(), number, call.context.attempt));
            let clock = Arc::clone(&clock);
            Box::pin(async move {
                if !takes.is_zero() {
                    clock.sleep(takes).await;
                }
                Ok(json!({"by": number}))
            })
        }
    }

    pub(crate) fn begun(&self) -> Vec<Begun> {
        self.begun.lock().unwrap().clone()
    }

    /// How often each run began.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (run, _, _) in self.begun() {
            *counts.entry(run).or_default() += 1;
        }
        counts
    }
}

impl Process {
    pub(crate) async fn history(&self, job: &str) -> Vec<HistoryRow> {
        let options = HistoryOptions { limit: Some(usize::MAX), ..HistoryOptions::default() };
        let mut rows = self.scheduler.get_job_history(job, &options).await.unwrap().items;
        rows.reverse();
        rows
    }

    /// How often rows of a job have each status; one row for several instants counts for all.
    pub(crate) async fn statuses(&self, job: &str) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for row in self.history(job).await {
            *counts.entry(row.status.as_str()).or_default() += row.count;
        }
        counts
    }

    pub(crate) async fn stop(&self) {
        self.db.stop(Duration::from_secs(5)).await.unwrap();
    }
}

pub(crate) fn minutely(name: &str) -> JobDefinition {
    JobDefinition::new(name, "* * * * *").retries(0)
}

pub(crate) fn every(name: &str, seconds: u32) -> JobDefinition {
    JobDefinition::new(name, format!("*/{seconds} * * * * *")).retries(0)
}

pub(crate) fn at(ms: i64) -> String {
    s3db::rfc3339(ms)
}

pub(crate) fn is(row: &HistoryRow, status: RunStatus) -> bool {
    row.status == status
}
