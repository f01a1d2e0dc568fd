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

use s3db_store::clock::SystemClock;
use s3db_store::local::{Local, LocalOptions};
use s3db_store::memory::Memory;
use s3db_store::meter::Meter;
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
