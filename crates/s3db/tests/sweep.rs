//! Every operation of several requests, with every fault at each of its requests. Afterwards nothing
//! that was acknowledged is gone, every row is found through its partitions, and `doctor` leaves
//! nothing behind; in both ways of keeping partitions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use s3db::store::clock::ManualClock;
use s3db::store::fault::{Fault, Faulty};
use s3db::store::memory::Memory;
use s3db::store::{Quirks, Store};
use s3db::{
    ChangeReport, Database, ErrorKind, FindingKind, Query, Resource, ResourceDefinition, ResourceUpdate, Result,
    SeededEntropy, UpdateOptions,
};
use serde_json::{Value, json};

struct World {
    memory: Arc<Memory>,
    clock: Arc<ManualClock>,
    shared: bool,
}

impl World {
    fn new(quirks: Quirks, shared: bool) -> Self {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let memory = Arc::new(Memory::with(quirks, Arc::<ManualClock>::clone(&clock)));
        Self { memory, clock, shared }
    }

    async fn connect(&self, store: Arc<dyn Store>, seed: u64) -> Database {
        Database::builder("memory://sweep")
            .passphrase("correct horse")
            .store(store)
            .clock(Arc::<ManualClock>::clone(&self.clock))
            .entropy(Arc::new(SeededEntropy::new(seed)))
            .shared(self.shared)
            .connect()
            .await
            .unwrap()
    }

    async fn filled(&self) -> Database {
        let db = self.connect(self.memory.clone(), 1).await;
        let r = db.create_resource(definition("r")).await.unwrap();
        for id in ["a", "b", "c"] {
            r.insert(json!({"id": id, "s": "x", "o": {"n": id}})).await.unwrap();
        }
        db
    }
}

fn definition(name: &str) -> ResourceDefinition {
    ResourceDefinition::new(name)
        .attribute("s", "string")
        .attribute("o", json!({"n": "string|optional"}))
        .attribute("k", "number|optional")
        .partition("byS", [("s", "string")])
        .partition("byOwner", [("o.n", "string")])
}

type Work = fn(Database) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

const OPERATIONS: [(&str, Work); 17] = [
    ("insert", |db| {
        Box::pin(async move { r(&db).await?.insert(json!({"id": "n", "s": "x", "o": {"n": "q"}})).await.map(drop) })
    }),
    ("update", |db| Box::pin(async move { r(&db).await?.update("a", json!({"k": 1})).await.map(drop) })),
    ("update that moves", |db| {
        Box::pin(async move { r(&db).await?.update("a", json!({"s": "y", "o": {"n": "z"}})).await.map(drop) })
    }),
    ("replace", |db| {
        Box::pin(
            async move { r(&db).await?.replace("a", json!({"s": "z"}), &UpdateOptions::default()).await.map(drop) },
        )
    }),
    ("upsert", |db| Box::pin(async move { r(&db).await?.upsert(json!({"id": "a", "s": "y"})).await.map(drop) })),
    ("upsert of a new one", |db| {
        Box::pin(async move { r(&db).await?.upsert(json!({"id": "m", "s": "y"})).await.map(drop) })
    }),
    ("delete", |db| Box::pin(async move { r(&db).await?.delete("a").await })),
    ("delete of several", |db| {
        Box::pin(async move { r(&db).await?.delete_many(&["a".into(), "b".into()]).await.map(drop) })
    }),
    ("content", |db| Box::pin(async move { r(&db).await?.set_content("a", "bytes", "text/plain").await })),
    ("create", |db| Box::pin(async move { db.create_resource(definition("made")).await.map(drop) })),
    ("reindex", |db| Box::pin(async move { r(&db).await?.reindex(&|_| ()).await.map(drop) })),
    ("update of a definition", |db| {
        let update = ResourceUpdate::new().attribute("more", "string|optional");
        Box::pin(async move { db.update_resource("r", update).await.map(drop) })
    }),
    ("update with a new partition", |db| {
        let update = ResourceUpdate::new().partition("byK", [("k", "number")]);
        Box::pin(async move {
            db.update_resource("r", update).await?;
            r(&db).await?.reindex(&|_| ()).await.map(drop)
        })
    }),
    ("update with another partition in its place", |db| {
        let update = ResourceUpdate::new().partition("byK", [("s", "string|maxlength:1")]);
        Box::pin(async move {
            db.update_resource("r", ResourceUpdate::new().partition("byK", [("k", "number")])).await?;
            db.update_resource("r", update).await?;
            r(&db).await?.reindex(&|_| ()).await.map(drop)
        })
    }),
    ("update by filter", |db| {
        Box::pin(async move {
            let x = Query::filter(json!({"s": "x"}));
            first_failure(r(&db).await?.update_where(&x, json!({"s": "y"}), &|_| ()).await?)
        })
    }),
    ("delete by filter", |db| {
        Box::pin(async move {
            let some = Query::filter(json!({"s": {"$in": ["x", "z"]}, "o.n": {"$ne": "b"}}));
            first_failure(r(&db).await?.delete_where(&some, &|_| ()).await?)
        })
    }),
    ("doctor", |db| Box::pin(async move { db.doctor(true, &|_, _| ()).await.map(drop) })),
];

