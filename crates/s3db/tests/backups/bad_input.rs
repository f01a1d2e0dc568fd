//! What is refused, and by what words.

use s3db::backup::{BackupPlugin, BackupSettings, BackupType, Mode, RestoreOptions, Selection};
use s3db::config::Config;
use s3db::store::{Precondition, Put, Quirks, Store};
use s3db::{Database, ErrorKind, LeaseOptions, ResourceDefinition};
use serde_json::json;

use crate::world::{World, backups, fill, objects};

#[tokio::test(start_paused = true)]
async fn scopes_that_leave_nothing_are_refused_and_strange_objects_are_told() {
    let world = World::new(Quirks::S3);
    let none = world.builder().include(["orders*"]).build().unwrap();
    let db = world.connect(world.source.clone(), none).await;
    fill(&db).await;
    let error = backups(&db).backup(BackupType::Full).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("nothing to back up"), "{error}");
    assert!(world.shelf.snapshot().is_empty(), "{:?}", world.shelf.snapshot().keys());
    // Objects without an owner are kept, and foreign folders are not touched.
    let put = |key: &'static str| world.source.put(key, Put::default(), Precondition::None);
    put("resource=ghost/data/id=1").await.unwrap();
    put("photos/cat.jpg").await.unwrap();
    put("cache/resource=users/x").await.unwrap();
    let db = world.open().await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    assert_eq!(made.warnings.len(), 2, "{:?}", made.warnings);
    assert_eq!(made.resources["ghost"].objects, 1);
    let (store, copy) = world.empty().await;
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    let keys: Vec<String> = objects(&store).into_keys().collect();
    assert!(keys.contains(&"resource=ghost/data/id=1".to_owned()));
    assert!(!keys.iter().any(|key| key.starts_with("photos/") || key.starts_with("cache/")));
}

#[tokio::test(start_paused = true)]
async fn an_empty_database_is_backed_up_and_restored() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let (store, copy) = world.empty().await;
    let report = backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    assert_eq!(report.resources.len(), 0);
    crate::world::assert_same(&store, &world.source, "empty");
}

#[tokio::test(start_paused = true)]
async fn restores_refuse_targets_in_which_they_would_do_harm() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let plugin = backups(&db);
    // Somebody works there.
    let (_, copy) = world.empty().await;
    let lease = copy.lease("job", &LeaseOptions::new("host-1")).await.unwrap();
    let error = plugin.restore_into(&copy, &made.id, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("host-1"), "{error}");
    let forced = RestoreOptions { force: true, dry_run: true, ..RestoreOptions::default() };
    assert!(plugin.restore_into(&copy, &made.id, &forced).await.unwrap().dry_run);
    lease.release().await.unwrap();
    // The same version number of another definition.
    let other = ResourceDefinition::new("users").attribute("name", "string").attribute("age", "number");
    copy.create_resource(other).await.unwrap();
    let error = plugin.restore_into(&copy, &made.id, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.guidance().unwrap().contains("--rename"), "{error:?}");
    let rename = [("users".to_owned(), "people".to_owned())].into();
    let selection = Selection { rename, ..Selection::default() };
    let options = RestoreOptions { selection, ..RestoreOptions::default() };
    plugin.restore_into(&copy, &made.id, &options).await.unwrap();
    assert!(copy.resource("people").await.unwrap().exists("ana").await.unwrap());
    assert!(!copy.resource("users").await.unwrap().exists("ana").await.unwrap());
    // Replace with ids would delete all others.
    let ids = ["ana".to_owned()].into();
    let selection = Selection { ids, ..Selection::default() };
    let options = RestoreOptions { selection, mode: Mode::Replace, ..RestoreOptions::default() };
    assert_eq!(plugin.restore(&made.id, &options).await.unwrap_err().kind(), ErrorKind::Invalid);
    // Two resources under one name.
    let rename = [("users".to_owned(), "files".to_owned())].into();
    let selection = Selection { rename, ..Selection::default() };
    let options = RestoreOptions { selection, ..RestoreOptions::default() };
    let error = plugin.restore(&made.id, &options).await.unwrap_err();
    assert!(error.to_string().contains("both be called 'files'"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_restore_that_was_not_finished_is_not_mixed_with_this_one() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let first = backups(&db).backup(BackupType::Full).await.unwrap();
    db.resource("users").await.unwrap().delete("ana").await.unwrap();
    world.pass(10).await;
    let second = backups(&db).backup(BackupType::Full).await.unwrap();
    let store = world.store();
    let faulty = std::sync::Arc::new(s3db::store::fault::Faulty::new(store.clone()));
    let copy = world.connect(faulty.clone(), world.builder().build().unwrap()).await;
    faulty.plan(14, s3db::store::fault::Fault::Kill);
    backups(&copy).restore(&first.id, &RestoreOptions::default()).await.unwrap_err();
    faulty.heal();
    assert!(!store.snapshot().contains_key("s3db.json"), "an unfinished restore has no catalog");
    let copy = world.connect(store.clone(), world.builder().build().unwrap()).await;
    let error = backups(&copy).restore(&second.id, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!copy.doctor(false, &|_, _| ()).await.unwrap().is_healthy(), "doctor names it");
    let report = backups(&copy).restore(&first.id, &RestoreOptions::default()).await.unwrap();
    assert!(report.resumed && report.unchanged > 0, "{report:?}");
    crate::world::assert_same(&store, &*first_objects(&world, &first.id).await, "resumed");
}

async fn first_objects(world: &World, id: &str) -> std::sync::Arc<s3db::store::memory::Memory> {
    let (store, copy) = world.empty().await;
    backups(&copy).restore(id, &RestoreOptions::default()).await.unwrap();
    store
}

#[tokio::test(start_paused = true)]
async fn a_callback_refuses_a_backup_and_the_others_are_told() {
    use std::sync::{Arc, Mutex};
    let world = World::new(Quirks::S3);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let plugin = |refuse: bool| {
        let (complete, failed) = (told.clone(), told.clone());
        world
            .builder()
            .on_backup_start(move |kind, id| if refuse { Err(format!("{kind} {} not now", id.len())) } else { Ok(()) })
            .on_backup_complete(move |report| complete.lock().unwrap().push(format!("complete {}", report.size > 0)))
            .on_backup_error(move |kind, error| failed.lock().unwrap().push(format!("failed {kind}: {error}")))
            .build()
            .unwrap()
    };
    let db = world.connect(world.source.clone(), plugin(true)).await;
    fill(&db).await;
    let error = backups(&db).backup(BackupType::Full).await.unwrap_err();
    assert!(error.to_string().contains("not now"), "{error}");
    assert!(world.shelf.snapshot().is_empty(), "nothing was begun");
    let db = world.connect(world.source.clone(), plugin(false)).await;
    backups(&db).backup(BackupType::Full).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["complete true"]);
}

