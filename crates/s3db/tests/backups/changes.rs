//! What incremental and differential backups take for changed, and what they build on.

use s3db::backup::{BackupPlugin, BackupType, RestoreOptions};
use s3db::store::{Precondition, Put, Quirks, Store};
use s3db::{Database, ErrorKind, ResourceDefinition};
use serde_json::json;

use crate::world::{World, assert_same, backups, fill};

async fn restored_equal(world: &World, id: &str) {
    let (store, copy) = world.empty().await;
    backups(&copy).restore(id, &RestoreOptions::default()).await.unwrap();
    assert_same(&store, &world.source, id);
}

#[tokio::test(start_paused = true)]
async fn a_write_in_the_second_of_the_last_backup_is_not_missed() {
    // Times have a grain of a second here, and ETags are digests of bodies that are empty.
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    world.pass(60).await;
    let put = |n: u32| Put {
        headers: [("x".to_owned(), n.to_string()), ("id".to_owned(), "raw".to_owned())].into(),
        ..Put::default()
    };
    let key = "resource=users/data/id=raw";
    world.source.put(key, put(1), Precondition::None).await.unwrap();
    backups(&db).backup(BackupType::Full).await.unwrap();
    let before = world.source.head(key).await.unwrap();
    world.source.put(key, put(2), Precondition::None).await.unwrap();
    let after = world.source.head(key).await.unwrap();
    let triple = |m: &s3db::store::ObjectMeta| (m.etag.clone(), m.size, m.modified_ms);
    assert_eq!(triple(&before), triple(&after), "nothing that a listing shows has changed");
    world.pass(60).await;
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!(next.counts.stored, 1, "the header-only change is stored");
    restored_equal(&world, &next.id).await;
    let still = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!((still.counts.stored, still.counts.deleted), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn clocks_that_go_back_change_neither_order_nor_content() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    world.pass(60).await;
    let users = db.resource("users").await.unwrap();
    let full = backups(&db).backup(BackupType::Full).await.unwrap();
    world.set(-86_400);
    users.insert(json!({"id": "late", "name": "Late"})).await.unwrap();
    let first = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!((first.parent.as_ref(), first.counts.stored), (Some(&full.id), 1));
    users.update("late", json!({"name": "Later"})).await.unwrap();
    let second = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!((second.parent.as_ref(), second.counts.stored), (Some(&first.id), 1));
    restored_equal(&world, &second.id).await;
    let list = backups(&db).list_backups(&Default::default()).await.unwrap();
    let ids: Vec<&String> = list.iter().map(|backup| &backup.id).collect();
    assert_eq!(ids, [&second.id, &first.id, &full.id], "the newest first, whatever the clock said");
}

#[tokio::test(start_paused = true)]
async fn without_a_usable_parent_a_full_one_is_made_and_says_why() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let first = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!((first.kind, first.requested_type), (BackupType::Full, Some(BackupType::Incremental)));
    assert!(first.id.starts_with("backup_full_"), "{}", first.id);
    assert_eq!(first.reason.as_deref(), Some("there is no backup of this database yet"));
    // Other resources: another chain.
    let some = world.builder().include(["users"]).build().unwrap();
    let db2 = world.connect(world.source.clone(), some).await;
    let other = backups(&db2).backup(BackupType::Incremental).await.unwrap();
    assert!(other.reason.unwrap().contains("other resources"));
    assert_eq!(backups(&db).backup(BackupType::Incremental).await.unwrap().parent, Some(first.id.clone()));
    // A parent that lost a file.
    let path = world.shelf.snapshot().into_keys().find(|k| k.contains(&first.id) && k.contains("/segments/1")).unwrap();
    let kept = world.shelf.get(&path, None).await.unwrap();
    world.shelf.delete(&path, Precondition::None).await.unwrap();
    let third = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert!(third.reason.as_ref().unwrap().contains("is missing"), "{:?}", third.reason);
    assert_eq!(third.kind, BackupType::Full);
    let put = Put { body: kept.body, ..Put::default() };
    world.shelf.put(&path, put, Precondition::None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_databases_share_a_destination_and_never_mix() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    fill(&db).await;
    let own = backups(&db).backup(BackupType::Full).await.unwrap();
    let (store, other) = world.empty().await;
    fill(&other).await;
    let theirs = backups(&other).backup(BackupType::Incremental).await.unwrap();
    assert_eq!(theirs.kind, BackupType::Full, "the other database's backup is no parent");
    let list = backups(&db).list_backups(&Default::default()).await.unwrap();
    assert_eq!(list.iter().map(|b| &b.id).collect::<Vec<_>>(), [&own.id]);
    drop(store);
}

#[tokio::test(start_paused = true)]
async fn large_objects_are_files_of_their_own_in_parts() {
    let world = World::new(Quirks::S3);
    let db = world.open().await;
    let files = db.create_resource(ResourceDefinition::new("files").attribute("kind", "string")).await.unwrap();
    files.insert(json!({"id": "film", "kind": "film"})).await.unwrap();
    let film: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    files.set_content("film", film.clone(), "video/mp4").await.unwrap();
    world.pass(10).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let parts = world.shelf.snapshot().into_keys().filter(|k| k.contains("/objects/")).count();
    assert_eq!(parts, 3);
    let (_, copy) = world.empty().await;
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    let back = copy.resource("files").await.unwrap().content("film").await.unwrap().unwrap();
    assert!(back.body == film && back.content_type == "video/mp4");
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    assert_eq!(next.counts.stored, 0);
}

#[tokio::test(start_paused = true)]
async fn names_that_sort_around_a_slash_keep_their_order() {
    for quirks in [Quirks::S3, Quirks { lists_by_name: true, ..Quirks::S3 }] {
        let world = World::new(quirks);
        let db = world.open().await;
        for name in ["a", "a-b", "a.b", "a0", "zz"] {
            let made = db.create_resource(ResourceDefinition::new(name).attribute("n", "number")).await.unwrap();
            for n in 0..3 {
                made.insert(json!({"id": format!("{n}-x"), "n": n})).await.unwrap();
                made.insert(json!({"id": format!("{n}"), "n": n})).await.unwrap();
            }
        }
        world.pass(10).await;
        let full = backups(&db).backup(BackupType::Full).await.unwrap();
        restored_equal(&world, &full.id).await;
        db.drop_resource("a").await.unwrap();
        db.resource("a-b").await.unwrap().delete("1").await.unwrap();
        world.pass(10).await;
        let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
        assert_eq!(next.counts.deleted, 7, "six records and one: {next:?}");
        restored_equal(&world, &next.id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn states_whose_name_comes_after_their_log_are_read_before_it() {
    let world = World::new(Quirks::S3);
    let machine = s3db::state_machine::MachineDefinition::new("order", "new")
        .state(s3db::state_machine::State::new("new").on("GO", "gone").after("1h", "gone"))
        .state(s3db::state_machine::State::finished("gone"));
    let machines = |defined: bool| {
        let builder = s3db::state_machine::StateMachinePlugin::builder();
        let builder = if defined { builder.machine(machine.clone()) } else { builder };
        builder.state_resource("z_states").transition_log_resource("a_log").sweep_interval(None).build().unwrap()
    };
    let connect = async |store: std::sync::Arc<dyn Store>, plugin: BackupPlugin, defined| -> Database {
        Database::builder("memory://")
            .store(store)
            .clock(world.clock.clone())
            .plugin(machines(defined))
            .plugin(plugin)
            .connect()
            .await
            .unwrap()
    };
    let db = connect(world.source.clone(), world.builder().build().unwrap(), true).await;
    db.create_resource(ResourceDefinition::new("zzz").attribute("n", "number")).await.unwrap();
    let orders = db.plugin::<s3db::state_machine::StateMachinePlugin>().unwrap();
    for id in ["o1", "o2"] {
        orders.initialize_entity("order", id, json!({})).await.unwrap();
    }
    orders.send("order", "o1", "GO", json!({})).await.unwrap();
    world.pass(10).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let store = world.store();
    let copy = connect(store.clone(), world.builder().build().unwrap(), false).await;
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    assert_same(&store, &world.source, "machines");
    let due = store.snapshot().into_keys().filter(|key| key.starts_with("s3db/tmp/due/")).count();
    assert_eq!(due, 1, "the timer of o2 is found again");
    world.pass(2 * 3600).await;
    let there = copy.plugin::<s3db::state_machine::StateMachinePlugin>().unwrap();
    assert_eq!(there.sweep().await.unwrap().fired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_elsewhere_is_paused_until_it_is_resumed() {
    let world = World::new(Quirks::default());
    let machine = s3db::state_machine::MachineDefinition::from_json(
        "order",
        &json!({"initialState": "new", "states": {
            "new": {"on": {"GO": "gone"}, "after": {"1m": "late"}},
            "gone": {"entry": "note"}, "late": {"entry": "note"}}}),
    )
    .unwrap();
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let connect = async |store: std::sync::Arc<dyn Store>, url: &str| {
        let ran = ran.clone();
        let machines = s3db::state_machine::StateMachinePlugin::builder()
            .machine(machine.clone())
            .action("note", move |_| {
                let ran = ran.clone();
                async move {
                    ran.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    Ok::<_, String>(json!({}))
                }
            })
            .sweep_interval(None)
            .build()
            .unwrap();
        Database::builder(url)
            .store(store)
            .clock(world.clock.clone())
            .plugin(machines)
            .plugin(world.builder().build().unwrap())
            .connect()
            .await
            .unwrap()
    };
    let db = connect(world.source.clone(), "memory://a").await;
    let orders = db.plugin::<s3db::state_machine::StateMachinePlugin>().unwrap();
    orders.initialize_entity("order", "o1", json!({})).await.unwrap();
    orders.initialize_entity("order", "o2", json!({})).await.unwrap();
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let store = world.store();
    let copy = connect(store.clone(), "memory://b").await;
    let options = RestoreOptions { pause: Some(true), ..RestoreOptions::default() };
    let report = backups(&db).restore_into(&copy, &made.id, &options).await.unwrap();
    assert!(report.paused && copy.paused().await.unwrap().since.is_some());
    world.pass(600).await;
    let there = copy.plugin::<s3db::state_machine::StateMachinePlugin>().unwrap();
    let swept = there.sweep().await.unwrap();
    assert!(swept.paused && swept.fired == 0, "{swept:?}");
    let sent = there.send("order", "o2", "GO", json!({})).await.unwrap();
    assert_eq!(sent.actions, s3db::state_machine::ActionsState::Pending);
    world.pass(600).await;
    there.sweep().await.unwrap();
    assert_eq!(ran.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing ran");
    assert!(copy.resume().await.unwrap());
    let swept = there.sweep().await.unwrap();
    assert_eq!((swept.fired, swept.finished), (1, 1), "{swept:?}");
    assert_eq!(ran.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(there.get_state("order", "o1").await.unwrap(), "late");
    let refused = backups(&copy).restore("backup_full_20200101T000000000Z_aaaaaa", &Default::default()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_shared_database_comes_back_with_its_references_and_without_dangling_ones() {
    let world = World::new(Quirks::S3);
    let connect =
        async |store: std::sync::Arc<dyn Store>| world.connect_as(store, world.builder().build().unwrap(), true).await;
    let db = connect(world.source.clone()).await;
    fill(&db).await;
    world.pass(10).await;
    let made = backups(&db).backup(BackupType::Full).await.unwrap();
    let store = world.store();
    let copy = connect(store.clone()).await;
    backups(&copy).restore(&made.id, &RestoreOptions::default()).await.unwrap();
    assert_same(&store, &world.source, "shared");
    assert!(copy.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
    // A reference to a record that is not there, as s3db.js leaves them.
    let dangling = "resource=users/partition=byCountry/country=BR/id=nobody";
    world.source.put(dangling, Put::default(), Precondition::None).await.unwrap();
    db.resource("users").await.unwrap().update("ben", json!({"country": "BR"})).await.unwrap();
    world.pass(10).await;
    let next = backups(&db).backup(BackupType::Incremental).await.unwrap();
    let store = world.store();
    let copy = connect(store.clone()).await;
    let report = backups(&copy).restore(&next.id, &RestoreOptions::default()).await.unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    let brazil = s3db::Query::all().partition("byCountry", json!({"country": "BR"}));
    let ids: Vec<String> = copy
        .resource("users")
        .await
        .unwrap()
        .list(&brazil)
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(ids, ["ana", "ben", "chi"]);
    assert!(!store.snapshot().contains_key(dangling));
    assert!(copy.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_does_not_wait_for_bandwidth() {
    use s3db::store::clock::Clock as _;
    let world = World::new(Quirks::S3);
    let plugin = world.builder().bandwidth(10).build().unwrap();
    let db = world.connect(world.source.clone(), plugin).await;
    fill(&db).await;
    let plugin = backups(&db);
    let canceller = async {
        world.pass(20).await;
        plugin.cancel_all();
        world.clock.monotonic()
    };
    let (ended, at) = futures::join!(plugin.backup(BackupType::Full), canceller);
    assert_eq!(ended.unwrap_err().details().unwrap()["status"], "cancelled");
    let took = world.clock.monotonic() - at;
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}
