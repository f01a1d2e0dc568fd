//! Changes of a definition: old records stay readable, new partitions are found through, and nothing
//! that several processes do at once is lost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "this file is a test")]

use std::sync::Arc;
use std::time::Duration;

use s3db::store::clock::{Clock, ManualClock};
use s3db::store::fault::{Fault, Faulty};
use s3db::store::memory::Memory;
use s3db::store::meter::Meter;
use s3db::store::{Quirks, Store};
use s3db::{Database, ErrorKind, Query, ReindexProgress, ResourceDefinition, ResourceUpdate};
use serde_json::{Value, json};

struct World {
    memory: Arc<Memory>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        Self { memory: Arc::new(Memory::with(Quirks::S3, Arc::<ManualClock>::clone(&clock))), clock }
    }

    async fn connect(&self) -> Database {
        self.connect_to(self.memory.clone()).await
    }

    async fn connect_to(&self, store: Arc<dyn Store>) -> Database {
        Database::builder("memory://schema").store(store).clock(self.clock.clone()).connect().await.unwrap()
    }
}

fn users() -> ResourceDefinition {
    ResourceDefinition::new("users").attribute("name", "string").attribute("city", "string|optional")
}

fn ids(rows: &[s3db::Record]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

#[tokio::test]
async fn old_records_are_read_by_their_own_version() {
    let world = World::new();
    let db = world.connect().await;
    let r = db.create_resource(users()).await.unwrap();
    r.insert(json!({"id": "old", "name": "Ana", "city": "Rio"})).await.unwrap();
    let update = ResourceUpdate::new()
        .attribute("name", "string|min:2")
        .attribute("age", "number|optional")
        .attribute("plan", "enum:free,pro|default:free")
        .remove_attribute("city");
    let report = db.update_resource("users", update.clone()).await.unwrap();
    assert_eq!((report.version.as_str(), report.changed, report.to_index.len()), ("v1", true, 0));
    let again = db.update_resource("users", ResourceUpdate::new().attribute("age", "number|optional")).await.unwrap();
    assert_eq!((again.version.as_str(), again.changed), ("v1", false), "no change is no version");

    let old = r.get("old").await.unwrap();
    assert_eq!((old.to_json(), old.meta.version.as_str()), (json!({"id": "old", "name": "Ana", "city": "Rio"}), "v0"));
    r.insert(json!({"id": "new", "name": "Ben", "age": 30})).await.unwrap();
    let new = r.get("new").await.unwrap();
    assert_eq!(new.to_json(), json!({"id": "new", "name": "Ben", "age": 30, "plan": "free"}));
    assert!(r.insert(json!({"name": "Cleo", "city": "Rio"})).await.unwrap_err().to_string().contains("city"));
    // What the old record holds and the definition no longer knows stays.
    let moved = r.update("old", json!({"age": 40})).await.unwrap();
    assert_eq!((moved.meta.version.as_str(), moved.attributes["plan"].as_str()), ("v1", Some("free")));
    let stored = r.get("old").await.unwrap();
    assert_eq!((stored.attributes["city"].as_str(), stored.attributes["age"].as_i64()), (Some("Rio"), Some(40)));
    // A process that still has the old definition reads both, after one look at the catalog.
    let rows = r.list(&Query::filter(json!({"city": "Rio"}))).await.unwrap().items;
    assert_eq!(ids(&rows), ["old"], "a field of an older version can be asked for");
    let definition = r.definition().await.unwrap();
    assert_eq!(definition.attributes.keys().collect::<Vec<_>>(), ["name", "age", "plan"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_is_written() {
    let world = World::new();
    let db = world.connect().await;
    db.create_resource(users()).await.unwrap();
    let before = world.memory.snapshot();
    for (update, part) in [
        (ResourceUpdate::new().attribute("age", "numbr"), "did you mean 'number'"),
        (ResourceUpdate::new().partition("byAge", [("age", "number")]), "'age' is no attribute"),
        (ResourceUpdate::new().partition("byCity", [("city", "strng")]), "did you mean 'string'"),
        (ResourceUpdate::new().remove_attribute("nmae"), "did you mean 'name'"),
        (ResourceUpdate::new().remove_partition("byCity"), "no partition 'byCity'"),
        (ResourceUpdate::new().remove_attribute("name").remove_attribute("city"), "at least one attribute"),
    ] {
        let error = db.update_resource("users", update).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(db.update_resource("usrs", ResourceUpdate::new()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(world.memory.snapshot(), before);
}

#[tokio::test]
async fn a_new_partition_is_scanned_until_every_writer_knows_it() {
    let world = World::new();
    let (db, late) = (world.connect().await, world.connect().await);
    let r = db.create_resource(users()).await.unwrap();
    r.insert(json!({"id": "a", "name": "Ana", "city": "Rio"})).await.unwrap();
    let late_users = late.resource("users").await.unwrap();
    late_users.insert(json!({"id": "b", "name": "Ben", "city": "Rio"})).await.unwrap();

    let update = ResourceUpdate::new().partition("byCity", [("city", "string")]);
    let report = db.update_resource("users", update).await.unwrap();
    assert_eq!(report.to_index, ["byCity"]);
    // This process has not looked at the catalog again and keeps no key.
    world.clock.advance(Duration::from_secs(30));
    late_users.insert(json!({"id": "c", "name": "Cleo", "city": "Rio"})).await.unwrap();

    let rio = Query::filter(json!({"city": "Rio"}));
    let named = Query::all().partition("byCity", json!({"city": "Rio"}));
    for query in [&rio, &named] {
        let page = r.list(query).await.unwrap();
        assert_eq!(ids(&page.items), ["a", "b", "c"]);
        assert!(page.warnings[0].contains("resource reindex users"), "{:?}", page.warnings);
    }

    let waited = std::sync::Mutex::new(Duration::ZERO);
    let before = world.clock.monotonic();
    let told = |progress| {
        if let ReindexProgress::Waiting(time) = progress {
            *waited.lock().unwrap() = time;
        }
    };
    let built = r.reindex(&told).await.unwrap();
    assert_eq!((built.records, built.keys), (3, 3));
    assert_eq!(*waited.lock().unwrap(), Duration::from_secs(90), "two minutes after it was published");
    assert!(world.clock.monotonic() - before >= Duration::from_secs(90));
    // Now everybody keeps it.
    late_users.insert(json!({"id": "d", "name": "Dora", "city": "Rio"})).await.unwrap();
    for query in [&rio, &named] {
        let page = r.list(query).await.unwrap();
        assert_eq!((ids(&page.items), page.warnings.len()), (vec!["a", "b", "c", "d"], 0));
    }
    assert_eq!(r.explain(&rio).await.unwrap().partition.as_deref(), Some("byCity"));
    assert!(db.doctor(false, &|_, _| ()).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_partition_that_went_and_came_back_is_not_believed() {
    let world = World::new();
    let (db, reader) = (world.connect().await, world.connect().await);
    let r = db.create_resource(users().partition("byCity", [("city", "string")])).await.unwrap();
    r.insert(json!({"id": "a", "name": "Ana", "city": "Rio"})).await.unwrap();
    let rio = Query::filter(json!({"city": "Rio"}));
    let read = reader.resource("users").await.unwrap();
    assert_eq!(read.explain(&rio).await.unwrap().source, "partition");

    let before = world.clock.monotonic();
    db.update_resource("users", ResourceUpdate::new().remove_partition("byCity")).await.unwrap();
    assert!(world.clock.monotonic() - before > Duration::from_secs(60), "nobody believes the marker any more");
    r.insert(json!({"id": "b", "name": "Ben", "city": "Rio"})).await.unwrap();
    // The reader has the old catalog in its cache.
    assert_eq!(ids(&read.list(&rio).await.unwrap().items), ["a", "b"]);
    assert!(!world.memory.snapshot().keys().any(|key| key.starts_with("s3db/tmp/index/users/byCity/")));

    db.update_resource("users", ResourceUpdate::new().partition("byCity", [("city", "string")])).await.unwrap();
    for users in [&r, &read] {
        assert_eq!(ids(&users.list(&rio).await.unwrap().items), ["a", "b"]);
    }
    r.reindex(&|_| ()).await.unwrap();
    assert_eq!(r.explain(&rio).await.unwrap().source, "partition");
    for users in [&r, &read] {
        assert_eq!(ids(&users.list(&rio).await.unwrap().items), ["a", "b"]);
    }
}

#[tokio::test]
async fn changes_of_several_processes_all_survive() {
    let world = World::new();
    world.connect().await.create_resource(users()).await.unwrap();
    let mut updates = Vec::new();
    for n in 0..8 {
        let db = world.connect().await;
        updates.push(tokio::spawn(async move {
            let update = ResourceUpdate::new().attribute(format!("field{n}"), "string|optional");
            db.update_resource("users", update).await.unwrap().version
        }));
    }
    let mut versions = Vec::new();
    for update in updates {
        versions.push(update.await.unwrap());
    }
    versions.sort();
    assert_eq!(versions.last().map(String::as_str), Some("v8"));
    let db = world.connect().await;
    let definition = db.resource("users").await.unwrap().definition().await.unwrap();
    assert_eq!(definition.attributes.len(), 10, "{:?}", definition.attributes);
}

#[tokio::test]
async fn a_back_fill_goes_on_where_it_was_cut_off() {
    let world = World::new();
    let db = world.connect().await;
    let r = db.create_resource(users()).await.unwrap();
    for n in 0..2_500 {
        r.insert(json!({"id": format!("u{n:04}"), "name": "Ana", "city": if n % 5 == 0 { "Rio" } else { "Recife" }}))
            .await
            .unwrap();
    }
    db.update_resource("users", ResourceUpdate::new().partition("byCity", [("city", "string")])).await.unwrap();
    let faulty = Arc::new(Faulty::new(world.memory.clone()));
    let first = world.connect_to(faulty.clone()).await;
    // In the third thousand.
    faulty.plan(faulty.sent() + 4_500, Fault::Kill);
    first.resource("users").await.unwrap().reindex(&|_| ()).await.unwrap_err();

    let meter = Meter::new(world.memory.clone());
    let counters = meter.counters();
    let second = world.connect_to(Arc::new(meter)).await;
    let built = second.resource("users").await.unwrap().reindex(&|_| ()).await.unwrap();
    assert_eq!((built.records, built.keys), (2_500, 2_500), "with what the first run did");
    let read = counters.read().get;
    assert!(read < 520, "only the last 500 records are read again: {read}");
    let rio = second.resource("users").await.unwrap();
    assert_eq!(rio.count_where(&Query::filter(json!({"city": "Rio"}))).await.unwrap(), 500);
    assert!(second.doctor(false, &|_, _| ()).await.unwrap().findings.is_empty());
    assert!(!world.memory.snapshot().keys().any(|key| key.starts_with("s3db/tmp/backfill/")));
}

#[tokio::test]
async fn numbers_of_versions_are_never_used_twice() {
    let world = World::new();
    let db = world.connect().await;
    db.create_resource(users()).await.unwrap();
    db.update_resource("users", ResourceUpdate::new().attribute("age", "number|optional")).await.unwrap();
    db.drop_resource("users").await.unwrap();
    let r = db.create_resource(users()).await.unwrap();
    let row = r.insert(json!({"name": "Ana"})).await.unwrap();
    assert_eq!(row.meta.version, "v2");
    let catalog: Value = serde_json::from_slice(&world.memory.get("s3db.json", None).await.unwrap().body).unwrap();
    assert_eq!(catalog["resources"]["users"]["currentVersion"], "v2");
}

#[tokio::test]
async fn a_plan_for_an_older_type_is_not_believed() {
    let world = World::new();
    let (db, reader) = (world.connect().await, world.connect().await);
    let r = db.create_resource(users().partition("byCity", [("city", "string")])).await.unwrap();
    r.insert(json!({"id": "a", "name": "Ana", "city": "Rio"})).await.unwrap();
    let read = reader.resource("users").await.unwrap();
    let rio = Query::filter(json!({"city": "Rio"}));
    assert_eq!(read.explain(&rio).await.unwrap().source, "partition");
    let update = ResourceUpdate::new().attribute("city", "array|items:string|optional");
    let report = db.update_resource("users", update).await.unwrap();
    assert_eq!(report.to_index, ["byCity"]);
    // Of several cities one is Rio: such a row lies under another key.
    r.insert(json!({"id": "b", "name": "Ben", "city": ["Recife", "Rio"]})).await.unwrap();
    r.reindex(&|_| ()).await.unwrap();
    for users in [&r, &read] {
        assert_eq!(ids(&users.list(&rio).await.unwrap().items), ["a", "b"]);
    }
    assert!(db.doctor(false, &|_, _| ()).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_partition_that_goes_while_it_is_read_is_an_error_and_not_an_end() {
    let world = World::new();
    let (db, reader) = (world.connect().await, world.connect().await);
    let r = db.create_resource(users().partition("byCity", [("city", "string")])).await.unwrap();
    for n in 0..2_500 {
        r.insert(json!({"id": format!("u{n:04}"), "name": "Ana", "city": "Rio"})).await.unwrap();
    }
    let read = reader.resource("users").await.unwrap();
    let mut rows = read.stream(&Query::filter(json!({"city": "Rio"}))).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().id, "u0000");
    db.update_resource("users", ResourceUpdate::new().remove_partition("byCity")).await.unwrap();
    let mut seen = 1;
    let error = loop {
        match rows.next().await {
            Ok(Some(_)) => seen += 1,
            Ok(None) => panic!("{seen} rows were taken for all"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(seen < 2_500 && error.to_string().contains("byCity"), "{seen}: {error}");
    assert_eq!(read.query(json!({"city": "Rio"})).await.unwrap().len(), 2_500);
}
