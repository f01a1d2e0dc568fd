use s3db::backup::{BackupStatus, BackupType, Compression, ListOptions, Mode, RestoreOptions, VerifyLevel};
use s3db::store::Quirks;
use s3db::{ErrorKind, Query};
use serde_json::json;

use crate::world::{World, assert_equal, assert_same, backups, fill, folder, objects};

#[tokio::test(start_paused = true)]
async fn what_was_backed_up_is_restored_byte_for_byte() {
    for quirks in [Quirks::default(), Quirks::S3, Quirks { lists_by_name: true, ..Quirks::S3 }] {
        let world = World::new(quirks);
        let db = world.open().await;
        fill(&db).await;
        let made = backups(&db).backup(BackupType::Full).await.unwrap();
        assert_eq!((made.status, made.kind), (BackupStatus::Completed, BackupType::Full));
        let (store, copy) = world.empty().await;
        // In its own place: nothing is paused, and the database keeps its id.
        let report = backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
        assert_eq!((report.objects, report.kept), (report.written, 0), "{report:?}");
        assert_same(&store, &world.source, "restored");
        let users = copy.resource("users").await.unwrap();
        assert_eq!(users.get("ana").await.unwrap().attributes["secret"], "s3cret-of-users");
        let brazil = users.list(&Query::all().partition("byCountry", json!({"country": "BR"}))).await.unwrap();
        assert_eq!(brazil.items.len(), 2);
        assert!(brazil.warnings.is_empty(), "the index is complete: {:?}", brazil.warnings);
        assert!(copy.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_restores_at_each_of_its_tips() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let plugin = backups(&db);
    let users = db.resource("users").await.unwrap();
    let mut states = Vec::new();
    world.pass(10).await;
    let full = plugin.backup(BackupType::Full).await.unwrap();
    states.push((full.id, objects(&world.source)));
    world.pass(10).await;
    users.delete("ben").await.unwrap();
    users.insert(json!({"id": "eva", "name": "Eva", "country": "PT"})).await.unwrap();
    world.pass(10).await;
    let first = plugin.backup(BackupType::Incremental).await.unwrap();
    assert_eq!((first.counts.stored, first.counts.deleted, first.kind), (1, 1, BackupType::Incremental));
    states.push((first.id, objects(&world.source)));
    users.update("eva", json!({"country": "BR"})).await.unwrap();
    users.insert(json!({"id": "ben", "name": "Ben again"})).await.unwrap();
    world.pass(10).await;
    let second = plugin.backup(BackupType::Incremental).await.unwrap();
    assert_eq!((second.counts.stored, second.counts.deleted), (2, 0));
    states.push((second.id, objects(&world.source)));
    users.delete("chi").await.unwrap();
    world.pass(10).await;
    let differential = plugin.backup(BackupType::Differential).await.unwrap();
    assert_eq!((differential.counts.stored, differential.counts.deleted), (2, 1));
    states.push((differential.id, objects(&world.source)));
    for (id, wanted) in states {
        let (store, copy) = world.empty().await;
        backups(&copy).restore(&id, &RestoreOptions::default()).await.unwrap();
        assert_equal(&objects(&store), &wanted, &id);
        assert!(plugin.verify(&id, VerifyLevel::Full).await.unwrap().valid);
    }
    let list = plugin.list_backups(&ListOptions::default()).await.unwrap();
    assert_eq!(list.len(), 4);
    assert_eq!(list[0].kind, BackupType::Differential);
}

// A drill restores into a directory, whose threads a paused clock does not wait for.
#[tokio::test]
async fn every_compression_restores_from_a_folder() {
    for compression in [Compression::None, Compression::Gzip, Compression::Brotli, Compression::Zstd] {
        let world = World::new(Quirks::S3);
        let place = tempfile::tempdir().unwrap();
        let plugin = || {
            s3db::backup::BackupPlugin::builder()
                .destination(folder(&place.path().join("{date}/{type}")))
                .compression(compression)
                .temp_dir(place.path().join("tmp"))
                .build()
                .unwrap()
        };
        let db = world.connect(world.source.clone(), plugin()).await;
        fill(&db).await;
        let made = backups(&db).backup(BackupType::Full).await.unwrap();
        let store = world.store();
        let copy = world.connect(store.clone(), plugin()).await;
        assert!(backups(&db).verify(&made.id, VerifyLevel::Drill).await.unwrap().valid);
        backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
        assert_same(&store, &world.source, &format!("{compression:?}"));
        assert!(!place.path().join("tmp").exists(), "the scratch database is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn modes_decide_about_what_is_there() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let users = db.resource("users").await.unwrap();
    users.update("ana", json!({"name": "changed", "country": "FR"})).await.unwrap();
    users.delete("ben").await.unwrap();
    users.insert(json!({"id": "new", "name": "New", "country": "BR"})).await.unwrap();
    let before = objects(&world.source);
    let plugin = backups(&db);
    let restore = |mode| {
        let options = RestoreOptions { mode, ..RestoreOptions::default() };
        let (plugin, id) = (plugin.clone(), made.id.clone());
        async move { plugin.restore(&id, &options).await }
    };
    let refused = restore(Mode::Fail).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(objects(&world.source), before, "nothing was written");
    restore(Mode::Skip).await.unwrap();
    assert_eq!(users.get("ana").await.unwrap().attributes["name"], "changed");
    assert_eq!(users.get("ben").await.unwrap().attributes["name"], "ben ü");
    let report = restore(Mode::Overwrite).await.unwrap();
    assert_eq!(report.written, 1, "only what differs is written: {report:?}");
    assert_eq!(users.get("ana").await.unwrap().attributes["name"], "ana ü");
    assert!(users.exists("new").await.unwrap());
    let french = Query::all().partition("byCountry", json!({"country": "FR"}));
    assert_eq!(users.list(&french).await.unwrap().items.len(), 0);
    let report = restore(Mode::Replace).await.unwrap();
    assert_eq!(report.deleted, 1);
    assert!(!users.exists("new").await.unwrap());
    let brazil = Query::all().partition("byCountry", json!({"country": "BR"}));
    let ids: Vec<String> = users.list(&brazil).await.unwrap().items.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["ana", "chi"]);
    assert!(db.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn some_resources_and_ids_come_back_under_other_names() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let plugin = backups(&db);
    let mut options = RestoreOptions::default();
    options.selection.resources.insert("users".into());
    options.selection.rename.insert("users".into(), "old_users".into());
    let report = plugin.restore(&made.id, &options).await.unwrap();
    assert_eq!(report.resources["old_users"], 4);
    let old = db.resource("old_users").await.unwrap();
    assert_eq!(old.get("chi").await.unwrap().attributes["secret"], "s3cret-of-users");
    let brazil = Query::all().partition("byCountry", json!({"country": "BR"}));
    assert_eq!(old.list(&brazil).await.unwrap().items.len(), 2);
    db.resource("users").await.unwrap().delete("ben").await.unwrap();
    let mut one = RestoreOptions::default();
    one.selection.ids.insert("ben".into());
    one.selection.resources.insert("users".into());
    plugin.restore(&made.id, &one).await.unwrap();
    assert_eq!(db.resource("users").await.unwrap().get("ben").await.unwrap().attributes["name"], "ben ü");
    one.selection.ids.insert("nobody".into());
    assert_eq!(plugin.restore(&made.id, &one).await.unwrap_err().kind(), ErrorKind::NotFound);
    let mut unknown = RestoreOptions::default();
    unknown.selection.resources.insert("user".into());
    let error = plugin.restore(&made.id, &unknown).await.unwrap_err();
    assert_eq!(error.guidance(), Some("did you mean 'users'?"));
    assert!(db.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
}
