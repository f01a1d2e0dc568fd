//! Every engine keeps the contract, in the ideal mode and as real servers behave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::sync::Arc;

use s3_server::{Behaviour, Conditions, Server};
use s3db_store::clock::SystemClock;
use s3db_store::local::{Local, LocalOptions};
use s3db_store::memory::Memory;
use s3db_store::meter::Meter;
use s3db_store::s3::{S3, S3Options};
use s3db_store::{Quirks, contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    contract::run(Arc::new(Memory::new())).await;
    contract::run(Arc::new(Memory::with(Quirks::S3, Arc::new(SystemClock)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_keeps_the_contract() {
    for quirks in [Quirks::default(), Quirks::S3] {
        let directory = tempfile::tempdir().unwrap();
        let options = LocalOptions { quirks, ..LocalOptions::default() };
        contract::run(Arc::new(Local::open(directory.path(), options).unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrapper_keeps_the_contract_and_counts() {
    let meter = Meter::new(Arc::new(Memory::new()));
    let counters = meter.counters();
    contract::run(Arc::new(meter)).await;
    assert!(counters.read().put > 100 && counters.read().list > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_s3_server_in_this_process_keeps_the_contract() {
    let plain = Behaviour::default();
    let worse =
        Behaviour { lists_by_names: true, no_conditional_delete: true, no_conditional_multipart: true, ..plain };
    let unquoted = Behaviour { conditions: Conditions::Unquoted, ..plain };
    for behaviour in [plain, worse, unquoted] {
        let server = Server::start(behaviour).await.unwrap();
        let store = S3::open(S3Options {
            prefix: "some/prefix".into(),
            endpoint: Some(server.endpoint().to_owned()),
            path_style: true,
            credentials: Some((s3_server::ACCESS_KEY.into(), s3_server::SECRET_KEY.into())),
            ..S3Options::new(s3_server::BUCKET, "probe/")
        });
        let store = Arc::new(store.await.unwrap());
        contract::run(store.clone()).await;
        assert_eq!(store.attempts(), server.requests(), "every attempt is counted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_server_keeps_the_contract() {
    let Ok(url) = std::env::var("S3DB_TEST_S3") else {
        println!("skipped: S3DB_TEST_S3 names no server; `dev/servers/seaweedfs.sh start DIR` starts one");
        return;
    };
    let (credentials, rest) = url.trim_start_matches("http://").split_once('@').unwrap();
    let (host, bucket) = rest.split_once('/').unwrap();
    let (key, secret) = credentials.split_once(':').unwrap();
    let started = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let store = S3::open(S3Options {
        prefix: format!("contract-{started}"),
        endpoint: Some(format!("http://{host}")),
        path_style: true,
        credentials: Some((key.to_owned(), secret.to_owned())),
        ..S3Options::new(bucket, "probe/")
    });
    let store = Arc::new(store.await.unwrap());
    println!("{:?}", s3db_store::Store::probe(&*store));
    contract::run(store).await;
}
