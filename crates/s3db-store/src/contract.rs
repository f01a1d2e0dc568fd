//! The suite that every engine must pass, in both of its modes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these functions are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use crate::{Copy, ErrorKind, List, Precondition, Put, Store};

/// A body with headers.
fn put(body: &str) -> Put {
    let headers = BTreeMap::from([("0".to_owned(), "x y".to_owned()), ("_v".to_owned(), "v0".to_owned())]);
    Put {
        body: Bytes::copy_from_slice(body.as_bytes()),
        headers,
        content_type: Some("application/json".into()),
        ..Put::default()
    }
}

fn kind<T: std::fmt::Debug>(result: crate::Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}

/// Runs the whole suite on an empty store.
pub async fn run(store: Arc<dyn Store>) {
    what_was_put_is_read(&*store).await;
    conditional_writes_hold(&*store).await;
    conditional_deletes_do_what_the_store_says(&*store).await;
    listings_are_complete_and_in_byte_order(&*store).await;
    delimiters_roll_up(&*store).await;
    copies_replace_headers(&*store).await;
    large_bodies_and_ranges(&*store).await;
    one_of_many_creators_wins(&store).await;
    a_counter_loses_no_increment(&store).await;
}

async fn what_was_put_is_read(store: &dyn Store) {
    let etag = store.put("a/é%2F|b", put("body"), Precondition::None).await.unwrap();
    let object = store.get("a/é%2F|b", None).await.unwrap();
    assert_eq!(object.body, "body");
    assert_eq!((object.meta.etag.as_str(), object.meta.size), (etag.as_str(), 4));
    assert_eq!(object.meta.headers, put("body").headers);
    assert_eq!(object.meta.content_type.as_deref(), Some("application/json"));
    assert_eq!(store.head("a/é%2F|b").await.unwrap(), object.meta);
    assert_eq!(kind(store.get("a", None).await), ErrorKind::NotFound);
    assert_eq!(kind(store.head("nothing").await), ErrorKind::NotFound);
    store.delete("a/é%2F|b", Precondition::None).await.unwrap();
    store.delete("a/é%2F|b", Precondition::None).await.unwrap();
    assert_eq!(kind(store.get("a/é%2F|b", None).await), ErrorKind::NotFound);
}

async fn conditional_writes_hold(store: &dyn Store) {
    let first = store.put("cas", put("1"), Precondition::Absent).await.unwrap();
    assert_eq!(kind(store.put("cas", put("2"), Precondition::Absent).await), ErrorKind::Precondition);
    let second = store.put("cas", put("2"), Precondition::Matches(first.clone())).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(kind(store.put("cas", put("3"), Precondition::Matches(first)).await), ErrorKind::Precondition);
    let missing = store.put("none", put("3"), Precondition::Matches(second)).await;
    assert!(matches!(kind(missing), ErrorKind::NotFound | ErrorKind::Precondition));
    assert_eq!(store.get("cas", None).await.unwrap().body, "2");
    store.delete("cas", Precondition::None).await.unwrap();
    store.put("cas", put("4"), Precondition::Absent).await.unwrap();
    store.delete("cas", Precondition::None).await.unwrap();
}

async fn conditional_deletes_do_what_the_store_says(store: &dyn Store) {
    let etag = store.put("del", put("1"), Precondition::None).await.unwrap();
    let stale = store.delete("del", Precondition::Matches(format!("{etag}0"))).await;
    if store.capabilities().conditional_delete {
        assert_eq!(kind(stale), ErrorKind::Precondition);
        store.delete("del", Precondition::Matches(etag.clone())).await.unwrap();
        let gone = store.delete("del", Precondition::Matches(etag)).await;
        assert!(matches!(kind(gone), ErrorKind::NotFound | ErrorKind::Precondition));
    } else {
        stale.unwrap();
    }
    assert_eq!(kind(store.head("del").await), ErrorKind::NotFound);
}

async fn listings_are_complete_and_in_byte_order(store: &dyn Store) {
    let mut keys: Vec<String> = (0..25).map(|i| format!("list/{i:02}")).collect();
    keys.extend(["list/a-b", "list/a/b", "list/a.b", "list/é", "list/Z", "list/a"].map(str::to_owned));
    for key in &keys {
        store.put(key, put(""), Precondition::None).await.unwrap();
    }
    store.put("list", put(""), Precondition::None).await.unwrap();
    store.put("lisu", put(""), Precondition::None).await.unwrap();
    keys.sort();
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let page = store.list(List { token: token.clone(), max_keys: 7, ..List::prefix("list/") }).await.unwrap();
        assert!(page.entries.len() <= 7);
        found.extend(page.entries.into_iter().map(|e| e.key));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    if !store.capabilities().ordered_listing {
        found.sort();
    }
    assert_eq!(found, keys);
    let after = store.list(List { start_after: Some("list/20".into()), ..List::prefix("list/2") }).await.unwrap();
    assert_eq!(
        after.entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(),
        ["list/21", "list/22", "list/23", "list/24"]
    );
    let before = store.list(List { start_after: Some("a".into()), ..List::prefix("list/2") }).await.unwrap();
    assert_eq!(before.entries.len(), 5);
    keys.push("list".into());
    keys.push("lisu".into());
    store.delete_many(&keys).await.unwrap();
    assert_eq!(store.list(List::prefix("lis")).await.unwrap().entries, []);
}

