//! Writers beside a backup, two backups at once, and backups that are ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use s3db::backup::{BackupStatus, BackupType, RestoreOptions};
use s3db::store::clock::Clock as _;
use s3db::store::{Quirks, Store};
use s3db::{ErrorKind, ResourceDefinition};
use serde_json::json;

use crate::slow::Slow;
use crate::world::{World, backups, fill};

#[tokio::test(start_paused = true)]
async fn every_object_of_a_backup_is_a_state_that_it_really_had() {
    for seed in 0..12u64 {
        let world = World::new(Quirks::S3);
        let store = Arc::new(Slow::new(world.source.clone(), Duration::from_millis(20)));
        let plugin = world.builder().concurrency(2).build().unwrap();
        let db = world.connect(store.clone(), plugin).await;
        let r = db.create_resource(ResourceDefinition::new("r").attribute("n", "number")).await.unwrap();
        // Every value that a record ever had.
        let mut history: BTreeMap<String, Vec<Option<i64>>> = BTreeMap::new();
        for n in 0..30 {
            r.insert(json!({"id": format!("{n:02}"), "n": 0})).await.unwrap();
            history.insert(format!("{n:02}"), vec![Some(0)]);
        }
        let acknowledged: BTreeMap<String, usize> = history.keys().map(|id| (id.clone(), 0)).collect();
        let writer = async {
            for step in 0..60u64 {
                let id = format!("{:02}", (step * 7 + seed) % 33);
                let states = history.entry(id.clone()).or_default();
                let there = states.last().is_some_and(Option::is_some);
                if there && step % 5 == 0 {
                    r.delete(&id).await.unwrap();
                    states.push(None);
                } else if there {
                    r.update(&id, json!({"n": step})).await.unwrap();
                    states.push(Some(step as i64));
                } else {
                    r.insert(json!({"id": id, "n": step})).await.unwrap();
                    states.push(Some(step as i64));
                }
            }
        };
        let plugin = backups(&db);
        let (made, ()) = futures::join!(plugin.backup(BackupType::Full), writer);
        let made = made.unwrap();
        let (_, copy) = world.empty().await;
        backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
        let restored = copy.resource("r").await.unwrap();
        for (id, states) in &history {
            let found = restored.find(id).await.unwrap().map(|record| record.attributes["n"].as_i64().unwrap());
            let possible = states.contains(&found) || (found.is_none() && !acknowledged.contains_key(id));
            assert!(possible, "seed {seed}: {id} is {found:?}, it was {states:?}");
        }
        // What came after is in the next one.
        world.pass(10).await;
        let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
        let (_, copy) = world.empty().await;
        backups(&copy).restore(&next.id, &RestoreOptions::default()).await.unwrap();
        let restored = copy.resource("r").await.unwrap();
        for (id, states) in &history {
            let found = restored.find(id).await.unwrap().map(|record| record.attributes["n"].as_i64().unwrap());
            assert_eq!(found, states.last().copied().flatten(), "seed {seed}: {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_backup_is_busy_and_a_dead_one_is_taken_over() {
    let world = World::new(Quirks::S3);
    let slow: Arc<dyn Store> = Arc::new(Slow::new(world.source.clone(), Duration::from_millis(500)));
    let db = world.connect(slow, world.builder().concurrency(1).build().unwrap()).await;
    fill(&db).await;
    let other = world.open().await;
    let begun = world.clock.monotonic();
    let second = async {
        world.pass(3).await;
        backups(&other).backup(BackupType::Full).await
    };
    let plugin = backups(&db);
    let (first, second) = futures::join!(plugin.backup(BackupType::Full), second);
    assert_eq!(first.unwrap().status, BackupStatus::Completed);
    let busy = second.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(busy.to_string().contains("another backup"), "{busy}");
    // A process that dies in the middle: its future is dropped, and its lease runs out.
    {
        let dying = std::pin::pin!(plugin.backup(BackupType::Full));
        let soon = std::pin::pin!(world.pass(8));
        futures::future::select(dying, soon).await;
    }
    let dead: Vec<BackupStatus> =
        backups(&other).list_backups(&Default::default()).await.unwrap().into_iter().map(|b| b.status).collect();
    assert!(dead.contains(&BackupStatus::Completed), "{dead:?}");
    let young = backups(&other).backup(BackupType::Full).await.unwrap_err();
    assert_eq!(young.kind(), ErrorKind::Busy, "it may still live");
    world.pass(30).await;
    let next = backups(&other).backup(BackupType::Full).await.unwrap();
    assert_eq!(next.status, BackupStatus::Completed);
    assert!((world.clock.monotonic() - begun) < Duration::from_secs(120));
    let list = backups(&other).list_backups(&Default::default()).await.unwrap();
    assert_eq!(list.iter().filter(|b| b.status == BackupStatus::Completed).count(), 2);
    assert_eq!(list.iter().filter(|b| b.status == BackupStatus::InProgress).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_backup_ends_when_it_is_cancelled_here_or_elsewhere() {
    for elsewhere in [false, true] {
        let world = World::new(Quirks::S3);
        let slow: Arc<dyn Store> = Arc::new(Slow::new(world.source.clone(), Duration::from_millis(700)));
        let db = world.connect(slow, world.builder().concurrency(1).build().unwrap()).await;
        let r = db.create_resource(ResourceDefinition::new("r").attribute("n", "number")).await.unwrap();
        for n in 0..200 {
            let fast = world.open().await;
            fast.resource("r").await.unwrap().insert(json!({"n": n})).await.unwrap();
        }
        drop(r);
        let mut events = backups(&db).subscribe();
        let canceller = async {
            world.pass(30).await;
            let other = if elsewhere { world.open().await } else { db.clone() };
            let list = backups(&other).list_backups(&Default::default()).await.unwrap();
            assert_eq!(list[0].status, BackupStatus::InProgress, "{list:?}");
            assert!(list[0].phase.is_some());
            let at = world.clock.monotonic();
            backups(&other).cancel(&list[0].id).await.unwrap();
            (list[0].id.clone(), at)
        };
        let plugin = backups(&db);
        let (ended, (id, at)) = futures::join!(plugin.backup(BackupType::Full), canceller);
        let took = world.clock.monotonic() - at;
        let most = if elsewhere { 5 + 4 } else { 1 + 4 };
        assert!(took < Duration::from_secs(most), "{took:?}: the slow store's own requests included");
        let error = ended.unwrap_err();
        assert_eq!(error.details().unwrap()["status"], "cancelled");
        let other = world.open().await;
        let list = backups(&other).list_backups(&Default::default()).await.unwrap();
        assert_eq!((list.len(), list[0].status), (1, BackupStatus::Cancelled));
        let left: Vec<String> = world.shelf.snapshot().into_keys().filter(|k| k.contains(&id)).collect();
        assert_eq!(left, [format!("{id}/manifest.json")], "a mark, and nothing else");
        assert_eq!(backups(&other).cancel(&id).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(backups(&other).cancel("x").await.unwrap_err().kind(), ErrorKind::NotFound);
        let mut told = Vec::new();
        while let Some(s3db::Delivery::Event(event)) = events.try_next() {
            told.push(serde_json::to_value(&*event).unwrap()["event"].clone());
        }
        assert_eq!(told.first().unwrap(), "backup_start");
        assert_eq!(told.last().unwrap(), "backup_error");
        // A day later the mark goes too.
        world.pass(2 * 86_400).await;
        backups(&other).cleanup(false).await.unwrap();
        assert!(world.shelf.snapshot().keys().all(|key| !key.contains(&id)));
    }
}