fn first_failure(report: ChangeReport) -> Result<()> {
    match report.failed.into_iter().next() {
        Some(failure) => Err(failure.error),
        None => Ok(()),
    }
}

async fn r(db: &Database) -> Result<Resource> {
    db.resource("r").await
}

/// An id, a status and an owner.
type Row = (String, String, Option<String>);

/// Every row with its two values, and what the partitions list, each as a set.
async fn views(db: &Database) -> (BTreeSet<Row>, BTreeSet<Row>, BTreeSet<Row>) {
    let r = r(db).await.unwrap();
    let rows = r.list(&Query::all()).await.unwrap().items;
    let shown = |row: &s3db::Record| {
        let owner = row.attributes.get("o").and_then(|o| o.get("n")).and_then(Value::as_str);
        (row.id.clone(), row.attributes["s"].as_str().unwrap().to_owned(), owner.map(str::to_owned))
    };
    let all: BTreeSet<Row> = rows.iter().map(shown).collect();
    let (mut by_s, mut by_owner) = (BTreeSet::new(), BTreeSet::new());
    for s in ["x", "y", "z"] {
        let page = r.list(&Query::all().partition("byS", json!({"s": s}))).await.unwrap();
        by_s.extend(page.items.iter().map(shown));
    }
    for n in ["a", "b", "c", "q", "z"] {
        let page = r.list(&Query::all().partition("byOwner", json!({"o.n": n}))).await.unwrap();
        by_owner.extend(page.items.iter().map(shown));
    }
    let owned = all.iter().filter(|row| row.2.is_some()).cloned().collect();
    assert_eq!(by_s, all);
    assert_eq!(by_owner, owned);
    (all, by_s, by_owner)
}

/// Returns the faults that were met.
async fn sweep(quirks: Quirks, shared: bool) -> usize {
    let mut points = 0;
    for (name, work) in OPERATIONS {
        for fault in Fault::ALL {
            for nth in 1..60 {
                let world = World::new(quirks, shared);
                world.filled().await;
                let faulty = Arc::new(Faulty::new(world.memory.clone()));
                let db = world.connect(faulty.clone(), 7).await;
                let before = faulty.sent();
                faulty.plan(nth, fault);
                let outcome = work(db).await;
                let reached = faulty.sent() - before >= nth;
                faulty.heal();
                faulty.land().await;
                if !reached {
                    break;
                }
                points += 1;
                let at = format!("{name}, {fault:?} at request {nth}, shared: {shared}, ended with {outcome:?}");
                if let Err(error) = &outcome {
                    assert!(
                        matches!(
                            error.kind(),
                            ErrorKind::Unavailable
                                | ErrorKind::Conflict
                                | ErrorKind::NotFound
                                | ErrorKind::AlreadyExists
                        ),
                        "{at}"
                    );
                }
                aftermath(&world, work, outcome.is_ok(), &at).await;
            }
        }
    }
    points
}

async fn aftermath(world: &World, work: Work, acknowledged: bool, at: &str) {
    if !world.shared {
        // Also before anything is mended.
        views(&world.connect(world.memory.clone(), 8).await).await;
    }
    // Two hours later, when nothing can be under way.
    world.clock.advance(Duration::from_secs(7200));
    let db = world.connect(world.memory.clone(), 9).await;
    let mended = db.doctor(true, &|_, _| ()).await.unwrap();
    assert!(mended.is_healthy(), "{at}: {mended:?}");
    let again = db.doctor(false, &|_, _| ()).await.unwrap();
    assert!(again.findings.is_empty(), "{at}: {again:?}");
    let (before, ..) = views(&db).await;
    // The caller tries again: it is done, or it had been done.
    let retried = work(db.clone()).await;
    if let Err(error) = &retried {
        assert!(matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound), "{at}: {error}");
    }
    let (after, ..) = views(&db).await;
    if acknowledged {
        assert_eq!(before, after, "{at}: a retry of what was acknowledged changed something");
    }
}

#[tokio::test]
async fn operations_end_right_after_every_fault() {
    let mut points = 0;
    for quirks in [Quirks::default(), Quirks::S3] {
        points += sweep(quirks, false).await;
    }
    println!("{points} points of failure with our own index");
    assert!(points > 800, "only {points} points");
}

