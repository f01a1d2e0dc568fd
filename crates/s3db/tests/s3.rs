//! Databases in a bucket: the library through real HTTP, on a server in this process.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use s3_server::{Behaviour, Conditions, HttpFault, Server};
use s3db::store::{Precondition, Put, Store};
use s3db::{Database, ErrorKind, OnError, Query, ResourceDefinition};
use serde_json::json;

async fn server(behaviour: Behaviour) -> Server {
    Server::start(behaviour).await.unwrap()
}

fn users() -> ResourceDefinition {
    ResourceDefinition::new("users")
        .attribute("name", "string")
        .attribute("country", "string|optional")
        .attribute("n", "number|default:0")
        .partition("byCountry", [("country", "string")])
}

#[tokio::test]
async fn a_database_in_a_bucket_does_what_one_in_a_directory_does() {
    let server = server(Behaviour::default()).await;
    let db = Database::connect(server.url("app")).await.unwrap();
    assert_eq!(db.location(), format!("{}/test-bucket/app", server.endpoint()), "no secret is shown");
    let users = db.create_resource(users()).await.unwrap();
    let rows = (0..30)
        .map(|i| json!({"id": format!("u{i:02}"), "name": "Ana", "country": if i % 3 == 0 { "BR" } else { "PT" }}));
    let report = users.insert_many(rows.collect(), OnError::Stop).await;
    assert_eq!(report.inserted.len(), 30);
    assert_eq!(users.insert(json!({"id": "u01", "name": "x"})).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    users.update("u00", json!({"country": "PT"})).await.unwrap();
    let brazil = Query::all().partition("byCountry", json!({"country": "BR"}));
    assert_eq!(users.list(&brazil).await.unwrap().items.len(), 9);
    users.set_content("u02", "picture", "image/png").await.unwrap();
    assert_eq!(users.content("u02").await.unwrap().unwrap().body, "picture");
    users.delete_many(&["u03".into(), "u04".into()]).await.unwrap();
    assert_eq!(users.count().await.unwrap(), 28);
    assert!(server.memory().snapshot().contains_key("app/s3db.json"), "everything lies under the prefix");
    let again = Database::connect(server.url("app")).await.unwrap();
    let status = again.status().await.unwrap();
    assert_eq!((status.compare_and_swap, status.resources[0].records), (true, 28));
    assert!(again.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
}

/// The golden table counts what the library asks of a store; on S3 each of these is one HTTP request.
#[tokio::test]
async fn each_request_of_the_table_is_one_http_request() {
    let server = server(Behaviour::default()).await;
    let db = Database::connect(server.url("app")).await.unwrap();
    let users = db.create_resource(users()).await.unwrap();
    let before = server.requests();
    Database::connect(server.url("app")).await.unwrap();
    assert_eq!(server.requests() - before, 2, "connect: the catalog, and the stored result of the probe");
    let mut counted = server.requests();
    let mut cost = |what: &str, wanted: u64| {
        let now = server.requests();
        assert_eq!(now - counted, wanted, "{what}");
        counted = now;
    };
    users.insert(json!({"id": "a", "name": "Ana", "country": "BR"})).await.unwrap();
    cost("insert, P = 1", 2);
    users.get("a").await.unwrap();
    cost("get", 1);
    users.update("a", json!({"n": 1})).await.unwrap();
    cost("update", 2);
    users.update("a", json!({"country": "PT"})).await.unwrap();
    cost("update that moves", 4);
    users.count().await.unwrap();
    cost("count", 1);
    users.delete("a").await.unwrap();
    cost("delete, P = 1", 3);
}

#[tokio::test]
async fn listings_by_names_are_put_in_the_order_of_bytes() {
    for lists_by_names in [false, true] {
        let server = server(Behaviour { lists_by_names, ..Behaviour::default() }).await;
        let db = Database::connect(server.url("app")).await.unwrap();
        let users = db.create_resource(users()).await.unwrap();
        let template = users.insert(json!({"id": "seed", "name": "x"})).await.unwrap();
        assert_eq!(template.id, "seed");
        let seed = server.memory().get("app/resource=users/data/id=seed", None).await.unwrap();
        // Ids with a slash are in old buckets only.
        let ids = ["a", "a b", "a-b", "a.b", "a/b", "a/b/c", "a0", "b", "b-1", "b/1"];
        for id in ids {
            let put = Put { body: seed.body.clone(), headers: seed.meta.headers.clone(), ..Put::default() };
            let key = format!("app/resource=users/data/id={id}");
            server.memory().put(&key, put, Precondition::None).await.unwrap();
        }
        let mut wanted: Vec<&str> = ids.iter().copied().chain(["seed"]).collect();
        wanted.sort_unstable();
        for limit in [1, 2, 3, 100] {
            let mut found: Vec<String> = Vec::new();
            let mut options = Query::all().limit(limit);
            loop {
                let page = users.list_ids(&options).await.unwrap();
                found.extend(page.items);
                match page.next {
                    Some(next) => options = options.after(next),
                    None => break,
                }
            }
            assert_eq!(found, wanted, "pages of {limit}, by names: {lists_by_names}");
        }
    }
}

#[tokio::test]
async fn a_server_without_conditions_is_read_only_and_says_why() {
    let server = server(Behaviour { conditions: Conditions::Ignored, ..Behaviour::default() }).await;
    let db = Database::connect(server.url("app")).await.unwrap();
    assert!(!db.status().await.unwrap().compare_and_swap);
    let error = db.create_resource(users()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("?unsafe=last-write-wins"), "{error}");
    let last = Database::connect(format!("{}?unsafe=last-write-wins", server.url("app"))).await.unwrap();
    let users = last.create_resource(users()).await.unwrap();
    users.insert(json!({"id": "a", "name": "Ana"})).await.unwrap();
    assert_eq!(users.insert(json!({"id": "a", "name": "x"})).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let lease = last.lease("job", &s3db::LeaseOptions::new("me")).await.unwrap_err();
    assert_eq!(lease.kind(), ErrorKind::Unsupported, "leases need conditional writes");
}

#[tokio::test]
async fn answers_that_are_lost_are_found_out_and_outages_are_errors() {
    let server = server(Behaviour::default()).await;
    let db = Database::connect(server.url("app")).await.unwrap();
    let users = db.create_resource(users()).await.unwrap();
    let slow = HttpFault::Status { status: 503, code: "SlowDown", applied: false };
    for (n, fault) in [
        HttpFault::Drop { applied: true },
        HttpFault::Drop { applied: false },
        HttpFault::Status { status: 500, code: "InternalError", applied: true },
        slow,
        HttpFault::Status { status: 409, code: "ConditionalRequestConflict", applied: false },
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("u{n}");
        server.faults().plan(2, fault);
        match users.insert(json!({"id": id, "name": "Ana", "country": "BR"})).await {
            Ok(record) => assert_eq!(record.id, id, "{fault:?}"),
            // Sent again it could bring back a record that another process has deleted meanwhile.
            Err(error) => {
                assert_eq!((fault, error.is_applied_unknown()), (HttpFault::Drop { applied: false }, true), "{error}");
                users.insert(json!({"id": id, "name": "Ana", "country": "BR"})).await.unwrap();
            }
        }
        server.faults().plan(2, fault);
        users.update(&id, json!({"n": 1})).await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        server.faults().plan(1, HttpFault::CutBody);
        assert_eq!(users.get(&id).await.unwrap().attributes["n"], 1);
    }
    server.faults().all(Some(slow));
    for error in [
        users.list(&Query::all()).await.unwrap_err(),
        users.get("u0").await.unwrap_err(),
        users.insert(json!({"id": "late", "name": "x", "country": "BR"})).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "nothing was written: {error}");
    }
    server.faults().heal();
    assert_eq!(users.list(&Query::all()).await.unwrap().items.len(), 5);
    assert!(!users.exists("late").await.unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_named() {
    let server = server(Behaviour::default()).await;
    let host = server.endpoint().trim_start_matches("http://");
    for (url, kind, words) in [
        (format!("http://test-key:wrong@{host}/test-bucket"), ErrorKind::Unavailable, "secret"),
        (format!("http://nobody:x@{host}/test-bucket"), ErrorKind::Unavailable, "denied"),
        (format!("http://test-key:test-secret@{host}/nowhere"), ErrorKind::NotFound, "nowhere"),
        ("http://test-key:test-secret@127.0.0.1:1/b".to_owned(), ErrorKind::Unavailable, "cannot be reached"),
        (format!("http://test-key:test-secret@{host}/b?parallelism=0"), ErrorKind::Invalid, "parallelism"),
        (format!("http://test-key:test-secret@{host}/b?unsafe=yes"), ErrorKind::Invalid, "unsafe"),
        (format!("http://test-key:test-secret@{host}/b?regoin=x"), ErrorKind::Invalid, "regoin"),
        ("s3://k:s@b?endpoint=localhost:9000".to_owned(), ErrorKind::Invalid, "endpoint"),
    ] {
        let error = Database::connect(url.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert!(error.to_string().contains(words), "{url}: {error}");
        let shown = format!("{error} {error:?} {:?}", error.guidance());
        assert!(!shown.contains("test-secret") && !shown.contains(":wrong@"), "a secret is shown: {shown}");
    }
}
