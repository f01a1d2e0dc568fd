//! Encrypted backups: who can read them, and what they give away.

use std::path::Path;

use age::secrecy::ExposeSecret as _;
use s3db::ErrorKind;
use s3db::backup::{BackupBuilder, BackupType, EncryptionSettings, RestoreOptions, VerifyLevel};
use s3db::store::Quirks;
use serde_json::json;

use crate::world::{World, assert_same, backups, fill, objects};

/// Makes a key, writes it to `NAME.key`, and returns its public part.
pub(crate) fn identity(folder: &Path, name: &str) -> String {
    let key = age::x25519::Identity::generate();
    std::fs::write(folder.join(format!("{name}.key")), format!("# a comment\n{}\n", key.to_string().expose_secret()))
        .unwrap();
    key.to_public().to_string()
}

fn to(world: &World, recipients: &[&str]) -> BackupBuilder {
    let recipients = recipients.iter().map(|r| (*r).to_owned()).collect();
    world.builder().encryption(EncryptionSettings { recipients, ..EncryptionSettings::default() })
}

#[tokio::test(start_paused = true)]
async fn whoever_has_a_key_restores_and_nobody_else_does() {
    let world = World::new(Quirks::S3);
    let keys = tempfile::tempdir().unwrap();
    let (ours, theirs) = (identity(keys.path(), "ours"), identity(keys.path(), "theirs"));
    identity(keys.path(), "stranger");
    let db = world.connect(world.source.clone(), to(&world, &[&ours, &theirs]).build().unwrap()).await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    for name in ["ours", "theirs"] {
        let store = world.store();
        let plugin = world.builder().identity_file(keys.path().join(format!("{name}.key"))).build().unwrap();
        let copy = world.connect(store.clone(), plugin).await;
        backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
        assert_same(&store, &world.source, name);
    }
    let store = world.store();
    let stranger = world.builder().identity_file(keys.path().join("stranger.key")).build().unwrap();
    for plugin in [stranger, world.builder().build().unwrap()] {
        let copy = world.connect(store.clone(), plugin).await;
        let refused = backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Integrity);
        assert!(refused.guidance().unwrap().contains("--identity"), "{refused:?}");
        assert!(objects(&store).is_empty());
        // Without a key the digests of files can still be compared, and the report says so.
        let report = backups(&copy).verify(&made.id, VerifyLevel::Full).await.unwrap();
        assert!(report.valid && !report.opened);
    }
    // The host that makes backups cannot read them: the next one is a full one, and says why.
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert!(next.reason.unwrap().contains("no key that opens it"));
}

#[tokio::test(start_paused = true)]
async fn a_passphrase_opens_what_it_closed_and_builds_chains() {
    let world = World::new(Quirks::S3);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("phrase"), "correct backup battery\n").unwrap();
    let encryption = EncryptionSettings { passphrase_file: Some("phrase".into()), ..EncryptionSettings::default() };
    let plugin =
        || world.builder().folder(folder.path()).encryption(encryption.clone()).passphrase_work(10).build().unwrap();
    let db = world.connect(world.source.clone(), plugin()).await;
    fill(&db).await;
    backups(&db).backup(BackupType::Full).await.unwrap();
    db.resource("users").await.unwrap().insert(json!({"id": "eva", "name": "Eva"})).await.unwrap();
    world.pass(10).await;
    let db = world.connect(world.source.clone(), plugin()).await;
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!(next.counts.stored, 1, "the parent was opened by the same passphrase: {:?}", next.reason);
    for (phrase, opens) in [("correct backup battery", true), ("wrong", false)] {
        let store = world.store();
        let reader = world.builder().read_passphrase(phrase).build().unwrap();
        let copy = world.connect(store.clone(), reader).await;
        let restored = backups(&copy).restore(&next.id, &RestoreOptions::default()).await;
        assert_eq!(restored.is_ok(), opens, "{phrase}: {restored:?}");
        if opens {
            assert_same(&store, &world.source, phrase);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_open_a_backup_whose_keys_were_changed_and_nothing_else_was_touched() {
    let world = World::new(Quirks::S3);
    let keys = tempfile::tempdir().unwrap();
    let (old, new) = (identity(keys.path(), "old"), identity(keys.path(), "new"));
    let db = world.connect(world.source.clone(), to(&world, &[&old]).build().unwrap()).await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let before = world.shelf.snapshot();
    let blind = to(&world, &[&new]).build().unwrap();
    let db = world.connect(world.source.clone(), blind).await;
    assert_eq!(backups(&db).rekey(None).await.unwrap_err().kind(), ErrorKind::Integrity);
    let plugin = to(&world, &[&new]).identity_file(keys.path().join("old.key")).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    assert_eq!(backups(&db).rekey(None).await.unwrap().rekeyed, std::slice::from_ref(&made.id));
    for (path, object) in &world.shelf.snapshot() {
        let same = before.get(path).is_some_and(|old| old.body == object.body);
        assert!(same || path.contains("/keys/"), "{path} was touched");
    }
    for (name, opens) in [("new", true), ("old", false)] {
        let plugin = world.builder().identity_file(keys.path().join(format!("{name}.key"))).build().unwrap();
        let copy = world.connect(world.store(), plugin).await;
        let verified = backups(&copy).verify(&made.id, VerifyLevel::Full).await.unwrap();
        assert_eq!((verified.valid, verified.opened), (true, opens), "{name}: {verified:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_away_by_what_is_stored() {
    let world = World::new(Quirks::S3);
    let keys = tempfile::tempdir().unwrap();
    let ours = identity(keys.path(), "ours");
    let secret = std::fs::read_to_string(keys.path().join("ours.key")).unwrap().lines().last().unwrap().to_owned();
    std::fs::write(keys.path().join("phrase"), "the passphrase of backups\n").unwrap();
    let encryption = EncryptionSettings {
        recipients: vec![ours],
        passphrase_file: Some("phrase".into()),
        identity_files: vec!["ours.key".into()],
        ..EncryptionSettings::default()
    };
    let plugin = world
        .builder()
        .folder(keys.path())
        .encryption(encryption)
        .passphrase_work(10)
        .exclude(["nothing-of-this-name"])
        .build()
        .unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    backups(&db).backup(BackupType::Full).await.unwrap();
    db.resource("users").await.unwrap().delete("ana").await.unwrap();
    world.pass(10).await;
    backups(&db).backup(BackupType::Incremental).await.unwrap();
    let words = [
        "users",
        "ana",
        "davi",
        "logo",
        "picture",
        "byCountry",
        "image/png",
        "s3cret-of-users",
        "correct horse",
        "the passphrase of backups",
        "nothing-of-this-name",
        secret.as_str(),
    ];
    let mut scanned = 0;
    for (path, object) in world.shelf.snapshot() {
        scanned += object.body.len();
        let text = String::from_utf8_lossy(&object.body).into_owned();
        for word in words {
            // The manifest's own words are no secrets; names as short as 'ana' may be part of base64 by chance.
            let by_chance = word.len() < 6 && path.contains(".age");
            assert!(by_chance || !text.contains(word), "{path} holds '{word}'");
            assert!(!path.contains(word), "{path} is named after '{word}'");
        }
    }
    println!("scanned {scanned} bytes, found none of {} words", words.len());
}