#[tokio::test]
async fn operations_of_a_shared_database_end_right_after_every_fault() {
    let mut points = 0;
    for quirks in [Quirks::default(), Quirks::S3] {
        points += sweep(quirks, true).await;
    }
    println!("{points} points of failure with the references of s3db.js");
    assert!(points > 800, "only {points} points");
}

#[tokio::test]
async fn doctor_finds_and_mends_each_kind_of_damage() {
    let world = World::new(Quirks::S3, false);
    let db = world.filled().await;
    let put = |body: &str| s3db::store::Put {
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        content_type: Some("application/json".into()),
        ..Default::default()
    };
    let none = s3db::store::Precondition::None;
    let keys: Vec<String> = world.memory.snapshot().into_keys().collect();
    let index: Vec<&String> = keys.iter().filter(|k| k.starts_with("s3db/tmp/index/r/byS/")).collect();
    world.memory.delete(index[0], none.clone()).await.unwrap();
    for (key, body) in [
        ("s3db/tmp/index/r/byS/s=gone/a!0", ""),
        ("s3db/tmp/index/dropped/byS/s=x/a!0", ""),
        ("s3db/tmp/probe/abc/race-1", "1"),
        ("s3db/tmp/leases/backup.json", "{"),
        ("s3db/tmp/partitions/r/byNothing", "{}"),
        ("resource=forgotten/data/id=1", "{}"),
        ("resource=r/data/id=broken", "{\"cut"),
    ] {
        world.memory.put(key, put(body), none.clone()).await.unwrap();
    }
    let young = db.doctor(false, &|_, _| ()).await.unwrap();
    let kinds =
        |report: &s3db::DoctorReport| report.findings.iter().map(|f| (f.kind, f.count, f.repaired)).collect::<Vec<_>>();
    let missing = (FindingKind::MissingKey, 1, 0);
    assert!(kinds(&young).contains(&missing), "{young:?}");
    assert!(!kinds(&young).iter().any(|k| k.0 == FindingKind::StaleKey), "what is young may be under way");
    world.clock.advance(Duration::from_secs(7200));
    let stored = world.memory.snapshot();
    let found = db.doctor(false, &|_, _| ()).await.unwrap();
    assert_eq!(world.memory.snapshot(), stored, "without repair nothing is changed");
    for kind in [
        FindingKind::StaleKey,
        FindingKind::MissingKey,
        FindingKind::LeftOver,
        FindingKind::DamagedLease,
        FindingKind::LeftOverResource,
        FindingKind::DamagedRecord,
    ] {
        assert!(found.findings.iter().any(|f| f.kind == kind && f.repaired == 0), "{kind:?} is not in {found:?}");
    }
    let mended = db.doctor(true, &|_, _| ()).await.unwrap();
    let left: Vec<FindingKind> = mended.findings.iter().filter(|f| f.repaired < f.count).map(|f| f.kind).collect();
    for kind in [FindingKind::LeftOverResource, FindingKind::DamagedRecord, FindingKind::DamagedLease] {
        assert!(left.contains(&kind), "{kind:?} is left to a person: {left:?}");
    }
    assert_eq!(left.len(), 3, "what a person has to decide stays: {left:?}");
    let again = db.doctor(false, &|_, _| ()).await.unwrap();
    assert_eq!(again.findings.len(), 3, "{again:?}");
}

#[tokio::test]
async fn versions_that_another_program_dropped_come_back_and_those_that_we_dropped_do_not() {
    let world = World::new(Quirks::S3, false);
    let db = world.filled().await;
    db.create_resource(definition("kept")).await.unwrap();
    db.create_resource(definition("unwanted")).await.unwrap();
    db.drop_resource("unwanted").await.unwrap();
    // s3db.js writes the file from what it had in memory: without our token and the newer resource.
    let mut catalog: Value = serde_json::from_slice(&world.memory.get("s3db.json", None).await.unwrap().body).unwrap();
    catalog.as_object_mut().unwrap().remove("_rev");
    catalog["resources"].as_object_mut().unwrap().remove("kept");
    let body = bytes::Bytes::from(catalog.to_string());
    world
        .memory
        .put("s3db.json", s3db::store::Put { body, ..Default::default() }, s3db::store::Precondition::None)
        .await
        .unwrap();
    let db = world.connect(world.memory.clone(), 3).await;
    let found = db.doctor(true, &|_, _| ()).await.unwrap();
    let lost: Vec<_> = found.findings.iter().filter(|f| f.kind == FindingKind::LostVersion).collect();
    assert_eq!((lost.len(), lost[0].resource.as_deref(), lost[0].repaired), (1, Some("kept"), 1));
    assert_eq!(db.resource_names().await.unwrap(), ["kept", "r"]);
    assert!(db.resource("kept").await.unwrap().insert(json!({"s": "x"})).await.is_ok());
}
