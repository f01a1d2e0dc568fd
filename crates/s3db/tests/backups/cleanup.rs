//! Retention, pins, deletes, and what is left of unfinished backups.

use s3db::ErrorKind;
use s3db::backup::{BackupType, Retention, VerifyLevel};
use s3db::store::{Precondition, Put, Quirks, Store};
use serde_json::json;

use crate::world::{World, backups, fill};

const DAY: u64 = 86_400;

fn ids(rows: &[s3db::backup::CleanupRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_the_real_run_does() {
    let world = World::new(Quirks::S3);
    let plugin = world.builder().retention(Retention { daily: Some(3), ..Retention::default() }).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    let mut made = Vec::new();
    for day in 0..6 {
        let kind = if day % 3 == 0 { BackupType::Full } else { BackupType::Incremental };
        made.push(backups(&db).backup(kind).await.unwrap().id);
        db.resource("users").await.unwrap().insert(json!({"name": format!("n{day}")})).await.unwrap();
        world.pass(DAY).await;
    }
    let pinned = made[0].clone();
    backups(&db).pin(&pinned).await.unwrap();
    assert!(backups(&db).verify(&made[2], VerifyLevel::Full).await.unwrap().valid);
    let before = world.shelf.snapshot().len();
    let dry = backups(&db).cleanup(true).await.unwrap();
    assert_eq!(world.shelf.snapshot().len(), before, "a dry run changes nothing");
    let real = backups(&db).cleanup(false).await.unwrap();
    assert_eq!(ids(&dry.kept), ids(&real.kept));
    assert_eq!(ids(&dry.deleted), ids(&real.deleted));
    // Days 3 to 5 by the rule; day 2 as the newest verified; days 0 and 1 as its parents.
    assert_eq!(ids(&real.deleted), Vec::<&str>::new(), "{:?}", real.kept);
    let reasons: Vec<String> = real.kept.iter().map(|row| row.reasons.join(", ")).collect();
    assert_eq!(reasons[3], "newest verified");
    assert_eq!(reasons[4], format!("parent of {}", made[2]));
    assert_eq!(reasons[5], format!("pinned, parent of {}", made[1]));
    assert!(backups(&db).verify(&made[5], VerifyLevel::Quick).await.unwrap().valid);
    // A later one that is verified frees the older chain, but for the pinned one.
    assert!(backups(&db).verify(&made[5], VerifyLevel::Sample).await.unwrap().valid);
    let real = backups(&db).cleanup(false).await.unwrap();
    assert_eq!(ids(&real.deleted), [made[2].as_str(), made[1].as_str()]);
    backups(&db).unpin(&pinned).await.unwrap();
    let real = backups(&db).cleanup(false).await.unwrap();
    assert_eq!(ids(&real.deleted), [pinned.as_str()]);
    let listed = backups(&db).list_backups(&Default::default()).await.unwrap();
    assert_eq!(listed.len(), 3, "rows went with the objects");
    assert!(world.shelf.snapshot().keys().all(|key| !key.contains(&pinned)));
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_nothing_is_deleted_and_other_databases_are_left_alone() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    for _ in 0..3 {
        backups(&db).backup(BackupType::Full).await.unwrap();
        world.pass(DAY).await;
    }
    assert_eq!(backups(&db).cleanup(false).await.unwrap().deleted.len(), 0);
    let (_, other) = world.empty().await;
    let strict = Retention { last: Some(1), ..Retention::default() };
    let theirs = world.connect(world.store(), world.builder().retention(strict.clone()).build().unwrap()).await;
    fill(&theirs).await;
    backups(&theirs).backup(BackupType::Full).await.unwrap();
    assert_eq!(backups(&theirs).cleanup(false).await.unwrap().deleted.len(), 0);
    assert!(!backups(&other).cleanup(false).await.unwrap().warnings.is_empty(), "it never made a backup");
    let own = world.connect(world.source.clone(), world.builder().retention(strict).build().unwrap()).await;
    let report = backups(&own).cleanup(false).await.unwrap();
    assert_eq!((report.kept.len(), report.deleted.len()), (1, 2), "one that would delete everything keeps the newest");
}

#[tokio::test(start_paused = true)]
async fn deletes_keep_what_others_build_on_what_is_pinned_and_what_is_read() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let plugin = backups(&db);
    let full = plugin.backup(BackupType::Full).await.unwrap().id;
    world.pass(10).await;
    let next = plugin.backup(BackupType::Incremental).await.unwrap().id;
    assert_eq!(plugin.delete(&full).await.unwrap_err().kind(), ErrorKind::Conflict);
    plugin.pin(&next).await.unwrap();
    assert_eq!(plugin.delete(&next).await.unwrap_err().kind(), ErrorKind::Conflict);
    plugin.unpin(&next).await.unwrap();
    // A reader's lock, as another process would write it.
    let lock = json!({"owner": "restore by process 1", "atMs": world.shelf.now_ms()}).to_string();
    let sealed = seal(&lock);
    let put = Put { body: sealed.into(), ..Put::default() };
    world.shelf.put("pins/01.json", put, Precondition::None).await.unwrap();
    assert_eq!(plugin.delete(&next).await.unwrap_err().kind(), ErrorKind::Busy);
    assert!(plugin.verify(&next, VerifyLevel::Full).await.unwrap().valid, "it is still there");
    // The reader died: its lock is not renewed.
    world.pass(200).await;
    plugin.delete(&next).await.unwrap();
    plugin.delete(&full).await.unwrap();
    assert!(world.shelf.snapshot().is_empty(), "{:?}", world.shelf.snapshot().keys());
    assert_eq!(plugin.delete(&full).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(plugin.list_backups(&Default::default()).await.unwrap().is_empty());
}

fn seal(text: &str) -> String {
    use sha2::Digest as _;
    let digest: String = sha2::Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    format!("{},\"sha256\":\"{digest}\"}}\n", text.strip_suffix('}').unwrap())
}

/// Spoils a file of a backup.
async fn lose(world: &World, id: &str) {
    let key = world.shelf.snapshot().into_keys().find(|k| k.contains(id) && k.contains("/segments/")).unwrap();
    world.shelf.delete(&key, Precondition::None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_whole_never_stands_in_the_place_of_a_good_one() {
    let world = World::new(Quirks::S3);
    let plugin = world.builder().retention(Retention { last: Some(1), ..Retention::default() }).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(backups(&db).backup(BackupType::Full).await.unwrap().id);
        world.pass(DAY).await;
    }
    let orphan = backups(&db).backup(BackupType::Incremental).await.unwrap().id;
    assert!(backups(&db).verify(&ids[2], VerifyLevel::Full).await.unwrap().valid);
    lose(&world, &ids[2]).await;
    let list = backups(&db).list_backups(&Default::default()).await.unwrap();
    let states: Vec<&str> = list.iter().map(|b| b.status.as_str()).collect();
    assert_eq!(states, ["failed", "failed", "completed", "completed"], "it, and what builds on it: {list:?}");
    assert!(!backups(&db).verify(&ids[2], VerifyLevel::Full).await.unwrap().valid);
    let report = backups(&db).cleanup(false).await.unwrap();
    assert_eq!(ids_of(&report.kept), [ids[1].as_str()], "{report:?}");
    assert_eq!(report.kept[0].reasons, ["last", "newest"]);
    assert_eq!(ids_of(&report.deleted), [ids[0].as_str()]);
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(world.shelf.snapshot().keys().any(|key| key.contains(&orphan)), "what is not whole is left alone");
    assert!(world.shelf.snapshot().keys().all(|key| !key.ends_with("verified.json")), "it counts as verified no more");
}

fn ids_of(rows: &[s3db::backup::CleanupRow]) -> Vec<&str> {
    ids(rows)
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_finished_while_its_parent_is_deleted_keeps_it() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let full = backups(&db).backup(BackupType::Full).await.unwrap().id;
    db.resource("users").await.unwrap().delete("ana").await.unwrap();
    world.pass(10).await;
    let child = backups(&db).backup(BackupType::Incremental).await.unwrap().id;
    // The child appears after the delete has looked for children, and its lock is gone by then.
    let held: Vec<_> = world.shelf.snapshot().into_iter().filter(|(key, _)| key.contains(&child)).collect();
    for (key, _) in &held {
        world.shelf.delete(key, Precondition::None).await.unwrap();
    }
    let ambush = std::sync::Arc::new(crate::slow::Ambush::new(world.shelf.clone(), "pins/", held));
    let plugin = s3db::backup::BackupPlugin::builder().destination_store(ambush).clock(world.clock.clone());
    let other = world.connect(world.source.clone(), plugin.build().unwrap()).await;
    let error = backups(&other).delete(&full).await.unwrap_err();
    assert!(error.to_string().contains(&child), "{error}");
    assert!(backups(&db).verify(&child, VerifyLevel::Full).await.unwrap().valid);
}

#[tokio::test(start_paused = true)]
async fn keys_are_changed_by_one_process_at_a_time() {
    let world = World::new(Quirks::S3);
    let keys = tempfile::tempdir().unwrap();
    let ours = crate::encryption::identity(keys.path(), "ours");
    let connect = async || {
        let encryption = s3db::backup::EncryptionSettings {
            recipients: vec![ours.clone()],
            identity_files: vec![keys.path().join("ours.key")],
            ..Default::default()
        };
        world.connect(world.source.clone(), world.builder().encryption(encryption).build().unwrap()).await
    };
    let (a, b) = (connect().await, connect().await);
    fill(&a).await;
    let id = backups(&a).backup(BackupType::Full).await.unwrap().id;
    let (first, second) = (backups(&a), backups(&b));
    for _ in 0..3 {
        let (one, two) = futures::join!(first.rekey(None), second.rekey(None));
        assert!(one.is_ok() || two.is_ok());
        for error in [one.err(), two.err()].into_iter().flatten() {
            assert_eq!(error.kind(), ErrorKind::Busy);
        }
        let fresh = connect().await;
        let report = backups(&fresh).verify(&id, VerifyLevel::Full).await.unwrap();
        assert!(report.valid && report.opened, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_say_how_old_the_last_good_one_is_and_what_is_stored() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let plugin = backups(&db);
    let none = plugin.metrics().await.unwrap();
    assert_eq!((none.kept, none.last_success_age, none.last_verification_age), (0, None, None));
    plugin.backup(BackupType::Full).await.unwrap();
    db.resource("users").await.unwrap().delete("ana").await.unwrap();
    world.pass(DAY).await;
    let last = plugin.backup(BackupType::Incremental).await.unwrap();
    world.pass(60).await;
    assert!(plugin.verify(&last.id, VerifyLevel::Full).await.unwrap().valid);
    world.pass(40).await;
    plugin.backup_with(BackupType::Full, &|_| plugin.cancel_all()).await.unwrap_err();
    let now = plugin.metrics().await.unwrap();
    assert_eq!((now.backups["completed"], now.backups["cancelled"], now.backups["failed"]), (2, 1, 0));
    assert_eq!((now.kept, now.last_success_age, now.last_verification_age), (2, Some(100_000), Some(40_000)));
    let stored: u64 = plugin.list_backups(&Default::default()).await.unwrap().iter().map(|b| b.size).sum();
    assert_eq!(now.stored.values().sum::<u64>(), stored);
    lose(&world, &last.id).await;
    let damaged = plugin.metrics().await.unwrap();
    assert_eq!((damaged.kept, damaged.last_success_age), (1, Some(86_500_000)), "the last good one is older");
}

#[tokio::test(start_paused = true)]
async fn a_backup_whose_parent_is_gone_says_which() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let full = backups(&db).backup(BackupType::Full).await.unwrap().id;
    world.pass(10).await;
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap().id;
    for key in world.shelf.snapshot().into_keys().filter(|key| key.contains(&full)) {
        world.shelf.delete(&key, Precondition::None).await.unwrap();
    }
    let (_, copy) = world.empty().await;
    let error = backups(&copy).restore(&next, &Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains(&full) && error.to_string().contains(&next), "{error}");
    let report = backups(&db).verify(&next, VerifyLevel::Quick).await.unwrap();
    assert!(!report.valid && report.problems[0].problem.contains(&full), "{report:?}");
}
