//! Every file of a small chain damaged in turn: found by `verify`, and by `restore` before it writes.

use std::sync::Arc;

use s3db::backup::{BackupPlugin, BackupType, EncryptionSettings, RestoreOptions, VerifyLevel};
use s3db::store::memory::Memory;
use s3db::store::{Precondition, Put, Quirks, Store};
use serde_json::json;

use crate::world::{World, backups, fill, objects};

async fn chain(world: &World, plugin: impl Fn() -> BackupPlugin) -> (Vec<String>, s3db::Database) {
    let db = world.connect(world.source.clone(), plugin()).await;
    fill(&db).await;
    let mut ids = Vec::new();
    // An older one of the same kind, whose files can be put in place of later ones.
    ids.push(backups(&db).backup(BackupType::Full).await.unwrap().id);
    let users = db.resource("users").await.unwrap();
    users.insert(json!({"id": "eva", "name": "Eva"})).await.unwrap();
    world.pass(10).await;
    ids.push(backups(&db).backup(BackupType::Full).await.unwrap().id);
    users.delete("ana").await.unwrap();
    users.update("eva", json!({"name": "Evamaria"})).await.unwrap();
    world.pass(10).await;
    ids.push(backups(&db).backup(BackupType::Incremental).await.unwrap().id);
    (ids, db)
}

async fn put(shelf: &Memory, key: &str, body: Vec<u8>) {
    shelf.put(key, Put { body: body.into(), ..Put::default() }, Precondition::None).await.unwrap();
}

/// The ways in which a file is damaged; `None` is a file that is gone.
fn damages(bytes: &[u8], older: Option<&[u8]>) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let flipped = |at: usize| {
        let mut other = bytes.to_vec();
        other[at] ^= 0x10;
        Some(other)
    };
    let mut ways = vec![
        ("a bit in the middle", flipped(bytes.len() / 2)),
        ("the first bit", flipped(0)),
        ("the last byte", flipped(bytes.len() - 1)),
        ("cut by a byte", Some(bytes[..bytes.len() - 1].to_vec())),
        ("empty", Some(Vec::new())),
        ("longer by a byte", Some([bytes, b"\n"].concat())),
        ("missing", None),
    ];
    ways.extend(older.filter(|older| *older != bytes).map(|older| ("an older one", Some(older.to_vec()))));
    ways
}

async fn every_damage_is_found(world: World, plugin: impl Fn() -> BackupPlugin) -> usize {
    let (ids, db) = chain(&world, &plugin).await;
    let (older, tip) = (ids[0].clone(), ids[2].clone());
    let files = world.shelf.snapshot();
    let mut found = 0;
    let own: Vec<String> = files.keys().filter(|k| k.contains(&ids[1]) || k.contains(&tip)).cloned().collect();
    for key in own {
        let bytes = files[&key].body.to_vec();
        let same_of_older = key.replace(&ids[1], &older).replace(&tip, &older);
        let older = files.get(&same_of_older).map(|object| object.body.to_vec());
        for (way, damaged) in damages(&bytes, older.as_deref()) {
            match &damaged {
                Some(body) => put(&world.shelf, &key, body.clone()).await,
                None => world.shelf.delete(&key, Precondition::None).await.unwrap(),
            }
            let what = format!("{key}: {way}");
            // Keys that were opened before are remembered by a plugin; each attempt is a process of its own.
            let fresh = world.connect(world.source.clone(), plugin()).await;
            let verified = backups(&fresh).verify(&tip, VerifyLevel::Full).await;
            assert!(verified.as_ref().is_ok_and(|report| !report.valid) || verified.is_err(), "{what}: {verified:?}");
            let target = world.store();
            let copy = world.connect(target.clone(), plugin()).await;
            let restored = backups(&copy).restore(&tip, &RestoreOptions::default()).await;
            // A list of keys that is damaged beside a key that opens the backup is no harm to a restore.
            assert!(restored.is_err(), "{what}: {restored:?}");
            assert!(objects(&target).is_empty(), "{what}: something was written");
            found += 1;
            put(&world.shelf, &key, bytes.clone()).await;
        }
    }
    assert!(backups(&db).verify(&tip, VerifyLevel::Full).await.unwrap().valid);
    found
}

#[tokio::test(start_paused = true)]
async fn every_damaged_file_is_found_by_verify_and_by_restore_before_it_writes() {
    let world = World::new(Quirks::S3);
    let shelf = world.shelf.clone();
    let clock = world.clock.clone();
    let found = every_damage_is_found(world, move || {
        BackupPlugin::builder().destination_store(shelf.clone()).clock(clock.clone()).build().unwrap()
    })
    .await;
    println!("damaged files: {found} of {found} were found before anything was written");
    assert!(found >= 80);
}

#[tokio::test(start_paused = true)]
async fn every_damaged_file_of_an_encrypted_chain_is_found() {
    let world = World::new(Quirks::S3);
    let keys = tempfile::tempdir().unwrap();
    let identity = crate::encryption::identity(keys.path(), "a");
    let shelf = world.shelf.clone();
    let clock = world.clock.clone();
    let folder = Arc::new(keys);
    let recipient = identity.clone();
    let found = every_damage_is_found(world, move || {
        let encryption = EncryptionSettings {
            recipients: vec![recipient.clone()],
            identity_files: vec![folder.path().join("a.key")],
            ..EncryptionSettings::default()
        };
        BackupPlugin::builder()
            .destination_store(shelf.clone())
            .clock(clock.clone())
            .encryption(encryption)
            .build()
            .unwrap()
    })
    .await;
    println!("damaged files of an encrypted chain: {found} of {found} were found before anything was written");
    assert!(found >= 100);
}