async fn delimiters_roll_up(store: &dyn Store) {
    let keys: Vec<String> = (0..30).map(|i| format!("d/{}/{i}", i % 3)).chain(["d/x".to_owned()]).collect();
    for key in &keys {
        store.put(key, put(""), Precondition::None).await.unwrap();
    }
    let all = List { delimiter: Some('/'), ..List::prefix("d/") };
    let page = store.list(all.clone()).await.unwrap();
    assert_eq!(page.prefixes, ["d/0/", "d/1/", "d/2/"]);
    assert_eq!(page.entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["d/x"]);
    let first = store.list(List { max_keys: 2, ..all.clone() }).await.unwrap();
    assert_eq!(first.prefixes, ["d/0/", "d/1/"]);
    let second = store.list(List { max_keys: 2, token: first.next, ..all }).await.unwrap();
    assert_eq!((second.prefixes, second.entries.len(), second.next), (vec!["d/2/".to_owned()], 1, None));
    store.delete_many(&keys).await.unwrap();
}

async fn copies_replace_headers(store: &dyn Store) {
    let etag = store.put("from", put("content"), Precondition::None).await.unwrap();
    store.copy("from", "to", Copy::default()).await.unwrap();
    assert_eq!(store.get("to", None).await.unwrap().meta.headers, put("").headers);
    let headers = BTreeMap::from([("1".to_owned(), "new".to_owned())]);
    let replace = Copy { headers: Some(headers.clone()), source: Precondition::Matches(etag), ..Copy::default() };
    store.copy("from", "from", replace).await.unwrap();
    let object = store.get("from", None).await.unwrap();
    assert_eq!((object.body.as_ref(), object.meta.headers), (b"content".as_slice(), headers));
    let stale = Copy { source: Precondition::Matches("no".into()), ..Copy::default() };
    assert_eq!(kind(store.copy("from", "to", stale).await), ErrorKind::Precondition);
    assert_eq!(kind(store.copy("nowhere", "to", Copy::default()).await), ErrorKind::NotFound);
    store.delete_many(&["from".into(), "to".into()]).await.unwrap();
}

async fn large_bodies_and_ranges(store: &dyn Store) {
    let body: String = (0..400_000).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    store.put("large", put(&body), Precondition::None).await.unwrap();
    assert_eq!(store.get("large", None).await.unwrap().body, body);
    assert_eq!(store.get("large", Some(26..30)).await.unwrap().body, "abcd");
    assert_eq!(store.get("large", Some(399_998..500_000)).await.unwrap().body.len(), 2);
    assert_eq!(kind(store.get("large", Some(400_000..400_001)).await), ErrorKind::Invalid);
    store.put("large", put("small now"), Precondition::None).await.unwrap();
    assert_eq!(store.get("large", None).await.unwrap().body, "small now");
    store.delete("large", Precondition::None).await.unwrap();
}

async fn one_of_many_creators_wins(store: &Arc<dyn Store>) {
    for round in 0..20 {
        let key = format!("race/{round}");
        let attempts = (0..8).map(|i| store.put(&key, put(&format!("{i}")), Precondition::Absent));
        let won = join_all(attempts).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(won, 1, "round {round}");
        store.delete(&key, Precondition::None).await.unwrap();
    }
}

async fn a_counter_loses_no_increment(store: &Arc<dyn Store>) {
    store.put("counter", put("0"), Precondition::None).await.unwrap();
    let increment = || async {
        for _ in 0..10 {
            loop {
                let object = store.get("counter", None).await.unwrap();
                let value: u32 = std::str::from_utf8(&object.body).unwrap().parse().unwrap();
                let next = put(&format!("{}", value + 1));
                match store.put("counter", next, Precondition::Matches(object.meta.etag)).await {
                    Ok(_) => break,
                    Err(e) if matches!(e.kind, ErrorKind::Precondition | ErrorKind::Conflict) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        }
    };
    join_all((0..8).map(|_| increment())).await;
    assert_eq!(store.get("counter", None).await.unwrap().body, "80");
    store.delete("counter", Precondition::None).await.unwrap();
}
