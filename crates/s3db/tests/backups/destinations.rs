//! Folders, buckets, several of them, and one of them failing.

use std::sync::Arc;

use s3db::ErrorKind;
use s3db::backup::{
    BackupPlugin, BackupStatus, BackupType, Compression, Credentials, DestinationSettings, RestoreOptions, Strategy,
    VerifyLevel,
};
use s3db::store::fault::{Fault, Faulty};
use s3db::store::memory::Memory;
use s3db::store::{Precondition, Put, Quirks, Store};
use serde_json::json;

use crate::world::{World, assert_same, backups, fill, folder};

#[tokio::test]
async fn a_bucket_of_an_s3_server_holds_backups() {
    let server = s3_server::Server::start(s3_server::Behaviour::default()).await.unwrap();
    let world = World::new(Quirks::S3);
    let destination = DestinationSettings::S3 {
        bucket: s3_server::BUCKET.to_owned(),
        path: Some("backups/{year}/{month}".to_owned()),
        region: Some("us-east-1".to_owned()),
        storage_class: Some("STANDARD_IA".to_owned()),
        endpoint: Some(server.endpoint().to_owned()),
        credentials: Some(Credentials {
            access_key_id: Some(s3_server::ACCESS_KEY.to_owned()),
            secret_access_key: Some(s3_server::SECRET_KEY.to_owned()),
            ..Credentials::default()
        }),
        compression: Some(Compression::Zstd),
    };
    let plugin = || BackupPlugin::builder().destination(destination.clone()).build().unwrap();
    let db = world.connect(world.source.clone(), plugin()).await;
    fill(&db).await;
    let full = backups(&db).backup(BackupType::Full).await.unwrap();
    assert!(full.destinations[0].path.contains('/'), "{:?}", full.destinations);
    db.resource("users").await.unwrap().delete("ana").await.unwrap();
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!((next.status, next.counts.deleted), (BackupStatus::Completed, 1));
    assert!(backups(&db).verify(&next.id, VerifyLevel::Full).await.unwrap().valid);
    let store = world.store();
    let copy = world.connect(store.clone(), plugin()).await;
    backups(&copy).restore(&next.id, &RestoreOptions::default()).await.unwrap();
    assert_same(&store, &world.source, "from a bucket");
    // Without settings, by a URL.
    let from = server.url("backups");
    let bare = world.connect(world.store(), BackupPlugin::builder().from(from).build().unwrap()).await;
    assert_eq!(backups(&bare).list_backups(&Default::default()).await.unwrap().len(), 2);
    backups(&db).delete(&next.id).await.unwrap();
    assert_eq!(backups(&db).list_backups(&Default::default()).await.unwrap().len(), 1);
}

