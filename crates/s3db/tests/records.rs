//! What the library promises about records, on memory and on a directory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::sync::Arc;

use s3db::store::clock::ManualClock;
use s3db::store::fault::{Fault, Faulty};
use s3db::store::memory::Memory;
use s3db::store::{Precondition, Put, Quirks, Store};
use s3db::{
    Behavior, Database, Delivery, ErrorKind, EventKind, HookPoint, OnError, Query, Resource, ResourceDefinition,
    UpdateOptions,
};
use serde_json::{Value, json};

fn users() -> ResourceDefinition {
    ResourceDefinition::new("users")
        .attribute("name", "string|min:2")
        .attribute("email", "email|optional")
        .attribute("country", "string|optional")
        .attribute("password", "secret|min:8|optional")
        .attribute("address", json!({"city": "string", "geo": {"lat": "number", "lon": "number"}}))
        .attribute("tags", "array|items:string|optional")
        .partition("byCountry", [("country", "string")])
}

async fn database() -> (Database, Arc<Memory>) {
    let memory = Arc::new(Memory::new());
    let builder = Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).passphrase("pass");
    (builder.connect().await.unwrap(), memory)
}

async fn resource() -> (Resource, Arc<Memory>) {
    let (db, memory) = database().await;
    (db.create_resource(users()).await.unwrap(), memory)
}

fn ids(rows: &[s3db::Record]) -> Vec<&str> {
    rows.iter().map(|r| r.id.as_str()).collect()
}

#[tokio::test]
async fn what_is_inserted_is_read_back_and_can_be_changed_and_deleted() {
    let (users, _) = resource().await;
    let given = json!({"id": "ana", "name": "Ana", "country": "BR", "password": "12345678", "address": {"city": "São Paulo", "geo": {"lat": -23.5, "lon": -46}}, "tags": ["a|b", ""]});
    let inserted = users.insert(given.clone()).await.unwrap();
    let read = users.get("ana").await.unwrap();
    assert!(s3db_format::value::same_json(&read.to_json(), &given), "{}", read.to_json());
    assert_eq!(inserted, read);
    let updated = users
        .update("ana", json!({"address": {"geo": {"lat": 1}}, "tags": ["x"], "country": null, "$unset": ["email"]}))
        .await
        .unwrap();
    assert_eq!(updated.attributes["address"], json!({"city": "São Paulo", "geo": {"lat": 1, "lon": -46}}));
    assert_eq!((&updated.attributes["country"], &updated.attributes["tags"]), (&Value::Null, &json!(["x"])));
    assert_eq!(users.get("ana").await.unwrap(), updated);
    assert_eq!(updated.attributes["password"], "12345678");
    users.delete("ana").await.unwrap();
    assert_eq!(users.get("ana").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!users.exists("ana").await.unwrap());
}

#[tokio::test]
async fn a_violation_returns_every_failing_field_and_writes_nothing() {
    let (users, memory) = resource().await;
    let before = memory.snapshot();
    let error = users
        .insert(json!({"name": "A", "email": "no", "emial": "x", "address": {"geo": {"lat": "north"}}, "tags": [1]}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let fields = error.details().unwrap()["fields"].as_array().unwrap().clone();
    let found: Vec<(&str, &str)> =
        fields.iter().map(|f| (f["field"].as_str().unwrap(), f["rule"].as_str().unwrap())).collect();
    let wanted = [
        ("name", "min"),
        ("email", "type"),
        ("address.city", "required"),
        ("address.geo.lat", "type"),
        ("address.geo.lon", "required"),
        ("tags", "type"),
        ("emial", "undeclared"),
    ];
    assert_eq!(found, wanted);
    assert_eq!((&fields[0]["expected"], &fields[0]["actual"]), (&json!(2), &json!(1)));
    assert!(error.to_string().contains("did you mean 'email'?"));
    assert_eq!(memory.snapshot(), before);
}

#[tokio::test]
async fn the_value_of_a_secret_never_stands_in_an_error() {
    let (users, _) = resource().await;
    let error = users.insert(json!({"name": "Ana", "password": "hunter2"})).await.unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.to_json()).contains("hunter2"));
    let error = users.insert(json!({"name": "Ana", "password": {"x": "hunter2"}})).await.unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.to_json()).contains("hunter2"));
    let (db, _) = database().await;
    let definition = ResourceDefinition::new("pins")
        .attribute("pin", "secretNumber|min:100000|integer|optional")
        .attribute("word", "secret|optional")
        .attribute("either", json!(["secret|optional", "boolean|optional"]));
    let pins = db.create_resource(definition).await.unwrap();
    for bad in [json!({"pin": 4321}), json!({"pin": 654321.4321}), json!({"word": 4321}), json!({"either": 4321})] {
        let error = pins.insert(bad).await.unwrap_err();
        assert!(!format!("{error} {error:?} {}", error.to_json()).contains("4321"), "{error}");
    }
}

