//! The S3 engine against servers and networks that are not as they should be.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s3_server::{Behaviour, Conditions, HttpFault, Server};
use s3db_store::clock::{Clock, SystemClock};
use s3db_store::s3::{S3, S3Options};
use s3db_store::{ErrorKind, List, Precondition, Put, Store, StoreError, Swap};

fn options(server: &Server) -> S3Options {
    S3Options {
        endpoint: Some(server.endpoint().to_owned()),
        path_style: true,
        credentials: Some((s3_server::ACCESS_KEY.into(), s3_server::SECRET_KEY.into())),
        request_timeout: Duration::from_secs(5),
        ..S3Options::new(s3_server::BUCKET, "probe/")
    }
}

async fn server(behaviour: Behaviour) -> Server {
    Server::start(behaviour).await.unwrap()
}

fn put(body: impl Into<Bytes>) -> Put {
    Put { body: body.into(), ..Put::default() }
}

async fn refusal(options: S3Options) -> StoreError {
    S3::open(options).await.unwrap_err()
}

#[tokio::test]
async fn a_probe_is_made_once_and_finds_what_a_server_does() {
    let server = server(Behaviour { lists_by_names: true, no_conditional_delete: true, ..Behaviour::default() }).await;
    let store = S3::open(options(&server)).await.unwrap();
    let probe = store.probe().unwrap();
    assert_eq!((probe.create, probe.swap, probe.conditional_delete), (true, Swap::Quoted, false));
    assert_eq!((probe.conditional_multipart, probe.ordered_listing), (true, false));
    let made = server.requests();
    assert!(made > 300, "eight writers, twenty times, twice: {made}");
    let again = S3::open(options(&server)).await.unwrap();
    assert_eq!((again.probe().unwrap(), server.requests() - made), (probe, 1));
    let left: Vec<String> = server.memory().snapshot().into_keys().collect();
    assert_eq!(left, ["probe/result.json"], "the probe clears up behind itself");
    let other = S3::open(S3Options { prefix: "other".into(), ..options(&server) }).await.unwrap();
    assert_eq!(other.probe().unwrap().swap, Swap::Quoted);
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_read_only_unless_the_last_writer_may_win() {
    for conditions in [Conditions::Ignored, Conditions::IgnoredEvery(16)] {
        let server = server(Behaviour { conditions, ..Behaviour::default() }).await;
        let store = S3::open(options(&server)).await.unwrap();
        assert!(!store.capabilities().compare_and_swap, "{conditions:?}");
        let error = store.put("a", put("1"), Precondition::None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains("?unsafe=last-write-wins"), "{error}");
        assert_eq!(store.delete("a", Precondition::None).await.unwrap_err().kind, ErrorKind::Unsupported);
        assert_eq!(store.list(List::prefix("a")).await.unwrap().entries, []);
        let last = S3::open(S3Options { last_write_wins: true, ..options(&server) }).await.unwrap();
        assert!(!last.capabilities().compare_and_swap);
        let etag = last.put("a", put("1"), Precondition::Absent).await.unwrap();
        assert_eq!(last.put("a", put("2"), Precondition::Absent).await.unwrap_err().kind, ErrorKind::Precondition);
        last.put("a", put("2"), Precondition::Matches(etag.clone())).await.unwrap();
        let stale = last.put("a", put("3"), Precondition::Matches(etag)).await.unwrap_err();
        assert_eq!(stale.kind, ErrorKind::Precondition);
    }
}

#[tokio::test]
async fn credentials_buckets_and_regions_that_are_wrong_are_named() {
    let server = server(Behaviour::default()).await;
    let unknown = S3Options { credentials: Some(("nobody".into(), "x".into())), ..options(&server) };
    let error = refusal(unknown).await;
    assert_eq!(error.kind, ErrorKind::Denied);
    let wrong = S3Options { credentials: Some((s3_server::ACCESS_KEY.into(), "x".into())), ..options(&server) };
    let error = refusal(wrong).await;
    assert_eq!((error.kind, error.message.contains("%2F")), (ErrorKind::Denied, true), "{error}");
    let missing = S3Options { bucket: "nowhere".into(), ..options(&server) };
    let error = refusal(missing).await;
    assert_eq!((error.kind, error.message.contains("nowhere")), (ErrorKind::NoBucket, true), "{error}");
    for (status, code, kind, words) in [
        (400, "ExpiredToken", ErrorKind::Denied, "expired"),
        (403, "AccessDenied", ErrorKind::Denied, "denied"),
        (400, "AuthorizationHeaderMalformed", ErrorKind::Invalid, "region"),
        (301, "PermanentRedirect", ErrorKind::Invalid, "region"),
    ] {
        server.faults().all(Some(HttpFault::Status { status, code, applied: false }));
        let error = refusal(options(&server)).await;
        assert_eq!((error.kind, error.message.contains(words)), (kind, true), "{code}: {error}");
    }
}

#[tokio::test]
async fn servers_that_cannot_be_reached_or_never_answer_are_named() {
    let nobody =
        S3Options { endpoint: Some("http://127.0.0.1:1".into()), ..options(&server(Behaviour::default()).await) };
    let error = refusal(nobody).await;
    assert_eq!((error.kind, error.message.contains("cannot be reached")), (ErrorKind::Unavailable, true), "{error}");
    let server = server(Behaviour::default()).await;
    let tls = S3Options { endpoint: Some(server.endpoint().replace("http:", "https:")), ..options(&server) };
    let error = refusal(tls).await;
    assert_eq!((error.kind, error.message.contains("cannot be reached")), (ErrorKind::Unavailable, true), "{error}");
    let store = S3::open(S3Options { request_timeout: Duration::from_millis(300), ..options(&server) }).await.unwrap();
    server.faults().all(Some(HttpFault::Hang));
    assert_eq!(store.get("a", None).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(store.put("a", put("1"), Precondition::Absent).await.unwrap_err().kind, ErrorKind::Unknown);
    let nobody = S3Options { endpoint: Some("http://no-such-host.invalid:9".into()), ..options(&server) };
    assert_eq!(refusal(nobody).await.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_answer_that_was_lost_leaves_a_write_open_and_a_read_to_be_repeated() {
    let server = server(Behaviour::default()).await;
    let store = S3::open(options(&server)).await.unwrap();
    store.put("there", put("0123456789"), Precondition::None).await.unwrap();
    let status = |status, code, applied| HttpFault::Status { status, code, applied };
    for (fault, write, read) in [
        (HttpFault::Drop { applied: true }, ErrorKind::Unknown, ErrorKind::Unavailable),
        (HttpFault::Drop { applied: false }, ErrorKind::Unknown, ErrorKind::Unavailable),
        (status(500, "InternalError", true), ErrorKind::Unknown, ErrorKind::Unavailable),
        (status(503, "", false), ErrorKind::Unknown, ErrorKind::Throttled),
        (status(503, "SlowDown", false), ErrorKind::Throttled, ErrorKind::Throttled),
        (status(429, "TooManyRequests", false), ErrorKind::Throttled, ErrorKind::Throttled),
        (status(409, "ConditionalRequestConflict", false), ErrorKind::Conflict, ErrorKind::Conflict),
    ] {
        server.faults().plan(1, fault);
        let error = store.put("new", put("1"), Precondition::Absent).await.unwrap_err();
        assert_eq!(error.kind, write, "{fault:?}: {error}");
        server.faults().plan(1, fault);
        let error = store.get("there", None).await.unwrap_err();
        assert_eq!(error.kind, read, "{fault:?}: {error}");
        server.faults().plan(1, fault);
        assert!(store.list(List::prefix("")).await.is_err(), "{fault:?}: never an empty page");
    }
    server.faults().plan(1, HttpFault::CutBody);
    let error = store.get("there", None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "a body that was cut is never taken for the whole: {error}");
    assert_eq!(store.get("there", None).await.unwrap().body, "0123456789");
}

/// A machine whose clock is five hours ahead.
#[derive(Debug)]
struct Ahead;

const AHEAD_MS: i64 = 5 * 3_600_000;

impl Clock for Ahead {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + AHEAD_MS
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn sleep(&self, pause: Duration) -> s3db_store::clock::Sleep<'_> {
        SystemClock.sleep(pause)
    }
}

#[tokio::test]
async fn a_machine_whose_clock_is_wrong_takes_the_servers_time() {
    let server = server(Behaviour::default()).await;
    let store = S3::open(S3Options { clock: Arc::new(Ahead), ..options(&server) }).await.unwrap();
    let refused = server.requests();
    let off = store.now_ms() - SystemClock.now_ms();
    assert!(off.abs() <= 1_000, "{off} ms off the server's time");
    assert!((store.clock_ahead_ms() - AHEAD_MS).abs() <= 1_000);
    store.put("a", put("1"), Precondition::Absent).await.unwrap();
    assert_eq!(server.requests(), refused + 1, "once the time is known, nothing is refused for it");
    let refusal = HttpFault::Status { status: 403, code: "RequestTimeTooSkewed", applied: false };
    server.faults().plan(1, refusal);
    let error = store.get("a", None).await.unwrap_err();
    let named = (17_999..=18_001).any(|s| error.message.contains(&format!("+{s} s")));
    assert_eq!((error.kind, named), (ErrorKind::Unavailable, true), "{error}");
}

#[tokio::test]
async fn large_bodies_go_in_parts_under_the_same_conditions() {
    let server = server(Behaviour::default()).await;
    let store = S3::open(options(&server)).await.unwrap();
    let body = Bytes::from((0..40 << 20).map(|i: u32| (i % 251) as u8).collect::<Vec<u8>>());
    let headers = BTreeMap::from([("0".to_owned(), "x".to_owned())]);
    let large = Put {
        body: body.clone(),
        headers: headers.clone(),
        content_type: Some("image/png".into()),
        storage_class: Some("STANDARD_IA".into()),
    };
    let before = server.requests();
    store.put("large", large.clone(), Precondition::Absent).await.unwrap();
    assert_eq!(server.requests() - before, 5, "create, three parts, complete");
    let stored = store.get("large", None).await.unwrap();
    assert_eq!((stored.body == body, stored.meta.headers), (true, headers));
    assert_eq!(stored.meta.content_type.as_deref(), Some("image/png"));
    let lost = store.put("large", large.clone(), Precondition::Absent).await.unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Precondition);
    server.faults().plan(3, HttpFault::Drop { applied: false });
    let failed = store.put("other", large, Precondition::Absent).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Unavailable, "a lost part is not a lost object: {failed}");
    assert_eq!(store.head("other").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn credentials_that_may_only_read_open_a_database_for_reading() {
    let server = server(Behaviour::default()).await;
    server.faults().plan(2, HttpFault::Status { status: 403, code: "AccessDenied", applied: false });
    let store = S3::open(options(&server)).await.unwrap();
    assert!(store.refusal().unwrap().contains("do not allow writing"));
    assert_eq!(store.put("a", put("1"), Precondition::None).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(store.list(List::prefix("")).await.unwrap().entries, []);
}

#[tokio::test]
async fn what_aws_would_refuse_is_refused_before_it_is_sent() {
    let server = server(Behaviour::default()).await;
    let store: Arc<dyn Store> = Arc::new(S3::open(options(&server)).await.unwrap());
    let before = server.requests();
    let long = store.put(&"k".repeat(1025), put("1"), Precondition::None).await.unwrap_err();
    let headers = BTreeMap::from([("0".to_owned(), "x".repeat(2048))]);
    let wide = store.put("k", Put { headers, ..put("1") }, Precondition::None).await.unwrap_err();
    assert_eq!((long.kind, wide.kind, server.requests()), (ErrorKind::Invalid, ErrorKind::Invalid, before));
}