fn two(world: &World, first: Arc<dyn Store>, strategy: Strategy) -> BackupPlugin {
    BackupPlugin::builder()
        .destination_store(first)
        .destination_store(world.shelf.clone())
        .strategy(strategy)
        .clock(world.clock.clone())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_of_two_destinations_fails_and_each_strategy_says_the_truth() {
    for (strategy, wanted) in [
        (Strategy::All, BackupStatus::Partial),
        (Strategy::Any, BackupStatus::Completed),
        (Strategy::Priority, BackupStatus::Completed),
    ] {
        for nth in [1usize, 4, 6] {
            let world = World::new(Quirks::S3);
            let broken = Arc::new(Faulty::new(world.store()));
            let db = world.connect(world.source.clone(), two(&world, broken.clone(), strategy)).await;
            fill(&db).await;
            broken.plan(nth, Fault::Kill);
            let made = backups(&db).backup(BackupType::Full).await.unwrap();
            assert_eq!(made.status, wanted, "{strategy:?}, request {nth}: {made:?}");
            let states: Vec<&str> = made.destinations.iter().map(|d| d.status.as_str()).collect();
            assert_eq!(states, ["failed", "completed"], "{strategy:?}");
            assert!(made.destinations[0].error.is_some());
            let store = world.store();
            let copy = world.connect(store.clone(), world.builder().build().unwrap()).await;
            backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
            assert_same(&store, &world.source, "from the other one");
            // The first is back: the next one needs a parent that both have, so it is a full one.
            broken.heal();
            let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
            assert_eq!(next.status, BackupStatus::Completed);
            assert_eq!(next.kind, BackupType::Full, "{:?}", next.reason);
            let taken = next.destinations.iter().filter(|d| d.status == "completed").count();
            assert_eq!(taken, if strategy == Strategy::Priority { 1 } else { 2 });
            let after = backups(&db).backup(BackupType::Incremental).await.unwrap();
            assert_eq!(after.kind, BackupType::Incremental);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_takes_each_backup_from_a_copy_that_is_whole() {
    let world = World::new(Quirks::S3);
    let first = world.store();
    let db = world.connect(world.source.clone(), two(&world, first.clone(), Strategy::All)).await;
    fill(&db).await;
    let full = backups(&db).backup(BackupType::Full).await.unwrap();
    db.resource("users").await.unwrap().insert(json!({"id": "eva", "name": "Eva"})).await.unwrap();
    world.pass(10).await;
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    // The full one is damaged at the first, the incremental at the second.
    spoil(&first, &full.id).await;
    spoil(&world.shelf, &next.id).await;
    assert!(!backups(&db).verify(&next.id, VerifyLevel::Full).await.unwrap().valid);
    let store = world.store();
    let copy = world.connect(store.clone(), two(&world, first.clone(), Strategy::All)).await;
    let report = backups(&copy).restore(&next.id, &RestoreOptions::default()).await.unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert_same(&store, &world.source, "from two halves");
    spoil(&world.shelf, &full.id).await;
    let nowhere = world.connect(world.store(), two(&world, first, Strategy::All)).await;
    let error = backups(&nowhere).restore(&next.id, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
}

async fn spoil(shelf: &Memory, id: &str) {
    let key = shelf.snapshot().into_keys().find(|key| key.contains(id) && key.contains("/segments/")).unwrap();
    let mut body = shelf.get(&key, None).await.unwrap().body.to_vec();
    let middle = body.len() / 2;
    body[middle] ^= 1;
    shelf.put(&key, Put { body: body.into(), ..Put::default() }, Precondition::None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn destinations_that_cannot_be_are_refused_by_name() {
    let world = World::new(Quirks::S3);
    let db = world.connect(world.source.clone(), BackupPlugin::builder().build().unwrap()).await;
    let error = backups(&db).backup(BackupType::Full).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.guidance().unwrap().contains("[[backup.destinations]]"));
    let refused = |destination| BackupPlugin::builder().destination(destination).build().unwrap_err().to_string();
    assert!(refused(DestinationSettings::filesystem("./b/{dat}")).contains("{dat}"));
    assert!(refused(DestinationSettings::filesystem("")).contains("empty path"));
    // A file where the folder should be.
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("file"), "x").unwrap();
    let plugin = BackupPlugin::builder().destination(folder(&place.path().join("file/backups"))).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    let error = backups(&db).backup(BackupType::Full).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("file"), "{error}");
    let again = backups(&db).backup(BackupType::Full).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable, "the lease was given back");
    // Inside the database itself.
    let data = place.path().join("data");
    let inside = BackupPlugin::builder().destination(folder(&data.join("backups"))).build().unwrap();
    let db = s3db::Database::builder(format!("file:{}", data.display())).plugin(inside).connect().await.unwrap();
    let error = backups(&db).backup(BackupType::Full).await.unwrap_err();
    assert!(error.to_string().contains("inside the database"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_vanishes_meanwhile_is_no_success() {
    let world = World::new(Quirks::S3);
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("backups");
    let plugin = BackupPlugin::builder().destination(folder(&target)).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    let gone = target.clone();
    let plugin = backups(&db);
    let vanish = |now: &s3db::backup::Progress| {
        if now.phase == "finishing" {
            std::fs::remove_dir_all(&gone).unwrap();
        }
    };
    let error = plugin.backup_with(BackupType::Full, &vanish).await.unwrap_err();
    assert_eq!(error.details().unwrap()["status"], "failed", "{error}");
    assert!(plugin.list_backups(&Default::default()).await.unwrap().iter().all(|b| b.status == BackupStatus::Failed));
}

#[tokio::test(start_paused = true)]
async fn destinations_that_overlap_are_refused() {
    let world = World::new(Quirks::S3);
    let place = tempfile::tempdir().unwrap();
    let at = |path: &str| folder(&place.path().join(path));
    std::fs::create_dir(place.path().join("a")).unwrap();
    std::os::unix::fs::symlink(place.path().join("a"), place.path().join("link")).unwrap();
    for (one, two) in [("a", "a"), ("a", "./a/"), ("a", "link"), ("a", "a/second/{date}"), ("a/x", "a")] {
        let plugin = BackupPlugin::builder().destination(at(one)).destination(at(two)).build().unwrap();
        let db = world.connect(world.store(), plugin).await;
        fill(&db).await;
        let error = backups(&db).backup(BackupType::Full).await.unwrap_err();
        assert!(error.to_string().contains("overlap"), "{one}, {two}: {error}");
    }
    let plugin = BackupPlugin::builder().destination(at("a")).destination(at("ab")).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    assert_eq!(backups(&db).backup(BackupType::Full).await.unwrap().status, BackupStatus::Completed);
}
