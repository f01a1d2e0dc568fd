//! The golden request table: what each operation costs, and how many rounds it waits for.
//!
//! `docs/requests.md` is generated from here: `S3DB_UPDATE=1 cargo test -p s3db --test requests`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use s3db::backup::{BackupPlugin, BackupType, RestoreOptions};
use s3db::scheduler::{JobDefinition, SchedulerPlugin};
use s3db::state_machine::{Action, MachineDefinition, State, StateMachinePlugin, Target};
use s3db::store::clock::{Clock, Sleep};
use s3db::store::memory::Memory;
use s3db::store::meter::{Counters, Counts, Meter};
use s3db::store::{
    Capabilities, Copy, List, Object, ObjectMeta, Page, Precondition, Put, Result as StoreResult, Store,
};
use s3db::{Database, OnError, Query, Resource, ResourceDefinition, UpdateOptions};
use serde_json::json;

/// A store whose every request takes one second of a clock that stands still otherwise: the time
/// that an operation takes is the number of its rounds.
#[derive(Debug)]
struct Slow(Arc<dyn Store>);

#[expect(
    clippy::disallowed_methods,
    reason = "the runtime's clock is paused: this counts rounds and waits for nothing"
)]
async fn second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[async_trait::async_trait]
impl Store for Slow {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> StoreResult<Object> {
        second().await;
        self.0.get(key, range).await
    }
    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        second().await;
        self.0.head(key).await
    }
    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> StoreResult<String> {
        second().await;
        self.0.put(key, put, precondition).await
    }
    async fn delete(&self, key: &str, precondition: Precondition) -> StoreResult<()> {
        second().await;
        self.0.delete(key, precondition).await
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        second().await;
        self.0.delete_many(keys).await
    }
    async fn list(&self, list: List) -> StoreResult<Page> {
        second().await;
        self.0.list(list).await
    }
    async fn copy(&self, from: &str, to: &str, copy: Copy) -> StoreResult<String> {
        second().await;
        self.0.copy(from, to, copy).await
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
    fn location(&self) -> String {
        self.0.location()
    }
}

struct Bench {
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    table: String,
}

/// The most that an operation may cost, by the contract.
struct Most {
    requests: u64,
    rounds: u64,
}

type Start = (Counts, tokio::time::Instant);

impl Bench {
    fn new() -> Self {
        let meter = Meter::new(Arc::new(Slow(Arc::new(Memory::new()))));
        let counters = meter.counters();
        Self { store: Arc::new(meter), counters, table: String::new() }
    }

    async fn connect(&self) -> Database {
        Database::builder("memory://").store(Arc::clone(&self.store)).connect().await.unwrap()
    }

    fn start(&self) -> Start {
        (self.counters.read(), tokio::time::Instant::now())
    }

    fn row(&mut self, operation: &str, peer: &str, most: Most, (before, at): Start) {
        let c = self.counters.read() - before;
        let rounds = at.elapsed().as_secs();
        let counts = [c.get, c.head, c.put, c.delete, c.list, c.copy].map(|n| n.to_string()).join(" | ");
        let dollars = (c.put + c.copy + c.list) as f64 * 5.0 + (c.get + c.head) as f64 * 0.4;
        writeln!(self.table, "| {operation} | {counts} | **{}** | {rounds} | {dollars:.2} | {peer} |", c.total())
            .unwrap();
        assert!(
            c.total() <= most.requests,
            "{operation}: {} requests, at most {} are allowed",
            c.total(),
            most.requests
        );
        assert!(rounds <= most.rounds, "{operation}: {rounds} rounds, at most {} are allowed", most.rounds);
    }
}

fn at_most(requests: u64, rounds: u64) -> Most {
    Most { requests, rounds }
}

