//! Every request of every operation fails in eight ways, at the database and at the destination. Afterwards
//! every backup that is listed as good is good, a retry ends right, and nothing unfinished is left.

use std::collections::BTreeSet;
use std::sync::Arc;

use s3db::backup::{BackupStatus, BackupType, Mode, RestoreOptions, Retention, VerifyLevel};
use s3db::store::fault::{Fault, Faulty};
use s3db::store::memory::Memory;
use s3db::store::{Quirks, Store};
use s3db::{Database, Result};
use serde_json::json;

use crate::world::{World, assert_same, backups, objects};

/// Where requests fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Database,
    Destination,
}

type Work = fn(Database) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

const OPERATIONS: [(&str, Work); 6] = [
    ("full", |db| Box::pin(async move { backups(&db).backup(BackupType::Full).await.map(drop) })),
    ("incremental", |db| Box::pin(async move { backups(&db).backup(BackupType::Incremental).await.map(drop) })),
    ("cleanup", |db| Box::pin(async move { backups(&db).cleanup(false).await.map(drop) })),
    ("delete", |db| {
        Box::pin(async move {
            let plugin = backups(&db);
            let list = plugin.list_backups(&Default::default()).await?;
            let Some(newest) = list.first() else { return Ok(()) };
            plugin.delete(&newest.id).await
        })
    }),
    ("pin", |db| {
        Box::pin(async move {
            let plugin = backups(&db);
            let list = plugin.list_backups(&Default::default()).await?;
            let Some(newest) = list.first() else { return Ok(()) };
            plugin.pin(&newest.id).await?;
            plugin.unpin(&newest.id).await
        })
    }),
    ("verify", |db| {
        Box::pin(async move {
            let plugin = backups(&db);
            let list = plugin.list_backups(&Default::default()).await?;
            let Some(newest) = list.first() else { return Ok(()) };
            plugin.verify(&newest.id, VerifyLevel::Full).await.map(drop)
        })
    }),
];

struct Stage {
    world: World,
    db: Database,
    database: Arc<Faulty>,
    destination: Arc<Faulty>,
}

/// A database with a full backup, and a change since.
async fn stage(quirks: Quirks) -> Stage {
    let world = World::new(quirks);
    let first = world.open().await;
    let r = first.create_resource(crate::world::definition("r")).await.unwrap();
    for id in ["a", "b"] {
        r.insert(json!({"id": id, "name": id, "country": "BR"})).await.unwrap();
    }
    backups(&first).backup(BackupType::Full).await.unwrap();
    world.pass(86_400).await;
    r.delete("a").await.unwrap();
    r.insert(json!({"id": "c", "name": "c"})).await.unwrap();
    world.pass(10).await;
    let database = Arc::new(Faulty::new(world.source.clone()));
    let destination = Arc::new(Faulty::new(world.shelf.clone()));
    let plugin = s3db::backup::BackupPlugin::builder()
        .destination_store(destination.clone())
        .clock(world.clock.clone())
        .retention(Retention { last: Some(1), ..Retention::default() })
        .build()
        .unwrap();
    let db = world.connect(database.clone(), plugin).await;
    Stage { world, db, database, destination }
}

/// What has to hold after anything.
async fn check(world: &World, what: &str) {
    let fresh = world.open().await;
    let plugin = backups(&fresh);
    for backup in plugin.list_backups(&Default::default()).await.unwrap() {
        if backup.status != BackupStatus::Completed {
            continue;
        }
        let verified = plugin.verify(&backup.id, VerifyLevel::Full).await.unwrap();
        assert!(verified.valid, "{what}: {} is listed as good: {:?}", backup.id, verified.problems);
    }
    // The next one ends, builds on what is good, and sweeps what is not. A process that died held the lease.
    world.pass(31).await;
    let made = plugin.backup(BackupType::Incremental).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let (store, copy) = world.empty().await;
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    assert_same(&store, &world.source, what);
    let files = world.shelf.snapshot();
    let folders: BTreeSet<&str> =
        files.keys().filter_map(|key| key.split_once('/')).map(|(folder, _)| folder).collect();
    for folder in folders.into_iter().filter(|folder| *folder != "pins") {
        let manifest = files.get(&format!("{folder}/manifest.json"));
        let text = manifest.map(|m| String::from_utf8_lossy(&m.body).into_owned());
        let leaving = files.contains_key(&format!("{folder}/deleting.json"));
        assert!(text.is_some() || leaving, "{what}: {folder} is not marked");
        if text.is_some_and(|text| text.contains("\"aborted\"")) {
            let left = files.keys().filter(|key| key.starts_with(&format!("{folder}/"))).count();
            assert_eq!(left, 1, "{what}: {folder} is not swept");
        }
    }
    let rows = fresh.resource("backup_metadata").await.unwrap();
    for row in rows.list(&s3db::Query::all()).await.unwrap().items {
        assert_ne!(row.attributes["status"], "in_progress", "{what}: {}", row.id);
    }
    assert!(fresh.doctor(true, &|_, _| ()).await.unwrap().is_healthy(), "{what}");
}

