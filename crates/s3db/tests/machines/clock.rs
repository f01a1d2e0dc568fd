//! Worlds for these tests: a store with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s3db::state_machine::{MachineDefinition, StateMachineBuilder, StateMachinePlugin};
use s3db::store::clock::{Clock, Sleep};
use s3db::store::memory::Memory;
use s3db::store::{Quirks, Store};
use s3db::{Database, SeededEntropy};
use serde_json::Value;
use tokio::time::Instant;

/// The runtime's own clock, which is paused: it moves when nothing else can run.
#[derive(Debug)]
pub(crate) struct Virtual(Instant);

impl Virtual {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        1_795_000_000_000 + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock of the test")]
    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// A store that several connections share.
pub(crate) struct World {
    pub(crate) clock: Arc<Virtual>,
    pub(crate) memory: Arc<Memory>,
    processes: AtomicU64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Quirks::default())
    }

    pub(crate) fn with(quirks: Quirks) -> Self {
        let clock = Virtual::new();
        let memory = Arc::new(Memory::with(quirks, clock.clone()));
        Self { clock, memory, processes: AtomicU64::new(1) }
    }

    /// A process: a connection with its own plugin, without a sweep of its own.
    pub(crate) async fn process(&self, builder: StateMachineBuilder) -> Process {
        self.process_on(self.memory.clone(), builder).await
    }

    pub(crate) async fn process_on(&self, store: Arc<dyn Store>, builder: StateMachineBuilder) -> Process {
        let plugin = builder.sweep_interval(None).build().unwrap();
        let db = Database::builder("memory://machines")
            .store(store)
            .clock(self.clock.clone())
            // Two processes never draw the same tokens.
            .entropy(Arc::new(SeededEntropy::new(self.processes.fetch_add(1, Ordering::Relaxed) << 32)))
            .plugin(plugin.clone())
            .connect()
            .await
            .unwrap();
        Process { db, machines: plugin }
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }
}

pub(crate) struct Process {
    pub(crate) db: Database,
    pub(crate) machines: StateMachinePlugin,
}

pub(crate) fn machine(name: &str, definition: Value) -> MachineDefinition {
    MachineDefinition::from_json(name, &definition).unwrap()
}

pub(crate) fn builder() -> StateMachineBuilder {
    StateMachinePlugin::builder()
}