async fn fill(r: &Resource, rows: usize) {
    let rows =
        (0..rows).map(|i| json!({"id": format!("r{i:05}"), "s": if i % 10 == 0 { "ten" } else { "other" }})).collect();
    assert_eq!(r.insert_many(rows, OnError::Stop).await.failed.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_operation_costs_what_the_table_says() {
    let mut b = Bench::new();
    let db = b.connect().await;
    let flat = db
        .create_resource(ResourceDefinition::new("flat").attribute("s", "string").attribute("n", "number|optional"))
        .await
        .unwrap();
    let parts = ResourceDefinition::new("parts")
        .attribute("s", "string")
        .attribute("n", "number|optional")
        .attribute("t", "string|optional");
    let parts = db
        .create_resource(parts.partition("byS", [("s", "string")]).partition("byT", [("t", "string")]))
        .await
        .unwrap();

    let t = b.start();
    b.connect().await;
    b.row("connect to an existing database", "2", at_most(1, 1), t);

    let t = b.start();
    flat.insert(json!({"id": "x", "s": "a"})).await.unwrap();
    b.row("insert, P = 0", "3", at_most(1, 2), t);
    let t = b.start();
    parts.insert(json!({"id": "x", "s": "a", "t": "b"})).await.unwrap();
    b.row("insert, P = 2", "5", at_most(3, 2), t);

    let t = b.start();
    flat.get("x").await.unwrap();
    b.row("get", "1; 2 with a body", at_most(1, 1), t);
    let t = b.start();
    flat.exists("x").await.unwrap();
    b.row("exists", "1", at_most(1, 1), t);

    let t = b.start();
    let row = flat.update("x", json!({"n": 1})).await.unwrap();
    b.row("update, P = 0", "3–4", at_most(2, 2), t);
    let t = b.start();
    flat.update_with("x", json!({"n": 2}), &UpdateOptions { expected_rev: Some(row.meta.rev) }).await.unwrap();
    b.row("update with `expected_rev`", "–", at_most(2, 2), t);
    let t = b.start();
    parts.update("x", json!({"n": 1})).await.unwrap();
    b.row("update, P = 2, none moved", "3 + P + P·⌈M/1000⌉", at_most(2, 2), t);
    let t = b.start();
    parts.update("x", json!({"s": "b"})).await.unwrap();
    b.row("update, 1 of 2 partitions moved", "the same + 1", at_most(4, 4), t);
    let t = b.start();
    parts.update("x", json!({"s": "c", "t": "d"})).await.unwrap();
    b.row("update, 2 of 2 partitions moved", "the same + 2", at_most(6, 4), t);

    let t = b.start();
    flat.upsert(json!({"id": "x", "s": "b"})).await.unwrap();
    b.row("upsert of a record that is there, P = 0", "4–5", at_most(2, 2), t);
    let t = b.start();
    flat.upsert(json!({"id": "y", "s": "b"})).await.unwrap();
    b.row("upsert of a new record, P = 0", "4–5", at_most(2, 2), t);

    let t = b.start();
    flat.set_content("x", "bytes", "text/plain").await.unwrap();
    b.row("set_content", "3", at_most(2, 2), t);
    let t = b.start();
    flat.content("x").await.unwrap();
    b.row("content", "1", at_most(1, 1), t);

    let t = b.start();
    flat.delete("x").await.unwrap();
    b.row("delete, P = 0", "2", at_most(2, 2), t);
    let t = b.start();
    parts.delete("x").await.unwrap();
    b.row("delete, P = 2", "3 + P", at_most(3, 3), t);
    flat.delete("y").await.unwrap();

    let t = b.start();
    fill(&flat, 100).await;
    b.row("insert_many of 100, P = 0", "300, 42 rounds", at_most(100, 4), t);
    let t = b.start();
    fill(&parts, 100).await;
    b.row("insert_many of 100, P = 1", "400, 42 rounds", at_most(200, 4), t);

    let t = b.start();
    flat.list(&Query::all()).await.unwrap();
    b.row("list of 100", "101, 11 rounds", at_most(101, 3), t);
    let t = b.start();
    flat.list(&Query::all().limit(10)).await.unwrap();
    b.row("list, limit 10 of 100", "11", at_most(11, 2), t);
    let of = Query::all().partition("byS", json!({"s": "ten"}));
    parts.list(&of).await.unwrap();
    let t = b.start();
    parts.list(&of).await.unwrap();
    b.row("list of a partition with 10 rows", "⌈M/1000⌉ + 20", at_most(21, 2), t);
    let t = b.start();
    flat.count().await.unwrap();
    b.row("count of 100", "1", at_most(1, 1), t);
    let t = b.start();
    parts.count_where(&of).await.unwrap();
    b.row("count of a partition", "1", at_most(1, 1), t);

    let ids: Vec<String> = (0..100).map(|i| format!("r{i:05}")).collect();
    let t = b.start();
    flat.delete_many(&ids).await.unwrap();
    b.row("delete_many of 100, P = 0", "101", at_most(101, 3), t);
    let t = b.start();
    parts.delete_many(&ids).await.unwrap();
    b.row("delete_many of 100, P = 1", "101, and leaves references behind", at_most(102, 4), t);

    fill(&flat, 2500).await;
    let t = b.start();
    flat.count().await.unwrap();
    b.row("count of 2,500", "3", at_most(3, 3), t);
    let t = b.start();
    flat.list_ids(&Query::all()).await.unwrap();
    b.row("list_ids of 2,500", "3", at_most(3, 3), t);
    let t = b.start();
    flat.list(&Query::all()).await.unwrap();
    b.row("list of 2,500", "2,503, 253 rounds", at_most(2503, 44), t);

    queries(&mut b, &flat, &parts).await;
    shared(&mut b).await;
    leases(&mut b, &db).await;
    machines(&mut b).await;
    backups(&mut b).await;
    jobs(&mut b).await;
    compare(&b.table);
}

async fn queries(b: &mut Bench, flat: &Resource, parts: &Resource) {
    let t = b.start();
    let mut rows = flat.stream(&Query::all()).await.unwrap();
    rows.next().await.unwrap().unwrap();
    assert!(t.1.elapsed().as_secs() <= 2, "the first of 2,500 rows is there after two rounds");
    let read = (b.counters.read() - t.0).get;
    assert!(read <= 64, "{read} rows are held for one that was asked for");
    drop(rows);

    fill(parts, 100).await;
    let ten = || Query::filter(json!({"s": "ten"}));
    let t = b.start();
    assert_eq!(parts.list(&ten()).await.unwrap().items.len(), 10);
    b.row("query that fixes a partition's fields, 10 rows", "all rows are read, N + N/1000", at_most(11, 2), t);
    let t = b.start();
    assert_eq!(parts.list(&ten().limit(3)).await.unwrap().items.len(), 3);
    b.row("the same, limit 3", "all rows", at_most(4, 2), t);
    let t = b.start();
    assert_eq!(parts.count_where(&ten()).await.unwrap(), 10);
    b.row("the same, count", "all rows", at_most(1, 1), t);
    let t = b.start();
    assert_eq!(parts.list(&ten().fields(["id", "s"])).await.unwrap().items.len(), 10);
    b.row("the same, only fields of the partition", "all rows", at_most(1, 1), t);
    let t = b.start();
    let ids = json!({"id": {"$in": ["r00001", "r00002", "r00003"]}, "s": "other"});
    assert_eq!(parts.list(&Query::filter(ids)).await.unwrap().items.len(), 3);
    b.row("query by 3 ids and a field", "all rows", at_most(3, 1), t);
    let t = b.start();
    let one = Query::filter(json!({"n": null, "s": {"$ne": "ten"}})).limit(1);
    assert_eq!(parts.list(&one).await.unwrap().items.len(), 1);
    b.row("query of other fields, limit 1, found at the second row", "all rows", at_most(4, 3), t);

    let t = b.start();
    assert_eq!(parts.update_where(&ten(), json!({"n": 1}), &|_| ()).await.unwrap().changed, 10);
    b.row("update by filter, 10 rows of a partition, none moved", "–", at_most(21, 3), t);
    let t = b.start();
    assert_eq!(parts.delete_where(&ten(), &|_| ()).await.unwrap().changed, 10);
    b.row("delete by filter, 10 rows of a partition", "–", at_most(31, 4), t);
    let t = b.start();
    parts.reindex(&|_| ()).await.unwrap();
    b.row("reindex of 90 records, P = 1 of 2", "–", at_most(190, 11), t);

    flat.delete_many(&flat.list_ids(&Query::all()).await.unwrap().items).await.unwrap();
    fill(flat, 8000).await;
    let t = b.start();
    assert_eq!(flat.list(&Query::filter(json!({"s": "ten"}))).await.unwrap().items.len(), 800);
    b.row("query scan of 8,000", "8,880", at_most(8008, 135), t);
}

/// A database that s3db.js works on too: insert 2 + P, a moved update 3 + 3q, delete 4.
async fn shared(b: &mut Bench) {
    let store: Arc<dyn Store> = Arc::new(Slow(Arc::new(Memory::new())));
    let meter = Meter::new(store);
    (b.counters, b.store) = (meter.counters(), Arc::new(meter));
    let db = Database::builder("memory://").store(Arc::clone(&b.store)).shared(true).connect().await.unwrap();
    let definition = ResourceDefinition::new("parts").attribute("s", "string").attribute("t", "string|optional");
    let definition = definition.partition("byS", [("s", "string")]).partition("byT", [("t", "string")]);
    let parts = db.create_resource(definition).await.unwrap();
    let t = b.start();
    parts.insert(json!({"id": "x", "s": "a", "t": "b"})).await.unwrap();
    b.row("shared with s3db.js: insert, P = 2", "5", at_most(4, 3), t);
    let t = b.start();
    parts.update("x", json!({"s": "b"})).await.unwrap();
    b.row("shared: update, 1 of 2 partitions moved", "5 + ⌈M/1000⌉", at_most(6, 6), t);
    let t = b.start();
    parts.update("x", json!({"s": "b"})).await.unwrap();
    b.row("shared: update, none moved", "5 + ⌈M/1000⌉", at_most(2, 2), t);
    let t = b.start();
    parts.delete("x").await.unwrap();
    b.row("shared: delete, P = 2", "5", at_most(4, 4), t);
}

async fn leases(b: &mut Bench, db: &Database) {
    let meter = Meter::new(Arc::clone(db.store()));
    let counters = meter.counters();
    let db = Database::builder("memory://").store(Arc::new(meter)).connect().await.unwrap();
    b.counters = counters;
    let options = s3db::LeaseOptions::new("bench");
    let t = b.start();
    let lease = db.lease("job", &options).await.unwrap();
    b.row("take a lease", "–", at_most(2, 2), t);
    let t = b.start();
    lease.renew().await.unwrap();
    b.row("renew a lease", "–", at_most(1, 1), t);
    let t = b.start();
    lease.release().await.unwrap();
    b.row("release a lease", "–", at_most(1, 1), t);
}

/// A machine whose states come in the shapes that cost differently.
fn definition(name: &str, tracked: bool) -> MachineDefinition {
    let work = || Action::new("insert").field("resource", "effects").field("record", json!({"text": "=token"}));
    MachineDefinition::new(name, "a")
        .track_states(tracked)
        .state(State::new("a").on("GO", "b").on("ACT", Target::to("b").action(work())).on("WAIT", "timed"))
        .state(State::new("b").on("GO", "a"))
        .state(State::new("timed").on("GO", "a").after("1h", "a"))
}

async fn machine_process(b: &Bench, tracked: bool) -> (Database, StateMachinePlugin) {
    let plugin = StateMachinePlugin::builder().machine(definition("m", tracked)).sweep_interval(None).build().unwrap();
    let db = Database::builder("memory://").store(Arc::clone(&b.store)).plugin(plugin.clone()).connect().await.unwrap();
    // What a process learns once: the definition, and the two resources.
    plugin.events_for_state("m", "a").await.unwrap();
    (db, plugin)
}

/// Warm 2, cold 4; 2 more tracked, 3 with actions, 2 with a timer, 2 on s3db.js's own log.
async fn machines(b: &mut Bench) {
    for tracked in [false, true] {
        let meter = Meter::new(Arc::new(Slow(Arc::new(Memory::new()))));
        (b.counters, b.store) = (meter.counters(), Arc::new(meter));
        let (db, machines) = machine_process(b, tracked).await;
        db.create_resource(ResourceDefinition::new("effects").attribute("text", "string")).await.unwrap();
        let (suffix, more) = if tracked { (", tracked", 2) } else { ("", 0) };
        machines.initialize_entity("m", "first", json!({})).await.unwrap();
        let t = b.start();
        machines.initialize_entity("m", "e", json!({})).await.unwrap();
        b.row(&format!("entity begins{suffix}"), "4–5", at_most(1 + more / 2, 2), t);
        machines.send("m", "e", "GO", json!({})).await.unwrap();
        let t = b.start();
        machines.send("m", "e", "GO", json!({})).await.unwrap();
        b.row(&format!("transition, warm{suffix}"), "9, and racy", at_most(2 + more, 2 + more), t);
        let (_other, cold) = machine_process(b, tracked).await;
        cold.get_state("m", "first").await.unwrap();
        cold.send("m", "first", "GO", json!({})).await.unwrap();
        let t = b.start();
        cold.send("m", "e", "GO", json!({})).await.unwrap();
        b.row(&format!("transition, cold{suffix}"), "10, and racy", at_most(4 + more, 4 + more), t);
        cold.send("m", "e", "GO", json!({})).await.unwrap();
        let t = b.start();
        cold.send("m", "e", "ACT", json!({})).await.unwrap();
        // The action itself sends one.
        b.row(
            &format!("transition with an action that inserts a record, warm{suffix}"),
            "–",
            at_most(6 + more, 6 + more),
            t,
        );
        cold.send("m", "e", "GO", json!({})).await.unwrap();
        let t = b.start();
        cold.send("m", "e", "WAIT", json!({})).await.unwrap();
        cold.send("m", "e", "GO", json!({})).await.unwrap();
        b.row(
            &format!("two transitions, into a state with a timer and out of it, warm{suffix}"),
            "–",
            at_most(6 + 2 * more, 6 + 2 * more),
            t,
        );
        let t = b.start();
        cold.send("m", "e", "NEVER", json!({})).await.unwrap_err();
        b.row(&format!("refused event{suffix}"), "0–1", at_most(1, 1), t);
        let t = b.start();
        cold.get_state("m", "e").await.unwrap();
        b.row(&format!("state of an entity{suffix}"), "1", at_most(1, 1), t);
        let t = b.start();
        assert_eq!(cold.sweep().await.unwrap().due, 0);
        b.row(&format!("sweep with nothing due{suffix}"), "–", at_most(1, 1), t);
    }
    s3dbjs_log(b).await;
}

/// The log of s3db.js has two partitions, whose keys are kept.
async fn s3dbjs_log(b: &mut Bench) {
    let meter = Meter::new(Arc::new(Slow(Arc::new(Memory::new()))));
    (b.counters, b.store) = (meter.counters(), Arc::new(meter));
    let db = b.connect().await;
    let mut log = ResourceDefinition::new("state_transitions");
    for (name, rule) in [
        ("machineId", "string"),
        ("entityId", "string"),
        ("fromState", "string"),
        ("toState", "string"),
        ("event", "string"),
        ("context", "json"),
        ("timestamp", "number"),
        ("createdAt", "string"),
    ] {
        log = log.attribute(name, rule);
    }
    log = log
        .partition("byMachine", [("machineId", "string")])
        .partition("byDate", [("createdAt", "string|maxlength:10")]);
    db.create_resource(log).await.unwrap();
    let (_db, machines) = machine_process(b, false).await;
    machines.initialize_entity("m", "e", json!({})).await.unwrap();
    machines.send("m", "e", "GO", json!({})).await.unwrap();
    let t = b.start();
    machines.send("m", "e", "GO", json!({})).await.unwrap();
    b.row("transition on the log resource of s3db.js, warm", "9, and racy", at_most(4, 4), t);
}

/// Backups: the requests to the database. Those to the destination come beside: a few for each file.
async fn backups(b: &mut Bench) {
    let meter = Meter::new(Arc::new(Memory::new()));
    (b.counters, b.store) = (meter.counters(), Arc::new(meter));
    let shelf: Arc<dyn Store> = Arc::new(Memory::new());
    let connect = async |store: Arc<dyn Store>| {
        let plugin = BackupPlugin::builder().destination_store(Arc::clone(&shelf)).build().unwrap();
        Database::builder("memory://").store(store).plugin(plugin).connect().await.unwrap()
    };
    let db = connect(Arc::clone(&b.store)).await;
    let r = db.create_resource(ResourceDefinition::new("r").attribute("s", "string")).await.unwrap();
    fill(&r, 2500).await;
    let plugin = db.plugin::<BackupPlugin>().unwrap();
    // What is made once: the resource of rows, and the database's id.
    let first = plugin.backup(BackupType::Full).await.unwrap();
    let objects = first.counts.objects;
    let t = b.start();
    let made = plugin.backup(BackupType::Full).await.unwrap();
    let most = objects + objects.div_ceil(1000) + 12;
    b.row(&format!("full backup of {objects} objects"), "15 + N, empty archive", at_most(most, 0), t);
    r.update("r00001", json!({"s": "changed"})).await.unwrap();
    let t = b.start();
    let changes = plugin.backup(BackupType::Incremental).await.unwrap();
    // The records are younger than the margin here, so that each is read again and compared.
    let label = "incremental backup, 1 changed, all younger than the margin";
    b.row(label, "–", at_most(most + 4, 0), t);
    assert_eq!(changes.counts.stored, 1);
    let meter = Meter::new(Arc::new(Memory::new()));
    (b.counters, b.store) = (meter.counters(), Arc::new(meter));
    let copy = connect(Arc::clone(&b.store)).await;
    let t = b.start();
    copy.plugin::<BackupPlugin>().unwrap().restore(&made.id, &RestoreOptions::default()).await.unwrap();
    b.row(&format!("restore of {objects} objects, compared"), "always fails", at_most(2 * objects + 12, 0), t);
}

/// The runtime's clock, which is paused: it moves when nothing else can run.
#[derive(Debug)]
struct Virtual(tokio::time::Instant);

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        1_767_225_600_000 + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock of the test")]
    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// A run costs 2 where this process ran the instant before, else 4; a look costs 1.
async fn jobs(b: &mut Bench) {
    let clock = Arc::new(Virtual(tokio::time::Instant::now()));
    let memory = Memory::with(s3db::store::Quirks::default(), clock.clone());
    let meter = Meter::new(Arc::new(Slow(Arc::new(memory))));
    (b.counters, b.store) = (meter.counters(), Arc::new(meter));
    let process = async |store: Arc<dyn Store>| {
        let job = JobDefinition::new("j", "*/30 * * * * *").retries(0);
        let plugin = SchedulerPlugin::builder()
            .poll_interval(Duration::from_secs(300))
            .job_fn(job, |_call| async { Ok::<_, String>(json!(1)) })
            .build()
            .unwrap();
        let builder = Database::builder("memory://").store(store).clock(clock.clone());
        builder.plugin(plugin).connect().await.unwrap()
    };
    let first = process(Arc::clone(&b.store)).await;
    // The history is made with the first run.
    let to = async |second: u64| clock.sleep(Duration::from_secs(second).saturating_sub(clock.monotonic())).await;
    to(50).await;
    let t = b.start();
    to(65).await;
    b.row("scheduled run, warm", "5 on every process", at_most(2, 0), (t.0, tokio::time::Instant::now()));
    first.stop(Duration::from_secs(5)).await.unwrap();
    drop(first);
    // Another one finds the run of the first.
    let second = process(Arc::clone(&b.store)).await;
    to(80).await;
    let t = b.start();
    to(100).await;
    b.row("scheduled run, cold", "5 on every process", at_most(4, 0), (t.0, tokio::time::Instant::now()));
    let scheduler = second.plugin::<SchedulerPlugin>().unwrap();
    let t = b.start();
    scheduler.run_job("j", json!({})).await.unwrap();
    b.row("job run by hand", "3", at_most(4, 4), t);
    let t = b.start();
    scheduler.get_job_status("j").await.unwrap();
    b.row("state of a job", "–", at_most(2, 2), t);
    let t = b.start();
    scheduler.disable_job("j").await.unwrap();
    b.row("disable a job", "–", at_most(2, 2), t);
}

fn compare(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/requests.md");
    let page = format!("{HEAD}{table}");
    if std::env::var_os("S3DB_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        page, stored,
        "docs/requests.md is out of date: run this test with S3DB_UPDATE=1 and look at the difference"
    );
}

const HEAD: &str = "\
# Requests per operation

Requests are money and time, so their number is part of the contract. This table is generated by
`crates/s3db/tests/requests.rs`, which measures every operation on a metered store and fails if one
costs more than it may. *Rounds* is the longest chain of requests that wait for each other: on a
store that answers in 20 ms an operation of two rounds takes about 40 ms.

*$ per million* is the price of a million such operations at AWS S3 Standard in us-east-1: $0.005 per
thousand PUT, COPY and LIST, $0.0004 per thousand GET and HEAD, deletes free.

P is the number of partitions that have a place for the record, M the keys of a partition. The last
column is what s3db.js 9.2.0 was measured to send for the same work.

Once a minute a writer reads the catalog again (1 GET), and a reader of a partition its marker
(1 GET). An operation that loses a race costs its requests once more for each time it lost. On an S3
server each row's requests are HTTP requests, one for one; connecting costs one more, which reads what
the probe of the server found; a refused or lost write costs a GET more, which finds out what happened;
where listings are not in byte order, a page behind an id with `-` or `.` in it costs a LIST more for
each of them. Bodies of 32 MiB and more are sent in parts of 16 MiB, a request each and two more.

| operation | GET | HEAD | PUT | DELETE | LIST | COPY | total | rounds | $ per million | s3db.js 9.2.0 |
|---|---|---|---|---|---|---|---|---|---|---|
";