async fn requests_of(work: Work, quirks: Quirks, side: Side) -> usize {
    let stage = stage(quirks).await;
    let faulty = faulty(&stage, side);
    let before = faulty.sent();
    work(stage.db.clone()).await.unwrap();
    faulty.sent() - before
}

fn faulty(stage: &Stage, side: Side) -> Arc<Faulty> {
    match side {
        Side::Database => stage.database.clone(),
        Side::Destination => stage.destination.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_of_every_operation_may_fail_in_every_way() {
    let mut points = 0;
    let mut failed = 0;
    for (name, work) in OPERATIONS {
        for side in [Side::Database, Side::Destination] {
            let requests = requests_of(work, Quirks::S3, side).await;
            for nth in 1..=requests {
                for fault in Fault::ALL {
                    let stage = stage(Quirks::S3).await;
                    let what = format!("{name}, request {nth} of {requests} to the {side:?}: {fault:?}");
                    let faulty = faulty(&stage, side);
                    faulty.plan(nth, fault);
                    let before: BTreeSet<String> = listed(&stage.world).await;
                    let done = work(stage.db.clone()).await;
                    failed += usize::from(done.is_err());
                    faulty.heal();
                    faulty.land().await;
                    if done.is_ok() && ["full", "incremental"].contains(&name) {
                        let after = listed(&stage.world).await;
                        assert_eq!(after.len(), before.len() + 1, "{what}: what was answered is there");
                    }
                    check(&stage.world, &what).await;
                    points += 1;
                }
            }
        }
    }
    println!("{points} of {points} points recovered; {failed} operations ended in an error");
    assert!(points > 1000);
}

async fn listed(world: &World) -> BTreeSet<String> {
    let db = world.open().await;
    let list = backups(&db).list_backups(&Default::default()).await.unwrap();
    list.into_iter().filter(|b| b.status == BackupStatus::Completed).map(|b| b.id).collect()
}

/// A target: empty, or with other records.
async fn target(world: &World, filled: bool) -> Arc<Memory> {
    let (store, db) = world.empty().await;
    if filled {
        let r = db.create_resource(crate::world::definition("r")).await.unwrap();
        r.insert(json!({"id": "b", "name": "old", "country": "FR"})).await.unwrap();
        r.insert(json!({"id": "z", "name": "other", "country": "BR"})).await.unwrap();
    }
    store
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_was_cut_off_anywhere_goes_on() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    let r = db.create_resource(crate::world::definition("r")).await.unwrap();
    for id in ["a", "b"] {
        r.insert(json!({"id": id, "name": id, "country": "BR"})).await.unwrap();
    }
    backups(&db).backup(BackupType::Full).await.unwrap();
    r.update("a", json!({"country": "PT"})).await.unwrap();
    world.pass(10).await;
    let id = backups(&db).backup(BackupType::Incremental).await.unwrap().id;
    let mut points = 0;
    for (filled, mode) in [(false, Mode::Fail), (true, Mode::Overwrite), (true, Mode::Replace), (true, Mode::Skip)] {
        let options = RestoreOptions { mode, ..RestoreOptions::default() };
        let run = async |store: Arc<dyn Store>| {
            let plugin = world.builder().build().unwrap();
            let copy = world.connect(store, plugin).await;
            backups(&copy).restore(&id, &options).await
        };
        let store = target(&world, filled).await;
        let faulty = Arc::new(Faulty::new(store.clone()));
        run(faulty.clone()).await.unwrap();
        let (requests, wanted) = (faulty.sent(), objects(&store));
        for nth in 2..=requests {
            for fault in Fault::ALL {
                let what = format!("{mode} restore, request {nth} of {requests}: {fault:?}");
                let store = target(&world, filled).await;
                let faulty = Arc::new(Faulty::new(store.clone()));
                faulty.plan(nth, fault);
                let first = run(faulty.clone()).await;
                faulty.heal();
                faulty.land().await;
                if first.is_err() {
                    run(store.clone()).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
                }
                let copy = world.connect(store.clone(), world.builder().build().unwrap()).await;
                let report = copy.doctor(true, &|_, _| ()).await.unwrap();
                assert!(report.is_healthy(), "{what}: {report:?}");
                let found = objects(&store);
                let names = |objects: &crate::world::Objects| objects.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&found), names(&wanted), "{what}");
                for (key, object) in &found {
                    if key.starts_with("resource=") {
                        let same = wanted[key].2 == object.2 && wanted[key].0 == object.0;
                        // These were there before, each time with another token.
                        let own = key.ends_with("id=z") || (mode == Mode::Skip && key.ends_with("id=b"));
                        assert!(same || own, "{what}: {key}");
                    }
                }
                let brazil = s3db::Query::all().partition("byCountry", json!({"country": "BR"}));
                let r = copy.resource("r").await.unwrap();
                let by_index = r.list(&brazil).await.unwrap().items.len();
                let all = r.list(&s3db::Query::filter(json!({"country": "BR"}))).await.unwrap().items.len();
                assert_eq!(by_index, all, "{what}");
                points += 1;
            }
        }
    }
    println!("{points} of {points} restores that were cut off or disturbed ended right");
    assert!(points > 500);
}
