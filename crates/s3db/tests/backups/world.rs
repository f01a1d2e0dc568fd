//! A database, a destination, and clocks that stand still.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use s3db::backup::{BackupBuilder, BackupPlugin, DestinationSettings};
use s3db::store::clock::{Clock, Sleep};
use s3db::store::memory::Memory;
use s3db::store::{Object, Quirks, Store};
use s3db::{Database, ResourceDefinition, SeededEntropy};
use serde_json::json;
use tokio::time::Instant;

/// The runtime's own clock, which is paused: it moves when nothing else can run.
#[derive(Debug)]
pub(crate) struct Virtual {
    begun: Instant,
    /// How far the wall clock was set, in milliseconds.
    set_ms: AtomicI64,
}

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap();
        1_795_000_000_000 + passed + self.set_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock of the test")]
    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// Stores and a clock.
pub(crate) struct World {
    pub(crate) clock: Arc<Virtual>,
    seed: AtomicU64,
    pub(crate) source: Arc<Memory>,
    pub(crate) shelf: Arc<Memory>,
}

impl World {
    pub(crate) fn new(quirks: Quirks) -> Self {
        let clock = Arc::new(Virtual { begun: Instant::now(), set_ms: AtomicI64::new(0) });
        let memory = |quirks| Arc::new(Memory::with(quirks, clock.clone()));
        Self { source: memory(quirks), shelf: memory(Quirks::S3), clock, seed: AtomicU64::new(1) }
    }

    pub(crate) fn store(&self) -> Arc<Memory> {
        Arc::new(Memory::with(Quirks::default(), self.clock.clone()))
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Sets the wall clock.
    pub(crate) fn set(&self, by_seconds: i64) {
        self.clock.set_ms.fetch_add(by_seconds * 1000, Ordering::Relaxed);
    }

    pub(crate) fn builder(&self) -> BackupBuilder {
        BackupPlugin::builder().destination_store(self.shelf.clone()).clock(self.clock.clone())
    }

    pub(crate) async fn connect(&self, store: Arc<dyn Store>, plugin: BackupPlugin) -> Database {
        self.connect_as(store, plugin, false).await
    }

    /// A connection that keeps the references of s3db.js, or not.
    pub(crate) async fn connect_as(&self, store: Arc<dyn Store>, plugin: BackupPlugin, shared: bool) -> Database {
        Database::builder("memory://")
            .shared(shared)
            .store(store)
            .clock(self.clock.clone())
            // Two processes never draw the same tokens.
            .entropy(Arc::new(SeededEntropy::new(self.seed.fetch_add(1, Ordering::Relaxed) << 32)))
            .passphrase("correct horse")
            .plugin(plugin)
            .connect()
            .await
            .unwrap()
    }

    /// The database with a plugin whose destination is the shelf.
    pub(crate) async fn open(&self) -> Database {
        self.connect(self.source.clone(), self.builder().build().unwrap()).await
    }

    /// A database of the same kind that is empty.
    pub(crate) async fn empty(&self) -> (Arc<Memory>, Database) {
        let store = self.store();
        let db = self.connect(store.clone(), self.builder().build().unwrap()).await;
        (store, db)
    }
}

pub(crate) fn backups(db: &Database) -> Arc<BackupPlugin> {
    db.plugin::<BackupPlugin>().unwrap()
}

pub(crate) fn definition(name: &str) -> ResourceDefinition {
    ResourceDefinition::new(name)
        .attribute("name", "string")
        .attribute("country", "string|optional")
        .attribute("n", "number|optional")
        .attribute("secret", "secret|optional")
        .partition("byCountry", [("country", "string")])
}

/// Two resources with a few records, content among them.
pub(crate) async fn fill(db: &Database) {
    let users = db.create_resource(definition("users")).await.unwrap();
    for (n, id) in ["ana", "ben", "chi", "davi"].into_iter().enumerate() {
        let country = if n % 2 == 0 { "BR" } else { "DE" };
        users
            .insert(
                json!({"id": id, "name": format!("{id} ü"), "country": country, "n": n, "secret": "s3cret-of-users"}),
            )
            .await
            .unwrap();
    }
    let files = db.create_resource(ResourceDefinition::new("files").attribute("kind", "string")).await.unwrap();
    files.insert(json!({"id": "logo", "kind": "picture"})).await.unwrap();
    files.set_content("logo", vec![0u8, 159, 146, 150, 255], "image/png").await.unwrap();
}

/// What a store holds, without what is disposable and without rows about backups.
pub(crate) fn objects(store: &Memory) -> Objects {
    let primary = |key: &String| !key.starts_with("s3db/tmp/") && !key.starts_with("resource=backup_metadata/");
    let plain = |object: Object| (object.meta.headers, object.meta.content_type, object.body.to_vec());
    store.snapshot().into_iter().filter(|(key, _)| primary(key)).map(|(key, object)| (key, plain(object))).collect()
}

/// A folder as a destination.
pub(crate) fn folder(path: &Path) -> DestinationSettings {
    DestinationSettings::filesystem(path.display().to_string())
}

/// Asserts that two stores hold the same, and names what differs.
pub(crate) fn assert_same(found: &Memory, wanted: &Memory, what: &str) {
    assert_equal(&objects(found), &objects(wanted), what);
}

/// Headers, content type and body.
pub(crate) type Plain = (BTreeMap<String, String>, Option<String>, Vec<u8>);
pub(crate) type Objects = BTreeMap<String, Plain>;

pub(crate) fn assert_equal(found: &Objects, wanted: &Objects, what: &str) {
    let keys: std::collections::BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    for key in keys {
        let (a, b) = (found.get(key), wanted.get(key));
        let text = |o: Option<&Plain>| {
            o.map(|(headers, kind, body)| format!("{headers:?} {kind:?} {}", String::from_utf8_lossy(body)))
        };
        assert_eq!(text(a), text(b), "{what}: {key}");
    }
}