#[tokio::test(start_paused = true)]
async fn manifests_of_newer_programs_and_of_other_backups_are_refused() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let key = format!("{}/manifest.json", made.id);
    let text = String::from_utf8(world.shelf.get(&key, None).await.unwrap().body.to_vec()).unwrap();
    let (open, _) = text.rsplit_once(",\"sha256\":\"").unwrap();
    let newer = format!("{open}}}").replace("\"version\":1", "\"version\":2");
    use sha2::Digest as _;
    let digest: String = sha2::Sha256::digest(newer.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let sealed = format!("{},\"sha256\":\"{digest}\"}}\n", newer.strip_suffix('}').unwrap());
    world.shelf.put(&key, Put { body: sealed.into(), ..Put::default() }, Precondition::None).await.unwrap();
    let error = backups(&db).restore(&made.id, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.guidance(), Some("use a newer s3db"));
    let list = backups(&db).list_backups(&Default::default()).await.unwrap();
    assert_eq!((list.len(), list[0].status.as_str()), (1, "failed"), "it is not listed as good: {list:?}");
}

#[test]
fn settings_name_what_is_wrong() {
    let refused = |text: &str| {
        let config = Config::parse(text, std::path::Path::new("s3db.toml"));
        match config {
            Err(error) => error.to_string(),
            Ok(config) => BackupPlugin::builder().configure(&config).build().unwrap_err().to_string(),
        }
    };
    for (text, word) in [
        ("[backup]\ntimezone = \"Mars/Olympus\"", "Mars/Olympus"),
        ("[backup]\nretention = { daily = -3 }", "retention.daily is -3"),
        ("[backup]\nretention = { within = \"7 days\" }", "retention.within"),
        ("[backup]\nretention = { dayly = 3 }", "dayly"),
        ("[backup]\ncompression = \"lzma\"", "lzma"),
        ("[backup]\ninclude = [\"[\"]", "no glob"),
        ("[backup]\nconcurrency = 0", "concurrency is 0"),
        ("[backup]\nencryption = {}", "neither a recipient nor a passphrase"),
        ("[backup]\nencryption = { recipients = [\"age1x\"] }", "age1x"),
        ("[backup]\nencryption = { recipients = [\"AGE-SECRET-KEY-1X\"] }", "secret key stands where a public one"),
        ("[backup]\nencryption = { recipientFiles = [\"none\"] }", "none cannot be read"),
        ("[backup]\nencryption = { passphraseEnv = \"S3DB_NO_SUCH\" }", "S3DB_NO_SUCH"),
        ("[[backup.destinations]]\ntype = \"ftp\"\npath = \"x\"", "ftp"),
        ("[[backup.destinations]]\ntype = \"filesystem\"\npath = \"{x}\"", "{x}"),
    ] {
        let error = refused(text);
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!(BackupSettings::default().destinations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_rows_of_s3dbjs_stay_as_they_are() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/12-plugins.json");
    let world = World::new(Quirks::S3);
    let bucket = Database::connect(format!("file:{file}")).await.unwrap();
    let mut token = None;
    loop {
        let list = s3db::store::List { token, ..s3db::store::List::prefix("") };
        let page = bucket.store().list(list).await.unwrap();
        for entry in page.entries {
            let object = bucket.store().get(&entry.key, None).await.unwrap();
            let put = Put {
                body: object.body,
                headers: object.meta.headers,
                content_type: object.meta.content_type,
                ..Put::default()
            };
            world.source.put(&entry.key, put, Precondition::None).await.unwrap();
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    let db = world.open().await;
    let before = db.resource("backup_metadata").await.unwrap().list_ids(&s3db::Query::all()).await.unwrap();
    assert_eq!(before.items.len(), 1);
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let rows = db.resource("backup_metadata").await.unwrap();
    assert_eq!(rows.get(&before.items[0]).await.unwrap().attributes["status"], "completed");
    let own = rows.get(&made.id).await.unwrap();
    assert_eq!(own.attributes["logicalSize"], json!(made.logical_size));
    let list = backups(&db).list_backups(&Default::default()).await.unwrap();
    assert_eq!(list.len(), 1, "an archive of s3db.js holds nothing, so it is no backup: {list:?}");
    let (store, copy) = world.empty().await;
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    crate::world::assert_same(&store, &world.source, "a bucket of s3db.js");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_leads_out_of_its_folder_is_refused() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let key = format!("{}/manifest.json", made.id);
    let text = String::from_utf8(world.shelf.get(&key, None).await.unwrap().body.to_vec()).unwrap();
    for (from, to) in [
        ("segments/1.jsonl.gz", "../../etc/passwd"),
        ("segments/1.jsonl.gz", "segments/../1.jsonl.gz"),
        ("\"bytes\":", "\"bytes\":99999999999"),
    ] {
        let (open, _) = text.rsplit_once(",\"sha256\":\"").unwrap();
        let hostile = format!("{open}}}").replace(from, to);
        use sha2::Digest as _;
        let digest: String = sha2::Sha256::digest(hostile.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let sealed = format!("{},\"sha256\":\"{digest}\"}}\n", hostile.strip_suffix('}').unwrap());
        world.shelf.put(&key, Put { body: sealed.into(), ..Put::default() }, Precondition::None).await.unwrap();
        let (store, copy) = world.empty().await;
        let error = backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{to}: {error}");
        assert!(objects(&store).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_beside_other_resources_that_goes_on_leaves_nothing_to_mend() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let (store, other) = world.empty().await;
    other.create_resource(ResourceDefinition::new("own").attribute("n", "number")).await.unwrap();
    let faulty = std::sync::Arc::new(s3db::store::fault::Faulty::new(store.clone()));
    let copy = world.connect(faulty.clone(), world.builder().build().unwrap()).await;
    faulty.plan(25, s3db::store::fault::Fault::Kill);
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap_err();
    let copy = world.connect(store.clone(), world.builder().build().unwrap()).await;
    // Somebody else cannot make a backup of half a database.
    assert_eq!(backups(&copy).backup(BackupType::Full).await.unwrap_err().kind(), ErrorKind::Busy);
    let report = backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    assert!(report.resumed, "{report:?}");
    let found = copy.doctor(false, &|_, _| ()).await.unwrap();
    assert!(found.is_healthy(), "{found:?}");
    let (_, one) = world.empty().await;
    let selection = Selection { ids: ["ana".to_owned()].into(), ..Selection::default() };
    backups(&one).restore(&made.id, &RestoreOptions { selection, ..RestoreOptions::default() }).await.unwrap();
    let found = one.doctor(false, &|_, _| ()).await.unwrap();
    assert!(found.is_healthy(), "{found:?}");
}