#[tokio::test]
async fn second_insert_of_an_id_is_refused() {
    let (users, memory) = resource().await;
    users.insert(json!({"id": "x", "name": "One", "country": "BR"})).await.unwrap();
    let before = memory.snapshot();
    let error = users.insert(json!({"id": "x", "name": "Two", "country": "DE"})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(memory.snapshot(), before, "the loser left something behind");
}

#[tokio::test]
async fn an_update_with_another_revision_is_a_conflict_that_names_both() {
    let (users, _) = resource().await;
    let first = users.insert(json!({"id": "x", "name": "One"})).await.unwrap();
    let second = users.update("x", json!({"name": "Two"})).await.unwrap();
    let options = UpdateOptions { expected_rev: Some(first.meta.rev.clone()) };
    let error = users.update_with("x", json!({"name": "Three"}), &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.details().unwrap(), &json!({"expected": first.meta.rev, "found": second.meta.rev}));
    assert_eq!(users.delete_with("x", &options).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(users.get("x").await.unwrap().attributes["name"], "Two");
}

#[tokio::test]
async fn a_revision_changes_with_every_write_even_where_the_etag_is_a_digest() {
    let memory = Arc::new(Memory::with(Quirks::S3, Arc::new(ManualClock::at(1_795_000_000_000))));
    let db = Database::builder("memory://").store(memory).connect().await.unwrap();
    for behavior in Behavior::ALL {
        let name = behavior.word();
        let r = db
            .create_resource(ResourceDefinition::new(name).attribute("n", "number").behavior(behavior))
            .await
            .unwrap();
        let first = r.insert(json!({"id": "x", "n": 1})).await.unwrap();
        r.update("x", json!({"n": 2})).await.unwrap();
        r.update("x", json!({"n": 1})).await.unwrap();
        let options = UpdateOptions { expected_rev: Some(first.meta.rev) };
        assert_eq!(
            r.update_with("x", json!({"n": 9}), &options).await.unwrap_err().kind(),
            ErrorKind::Conflict,
            "{name}"
        );
    }
}

#[tokio::test]
async fn ids_that_cannot_be_keys_are_refused_before_a_request() {
    let (users, memory) = resource().await;
    let before = memory.snapshot();
    for id in ["", "a/b", ".", "..", "tab\t", &"x".repeat(513)] {
        let error = users.insert(json!({"id": id, "name": "Ana"})).await.unwrap_err();
        assert_eq!(
            (error.kind(), &error.details().unwrap()["fields"][0]["field"]),
            (ErrorKind::Invalid, &json!("id")),
            "{id:?}"
        );
    }
    assert!(users.insert(json!({"id": 5, "name": "Ana"})).await.unwrap_err().guidance().unwrap().contains("\"5\""));
    let long = users.insert(json!({"id": "x", "name": "Ana", "country": "ü".repeat(400)})).await.unwrap_err();
    assert!(long.to_string().contains("partition 'byCountry'") && long.to_string().contains("country"), "{long}");
    assert_eq!(memory.snapshot(), before);
}

#[tokio::test]
async fn integers_that_a_number_cannot_hold_are_refused_with_the_way_out() {
    let (db, _) = database().await;
    let r = db
        .create_resource(ResourceDefinition::new("r").attribute("n", "number").attribute("i", "integer|optional"))
        .await
        .unwrap();
    for text in ["9007199254740993", "-9007199254740993", "12345678901234567890123"] {
        let error = r.insert(json!({"n": serde_json::from_str::<Value>(text).unwrap()})).await.unwrap_err();
        assert!(error.to_string().contains("type string"), "{error}");
    }
    r.insert(json!({"id": "max", "n": 9_007_199_254_740_991_i64, "i": -9_007_199_254_740_991_i64})).await.unwrap();
    assert_eq!(r.get("max").await.unwrap().attributes["n"], 9_007_199_254_740_991_i64);
    assert!(r.insert(json!({"n": 1, "i": 1.5})).await.unwrap_err().to_string().contains("whole number"));
}

#[tokio::test]
async fn a_catastrophic_pattern_is_given_up_and_an_impossible_one_is_refused() {
    let (db, _) = database().await;
    let r = db
        .create_resource(
            ResourceDefinition::new("r").attribute("s", json!({"type": "string", "pattern": "^(a|aa)+(?=b)$"})),
        )
        .await
        .unwrap();
    let error = r.insert(json!({"s": "a".repeat(60)})).await.unwrap_err();
    assert!(error.to_string().contains("too many steps"), "{error}");
    let error = db.create_resource(ResourceDefinition::new("q").attribute("s", "string|pattern:(")).await.unwrap_err();
    assert!(error.to_string().contains("s: pattern '(' is not a regular expression"), "{error}");
}

#[tokio::test]
async fn definitions_keep_their_meaning_through_the_catalog() {
    let (db, _) = database().await;
    let definition = ResourceDefinition::new("r")
        .attribute("plan", "enum:free,pro,number")
        .attribute("n", "integer|min:0|default:3")
        .attribute("ip", "ip|optional")
        .attribute("s", json!({"type": "string", "pattern": "^(a|b)$", "optional": true}))
        .attribute("d", "date|optional")
        .attribute("l", "integer[]|optional")
        .attribute("m", json!({"type": "array", "items": "integer", "optional": true}))
        .attribute("o", json!({"deep": {"color": "string|default:a secret number"}}));
    let r = db.create_resource(definition.clone()).await.unwrap();
    let row = r.insert(json!({"plan": "number", "d": "2026-11-22", "l": [1, 62]})).await.unwrap();
    assert_eq!(
        (&row.attributes["n"], &row.attributes["o"]),
        (&json!(3), &json!({"deep": {"color": "a secret number"}}))
    );
    assert_eq!(r.get(&row.id).await.unwrap().attributes["plan"], "number");
    for bad in [
        json!({"plan": "gold"}),
        json!({"plan": "free", "ip": "300.1.1.1"}),
        json!({"plan": "free", "s": "c"}),
        json!({"plan": "free", "d": "tomorrow"}),
        json!({"plan": "free", "l": [1.5]}),
        json!({"plan": "free", "m": [1.5]}),
    ] {
        assert_eq!(r.insert(bad).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    db.create_resource(definition).await.unwrap();
    for (_, stored) in &r.definition().await.unwrap().attributes {
        let text = stored.as_str().unwrap_or_default();
        assert!(
            !text.starts_with("enum") && !text.starts_with("integer") && !text.starts_with("ip"),
            "{text}: 9.2.0 could not connect"
        );
    }
}

#[tokio::test]
async fn another_definition_of_a_name_is_refused_with_the_differences() {
    let (db, memory) = database().await;
    db.create_resource(users()).await.unwrap();
    db.create_resource(users()).await.unwrap();
    let before = memory.snapshot();
    let error = db.create_resource(users().attribute("age", "number").behavior(Behavior::BodyOnly)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let text = error.to_string();
    assert!(text.contains("attribute 'age' is given and not stored") && text.contains("behavior"), "{text}");
    assert_eq!(memory.snapshot(), before);
}

#[tokio::test]
async fn two_processes_that_create_at_once_agree_or_one_is_refused() {
    let memory = Arc::new(Memory::new());
    let connect = || async {
        Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).connect().await.unwrap()
    };
    let (a, b) = (connect().await, connect().await);
    let other = users().attribute("age", "number|optional");
    let (x, y) = tokio::join!(a.create_resource(users()), b.create_resource(other));
    assert_eq!(u8::from(x.is_ok()) + u8::from(y.is_ok()), 1);
    let (x, y) = tokio::join!(
        a.create_resource(ResourceDefinition::new("p").attribute("a", "string")),
        b.create_resource(ResourceDefinition::new("q").attribute("a", "string"))
    );
    x.unwrap();
    y.unwrap();
    assert_eq!(connect().await.resource_names().await.unwrap(), ["p", "q", "users"]);
}

#[tokio::test]
async fn version_numbers_are_not_used_again_after_a_drop() {
    let (db, _) = database().await;
    let r = db.create_resource(users()).await.unwrap();
    r.insert(json!({"id": "x", "name": "Ana", "country": "BR"})).await.unwrap();
    let report = db.drop_resource("users").await.unwrap();
    assert_eq!((report.records, report.references), (1, 2));
    assert_eq!(db.resource("users").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(db.drop_resource("users").await.unwrap_err().kind(), ErrorKind::NotFound);
    let again = db.create_resource(users()).await.unwrap();
    assert_eq!(again.catalog_entry().await.unwrap().current().name, "v1");
    assert_eq!(again.count().await.unwrap(), 0);
}

#[tokio::test]
async fn every_row_is_found_through_its_partition_and_no_other() {
    let (users, _) = resource().await;
    for i in 0..30 {
        let country = ["BR", "DE", "BRA", ""][i % 4];
        users.insert(json!({"id": format!("u{i:02}"), "name": "Name", "country": country})).await.unwrap();
    }
    users.insert(json!({"id": "none", "name": "Name"})).await.unwrap();
    let of = |country: &str| Query::all().partition("byCountry", json!({"country": country}));
    let page = users.list(&of("BR")).await.unwrap();
    assert_eq!(
        (ids(&page.items), page.next, page.warnings),
        (vec!["u00", "u04", "u08", "u12", "u16", "u20", "u24", "u28"], None, vec![])
    );
    assert_eq!(users.count_where(&of("BRA")).await.unwrap(), 7);
    assert_eq!(users.count_where(&of("").exact(true)).await.unwrap(), 7);
    users.update("u00", json!({"country": "DE"})).await.unwrap();
    users.delete("u04").await.unwrap();
    assert_eq!(ids(&users.list(&of("BR")).await.unwrap().items), ["u08", "u12", "u16", "u20", "u24", "u28"]);
    let first = users.list(&of("BR").limit(2)).await.unwrap();
    assert_eq!((ids(&first.items), first.next.as_deref()), (vec!["u08", "u12"], Some("u12")));
    let rest = users.list(&of("BR").limit(9).after("u12")).await.unwrap();
    assert_eq!((ids(&rest.items), rest.next), (vec!["u16", "u20", "u24", "u28"], None));
    assert_eq!(users.list(&of("BR").after("u28")).await.unwrap().items.len(), 0);
    let wrong = users.list(&Query::all().partition("byCountry", json!({"land": "BR"}))).await.unwrap_err();
    assert!(wrong.guidance().unwrap().contains("country"));
    assert!(
        users
            .list(&Query::all().partition("byCuntry", json!({})))
            .await
            .unwrap_err()
            .guidance()
            .unwrap()
            .contains("byCountry")
    );
}

#[tokio::test]
async fn leading_fields_of_a_partition_are_enough() {
    let (db, _) = database().await;
    let definition = ResourceDefinition::new("r")
        .attribute("a", "string")
        .attribute("b", "number")
        .partition("ab", [("a", "string"), ("b", "number")]);
    let r = db.create_resource(definition).await.unwrap();
    for (id, a, b) in [("z", "x", 1), ("y", "x", 2), ("w", "x", 1), ("v", "q", 1)] {
        r.insert(json!({"id": id, "a": a, "b": b})).await.unwrap();
    }
    let rows = r.list(&Query::all().partition("ab", json!({"a": "x"}))).await.unwrap();
    assert_eq!(ids(&rows.items), ["w", "y", "z"]);
    assert!(
        r.list(&Query::all().partition("ab", json!({"b": 1}))).await.unwrap_err().to_string().contains("'a' before")
    );
}

#[tokio::test]
async fn a_stale_key_never_yields_a_row() {
    let (users, memory) = resource().await;
    users.insert(json!({"id": "x", "name": "Ana", "country": "BR"})).await.unwrap();
    for key in [
        "s3db/tmp/index/users/byCountry/country=DE/x/OLD",
        "s3db/tmp/index/users/byCountry/country=BR/x/OLD",
        "s3db/tmp/index/users/byCountry/country=BR/gone/OLD",
    ] {
        memory.put(key, Put::default(), Precondition::None).await.unwrap();
    }
    let of = |country: &str| Query::all().partition("byCountry", json!({"country": country}));
    assert_eq!(ids(&users.list(&of("DE")).await.unwrap().items), Vec::<&str>::new());
    assert_eq!(ids(&users.list(&of("BR")).await.unwrap().items), ["x"]);
    assert_eq!(users.count_where(&of("BR").exact(true)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_partition_without_a_complete_index_is_scanned_with_a_warning_until_reindex() {
    let (users, memory) = resource().await;
    for i in 0..5 {
        users.insert(json!({"id": format!("u{i}"), "name": "Name", "country": "BR"})).await.unwrap();
    }
    for key in memory.snapshot().keys().filter(|k| k.starts_with("s3db/tmp/")) {
        memory.delete(key, Precondition::None).await.unwrap();
    }
    let db = Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).connect().await.unwrap();
    let users = db.resource("users").await.unwrap();
    let of = Query::all().partition("byCountry", json!({"country": "BR"}));
    let page = users.list(&of).await.unwrap();
    assert_eq!(page.items.len(), 5);
    assert!(page.warnings[0].contains("reindex users"));
    let report = users.reindex(&|_| ()).await.unwrap();
    assert_eq!((report.records, report.keys, report.partitions), (5, 5, vec!["byCountry".to_owned()]));
    let page = users.list(&of).await.unwrap();
    assert_eq!((page.items.len(), page.warnings.len()), (5, 0));
    users.update("u0", json!({"country": "DE"})).await.unwrap();
    assert_eq!(users.list(&of).await.unwrap().items.len(), 4);
}

#[tokio::test]
async fn a_wrong_passphrase_is_an_error_that_names_the_field() {
    let (users, memory) = resource().await;
    users.insert(json!({"id": "x", "name": "Ana", "password": "12345678"})).await.unwrap();
    let open = |passphrase: &str| {
        Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).passphrase(passphrase)
    };
    let wrong = open("wrong").connect().await.unwrap().resource("users").await.unwrap();
    let error = wrong.get("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(error.to_string().contains("'password'"), "{error}");
    assert_eq!(wrong.update("x", json!({"name": "Eva"})).await.unwrap_err().kind(), ErrorKind::Integrity);
    let row = &wrong.list(&Query::all().fields(["name"])).await.unwrap().items[0];
    assert_eq!(row.attributes, *json!({"name": "Ana"}).as_object().unwrap());
    let none = open("").connect().await.unwrap().resource("users").await.unwrap();
    assert!(none.get("x").await.unwrap_err().guidance().unwrap().contains("S3DB_PASSPHRASE"));
    assert_eq!(
        none.insert(json!({"name": "Eva", "password": "12345678"})).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
    none.insert(json!({"name": "Eva"})).await.unwrap();
    wrong.delete("x").await.unwrap();
}

#[tokio::test]
async fn secrets_stand_encrypted_in_every_object_and_an_unchanged_one_keeps_its_text() {
    let (users, memory) = resource().await;
    users.insert(json!({"id": "x", "name": "Ana", "password": "plaintext-here", "country": "BR"})).await.unwrap();
    let stored = |memory: &Memory| memory.snapshot()["resource=users/data/id=x"].meta.headers["3"].clone();
    let first = stored(&memory);
    users.update("x", json!({"name": "Eva"})).await.unwrap();
    assert_eq!(stored(&memory), first);
    users.update("x", json!({"password": "plaintext-anew"})).await.unwrap();
    assert_ne!(stored(&memory), first);
    let everything = format!("{:?}", memory.snapshot());
    assert!(!everything.contains("plaintext-here") && !everything.contains("plaintext-anew"));
}

#[tokio::test]
async fn rotation_moves_every_secret_and_can_be_run_again() {
    let (users, memory) = resource().await;
    for i in 0..3 {
        users.insert(json!({"id": format!("u{i}"), "name": "Name", "password": format!("secret-{i}")})).await.unwrap();
    }
    users.set_content("u2", "bytes", "text/plain").await.unwrap();
    let open = |passphrase: &str| {
        Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).passphrase(passphrase)
    };
    let db = open("pass").connect().await.unwrap();
    assert_eq!(db.rotate_secrets("next", &|_| ()).await.unwrap().rotated, 3);
    assert_eq!(db.rotate_secrets("next", &|_| ()).await.unwrap().rotated, 0);
    let moved = open("next").connect().await.unwrap().resource("users").await.unwrap();
    assert_eq!(moved.get("u2").await.unwrap().attributes["password"], "secret-2");
    assert_eq!(moved.content("u2").await.unwrap().unwrap().body, "bytes");
    assert_eq!(users.get("u1").await.unwrap_err().kind(), ErrorKind::Integrity);
}

#[tokio::test]
async fn content_and_fields_share_a_record_without_harming_each_other() {
    let (db, _) = database().await;
    for behavior in Behavior::ALL {
        let r = db
            .create_resource(
                ResourceDefinition::new(behavior.word())
                    .attribute("t", "string")
                    .attribute("p", "secret|optional")
                    .behavior(behavior),
            )
            .await
            .unwrap();
        r.insert(json!({"id": "x", "t": "Título", "p": "hidden"})).await.unwrap();
        assert_eq!(r.content("x").await.unwrap(), None);
        for (body, kind) in [("{\"t\":\"EVIL\"}", "application/json"), ("\u{0}bin", "image/png")] {
            r.set_content("x", body, kind).await.unwrap();
            let content = r.content("x").await.unwrap().unwrap();
            assert_eq!((content.body.as_ref(), content.content_type.as_str()), (body.as_bytes(), kind), "{behavior:?}");
            assert_eq!(r.get("x").await.unwrap().attributes["t"], "Título");
        }
        r.update("x", json!({"t": "Neu"})).await.unwrap();
        assert!(r.has_content("x").await.unwrap());
        assert_eq!(
            (r.get("x").await.unwrap().attributes["t"].clone(), r.get("x").await.unwrap().attributes["p"].clone()),
            (json!("Neu"), json!("hidden"))
        );
        r.delete_content("x").await.unwrap();
        assert!(!r.has_content("x").await.unwrap());
        assert_eq!(r.get("x").await.unwrap().attributes["t"], "Neu");
        assert_eq!(r.set_content("none", "x", "text/plain").await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn each_behaviour_holds_large_records_as_it_says() {
    let (db, _) = database().await;
    let big = "x".repeat(3000);
    for behavior in Behavior::ALL {
        let r = db
            .create_resource(
                ResourceDefinition::new(behavior.word())
                    .attribute("small", "string")
                    .attribute("big", "string")
                    .behavior(behavior),
            )
            .await
            .unwrap();
        let result = r.insert(json!({"id": "x", "small": "abc", "big": big})).await;
        match behavior {
            Behavior::EnforceLimits => {
                let error = result.unwrap_err();
                assert!(error.to_string().contains("S3 metadata size exceeds 2KB limit"), "{error}");
                assert_eq!(r.count().await.unwrap(), 0);
            }
            Behavior::TruncateData => {
                let row = result.unwrap();
                assert_eq!(r.get("x").await.unwrap(), row);
                assert!(row.meta.truncated && row.attributes["small"] == "abc");
                let kept = row.attributes["big"].as_str().unwrap().len();
                assert!((1900..2040).contains(&kept), "{kept} bytes were kept");
                r.update("x", json!({"small": "def"})).await.unwrap();
            }
            _ => {
                assert_eq!(r.get("x").await.unwrap().attributes["big"], big.as_str());
                r.update("x", json!({"small": "def"})).await.unwrap();
                assert_eq!(r.get("x").await.unwrap().attributes["small"], "def");
            }
        }
        let huge = r.insert(json!({"small": "a", "big": "x".repeat(17 << 20)})).await;
        assert_eq!(huge.is_err(), behavior != Behavior::TruncateData, "{behavior:?}");
    }
}

#[tokio::test]
async fn more_attributes_than_headers_hold_need_a_behaviour_with_a_body() {
    let (db, _) = database().await;
    let wide = |behavior: Behavior| {
        (0..70).fold(ResourceDefinition::new(behavior.word()).behavior(behavior), |d, i| {
            d.attribute(format!("a{i}"), "string|optional")
        })
    };
    let record: serde_json::Map<String, Value> = (0..70).map(|i| (format!("a{i}"), json!(format!("v{i}")))).collect();
    for behavior in Behavior::ALL {
        let created = db.create_resource(wide(behavior)).await;
        if !behavior.reads_body() {
            assert!(created.unwrap_err().to_string().contains("can hold 36 attributes"));
            continue;
        }
        let row = created.unwrap().insert(Value::Object(record.clone())).await.unwrap();
        assert_eq!(db.resource(behavior.word()).await.unwrap().get(&row.id).await.unwrap().attributes, record);
    }
}

#[tokio::test]
async fn upsert_and_replace_do_what_they_say() {
    let (users, _) = resource().await;
    users.upsert(json!({"id": "x", "name": "Ana", "country": "BR"})).await.unwrap();
    users.upsert(json!({"id": "x", "email": "a@b.co"})).await.unwrap();
    assert_eq!(
        users.get("x").await.unwrap().to_json(),
        json!({"id": "x", "name": "Ana", "email": "a@b.co", "country": "BR"})
    );
    users.replace("x", json!({"name": "Eva"}), &UpdateOptions::default()).await.unwrap();
    assert_eq!(users.get("x").await.unwrap().to_json(), json!({"id": "x", "name": "Eva"}));
    assert!(users.upsert(json!({"name": "No id"})).await.unwrap_err().to_string().contains("'id'"));
    assert!(users.update("x", json!({"id": "y"})).await.unwrap_err().to_string().contains("cannot be changed"));
    assert_eq!(users.update("none", json!({})).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn bulk_verbs_report_on_each_row() {
    let (users, memory) = resource().await;
    let rows = (0..150)
        .map(|i| {
            if i == 70 {
                json!({"id": "bad", "name": "x"})
            } else {
                json!({"id": format!("u{i:03}"), "name": "Name", "country": "BR"})
            }
        })
        .collect();
    let report = users.insert_many(rows, OnError::Collect).await;
    assert_eq!((report.inserted.len(), report.failed.len(), report.not_begun), (149, 1, 0));
    assert_eq!((report.failed[0].index, report.failed[0].id.as_deref()), (70, Some("bad")));
    let again = users
        .insert_many((0..200).map(|i| json!({"id": format!("u{i:03}"), "name": "Name"})).collect(), OnError::Stop)
        .await;
    assert!(again.not_begun > 0 && again.failed.len() + again.inserted.len() + again.not_begun == 200);
    let ids: Vec<String> = (0..100).map(|i| format!("u{i:03}")).chain(["nope".to_owned(), "u000".to_owned()]).collect();
    let report = users.delete_many(&ids).await.unwrap();
    assert_eq!((report.deleted, report.missing), (99, vec!["nope".to_owned(), "u070".to_owned()]));
    let left = memory.snapshot().keys().filter(|k| k.contains("/index/")).count();
    assert_eq!(left, users.count_where(&Query::all().partition("byCountry", json!({"country": "BR"}))).await.unwrap());
}

#[tokio::test]
async fn delete_all_is_refused_while_paranoid() {
    let (db, memory) = database().await;
    let (careful, loose) = (
        ResourceDefinition::new("careful").attribute("a", "string"),
        ResourceDefinition::new("loose").attribute("a", "string").paranoid(false).partition("byA", [("a", "string")]),
    );
    let (careful, loose) = (db.create_resource(careful).await.unwrap(), db.create_resource(loose).await.unwrap());
    careful.insert(json!({"a": "x"})).await.unwrap();
    for i in 0..5 {
        loose.insert(json!({"a": format!("x{i}")})).await.unwrap();
    }
    assert_eq!(careful.delete_all().await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(loose.delete_all().await.unwrap().deleted, 5);
    assert_eq!((careful.count().await.unwrap(), loose.count().await.unwrap()), (1, 0));
    assert!(!memory.snapshot().keys().any(|k| k.contains("index/loose")));
}

#[tokio::test]
async fn lists_page_in_the_order_of_ids() {
    let (users, _) = resource().await;
    for i in (0..25).rev() {
        users.insert(json!({"id": format!("u{i:02}"), "name": "Name"})).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut options = Query::all().limit(7);
    loop {
        let page = users.list(&options).await.unwrap();
        seen.extend(page.items.iter().map(|r| r.id.clone()));
        match page.next {
            Some(cursor) => options.after = Some(cursor),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).map(|i| format!("u{i:02}")).collect::<Vec<_>>());
    let page = users.page(2, 10, &Query::all()).await.unwrap();
    assert_eq!(
        (ids(&page.items), page.total_items, page.total_pages, page.has_more),
        (vec!["u20", "u21", "u22", "u23", "u24"], 25, 3, false)
    );
    assert_eq!(users.list(&Query::all().limit(0)).await.unwrap().items.len(), 0);
    assert_eq!(users.list_ids(&Query::all().limit(2)).await.unwrap().next.as_deref(), Some("u01"));
}

#[tokio::test]
async fn hooks_change_and_veto_and_events_carry_before_and_after() {
    let (db, _) = database().await;
    let users = db.create_resource(users()).await.unwrap();
    let mut events = db.events();
    users.hook(HookPoint::BeforeDelete, |id, record| async move {
        if id == "keep" { Err("kept for ever".to_owned()) } else { Ok(record) }
    });
    users.hook(HookPoint::BeforeUpdate, |_, mut record| async move {
        record.insert("tags".into(), json!(["hooked"]));
        Ok(record)
    });
    users.insert(json!({"id": "keep", "name": "Ana"})).await.unwrap();
    users.update("keep", json!({"name": "Eva"})).await.unwrap();
    let error = users.delete("keep").await.unwrap_err();
    assert!(error.to_string().contains("kept for ever"), "{error}");
    assert_eq!(users.get("keep").await.unwrap().attributes["tags"], json!(["hooked"]));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let Some(Delivery::Event(event)) = events.next().await else { panic!("no event") };
        kinds.push((event.kind, event.before.map(|b| b["name"].clone()), event.after.map(|a| a["name"].clone())));
    }
    assert_eq!(
        kinds,
        [(EventKind::Insert, None, Some(json!("Ana"))), (EventKind::Update, Some(json!("Ana")), Some(json!("Eva")))]
    );
}

#[tokio::test]
async fn timestamps_are_kept_and_indexed_by_day() {
    let clock = Arc::new(ManualClock::at(1_795_000_000_000));
    let memory = Arc::new(Memory::with(Quirks::default(), Arc::clone(&clock) as Arc<_>));
    let db = Database::builder("memory://").store(memory).clock(Arc::clone(&clock) as Arc<_>).connect().await.unwrap();
    let r = db.create_resource(ResourceDefinition::new("r").attribute("a", "string").timestamps(true)).await.unwrap();
    let row = r.insert(json!({"id": "x", "a": "1", "createdAt": "forged"})).await.unwrap();
    assert_eq!(row.attributes["createdAt"], "2026-11-18T11:06:40.000Z");
    clock.advance(std::time::Duration::from_secs(86_400));
    r.update("x", json!({"a": "2", "createdAt": "forged"})).await.unwrap();
    let row = r.get("x").await.unwrap();
    assert_eq!(
        (row.attributes["createdAt"].as_str(), row.attributes["updatedAt"].as_str()),
        (Some("2026-11-18T11:06:40.000Z"), Some("2026-11-19T11:06:40.000Z"))
    );
    let day = |partition: &str, field: &str, day: &str| Query::all().partition(partition, json!({field: day}));
    assert_eq!(r.list(&day("byUpdatedDate", "updatedAt", "2026-11-19")).await.unwrap().items.len(), 1);
    assert_eq!(r.list(&day("byUpdatedDate", "updatedAt", "2026-11-18")).await.unwrap().items.len(), 0);
    assert_eq!(r.list(&day("byCreatedDate", "createdAt", "2026-11-18T23:00:00Z")).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_broken_catalog_is_never_overwritten() {
    for (text, kind) in [
        ("{\"version\": \"1\", ", ErrorKind::Integrity),
        ("[]", ErrorKind::Integrity),
        ("{\"version\": \"2\", \"resources\": {}}", ErrorKind::Unsupported),
    ] {
        let memory = Arc::new(Memory::new());
        memory
            .put("s3db.json", Put { body: text.as_bytes().to_vec().into(), ..Put::default() }, Precondition::None)
            .await
            .unwrap();
        let error =
            Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).connect().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert_eq!(memory.snapshot()["s3db.json"].body, text);
    }
}

#[tokio::test]
async fn a_type_that_is_not_known_makes_one_resource_read_only() {
    let (db, memory) = database().await;
    let users = db.create_resource(users()).await.unwrap();
    users.insert(json!({"id": "x", "name": "Ana"})).await.unwrap();
    let text = String::from_utf8(memory.snapshot()["s3db.json"].body.to_vec()).unwrap();
    let other = text.replacen("\"users\": {", "\"odd\": { \"currentVersion\": \"v0\", \"extra\": 1, \"versions\": { \"v0\": { \"attributes\": { \"at\": \"datetime|optional\" } } } },\n    \"users\": {", 1);
    assert_ne!(other, text);
    memory.put("s3db.json", Put { body: other.into(), ..Put::default() }, Precondition::None).await.unwrap();
    memory
        .put(
            "resource=odd/data/id=o",
            Put {
                headers: [("0".to_owned(), "v8".to_owned()), ("_v".to_owned(), "v0".to_owned())].into(),
                ..Put::default()
            },
            Precondition::None,
        )
        .await
        .unwrap();
    let db = Database::builder("memory://").store(Arc::clone(&memory) as Arc<dyn Store>).connect().await.unwrap();
    assert_eq!(db.resource("users").await.unwrap().get("x").await.unwrap().attributes["name"], "Ana");
    let odd = db.resource("odd").await.unwrap();
    assert_eq!(odd.get("o").await.unwrap().attributes["at"], "v8");
    let error = odd.insert(json!({"at": "now"})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("'datetime' is not a type"), "{error}");
    db.create_resource(ResourceDefinition::new("more").attribute("a", "string")).await.unwrap();
    let text = String::from_utf8(memory.snapshot()["s3db.json"].body.to_vec()).unwrap();
    assert!(
        text.contains("\"extra\": 1") && text.contains("datetime|optional"),
        "another program's fields were dropped"
    );
}

/// Every request of every verb fails in every way; afterwards the promises hold and a retry ends.
#[tokio::test]
async fn whatever_request_fails_no_acknowledged_write_is_lost_and_every_row_is_found() {
    let mut points = 0;
    for verb in ["insert", "update", "delete", "upsert", "delete_many"] {
        for fault in Fault::ALL {
            for nth in 1..12 {
                let memory: Arc<dyn Store> =
                    Arc::new(Memory::with(Quirks::S3, Arc::new(ManualClock::at(1_795_000_000_000))));
                let faulty = Arc::new(Faulty::new(Arc::clone(&memory)));
                let connect = |store: Arc<dyn Store>| {
                    Database::builder("memory://")
                        .store(store)
                        .clock(Arc::new(ManualClock::at(1_795_000_000_000)))
                        .connect()
                };
                let calm = connect(Arc::clone(&memory)).await.unwrap().create_resource(users()).await.unwrap();
                if verb != "insert" {
                    calm.insert(json!({"id": "x", "name": "Ana", "country": "BR"})).await.unwrap();
                }
                let r = connect(Arc::clone(&faulty) as Arc<dyn Store>).await.unwrap().resource("users").await.unwrap();
                faulty.plan(nth, fault);
                let before = faulty.sent();
                let result = act(&r, verb).await;
                let reached = faulty.sent() - before >= nth;
                faulty.heal();
                let acknowledged = result.is_ok();
                check(&calm, verb, acknowledged, &format!("{verb} {fault:?} at {nth}: {result:?}")).await;
                faulty.land().await;
                check(&calm, verb, acknowledged, &format!("{verb} {fault:?} at {nth}, landed: {result:?}")).await;
                if !acknowledged {
                    let again = act(&r, verb).await;
                    let done = matches!(
                        again.as_ref().map_err(s3db::Error::kind),
                        Ok(()) | Err(ErrorKind::AlreadyExists | ErrorKind::NotFound)
                    );
                    assert!(done, "{verb} {fault:?} at {nth} again: {again:?}");
                    check(&calm, verb, true, &format!("{verb} {fault:?} at {nth}, again")).await;
                }
                if !reached {
                    break;
                }
                points += 1;
            }
        }
    }
    println!("{points} fault points");
    assert!(points > 120, "only {points} points were swept");
}

async fn act(r: &Resource, verb: &str) -> s3db::Result<()> {
    match verb {
        "insert" => r.insert(json!({"id": "x", "name": "Eva", "country": "DE"})).await.map(|_| ()),
        "update" => r.update("x", json!({"name": "Eva", "country": "DE"})).await.map(|_| ()),
        "upsert" => r.upsert(json!({"id": "x", "name": "Eva", "country": "DE"})).await.map(|_| ()),
        "delete" => r.delete("x").await,
        _ => r.delete_many(&["x".to_owned()]).await.map(|_| ()),
    }
}

async fn check(r: &Resource, verb: &str, acknowledged: bool, what: &str) {
    let row = r.find("x").await.unwrap();
    match (verb, acknowledged, &row) {
        ("delete" | "delete_many", true, found) => assert!(found.is_none(), "{what}: the record is still there"),
        (_, true, found) => assert_eq!(
            found.as_ref().map(|r| &r.attributes["country"]),
            Some(&json!("DE")),
            "{what}: the write is lost"
        ),
        _ => {}
    }
    for country in ["BR", "DE"] {
        let listed = r.list(&Query::all().partition("byCountry", json!({"country": country}))).await.unwrap();
        let wanted = row.as_ref().is_some_and(|r| r.attributes["country"] == country);
        assert_eq!(listed.items.len(), usize::from(wanted), "{what}: listed under {country}");
    }
}
