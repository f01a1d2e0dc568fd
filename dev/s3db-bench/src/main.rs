//! Benchmarks, run by hand. They print ratios to a rival that does the same work on the same machine
//! in the same run, in turns; times by themselves mean nothing here.
//!
//! ```text
//! cargo run --release -p s3db-bench -- embedded        beside plain SQLite
//! cargo run --release -p s3db-bench -- bucket URL      beside the bare AWS SDK, on the same server
//! cargo run --release -p s3db-bench -- growth          at 1×, 10× and 100× the data
//! cargo run --release -p s3db-bench -- machines        transitions beside the writes they are made of
//! cargo run --release -p s3db-bench -- jobs            next, lateness, an idle day
//! cargo run --release -p s3db-bench -- backups 10000   beside restic over the same records as files
//! cargo run --release -p s3db-bench -- secrets         own salt, and one of its own in each record
//! cargo run --release -p s3db-bench -- peer URL        in turns with s3db.js, dev/peer/bench.mjs
//! ```
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this program prints what it measures by the clock"
)]

mod backups;
mod bucket;
mod embedded;
mod growth;
mod jobs;
mod machines;
mod measure;
mod peer;
mod secrets;

use clap::Parser;

/// What to measure.
#[derive(Debug, Parser)]
enum Bench {
    /// The embedded store beside plain SQLite
    Embedded {
        /// Operations of each kind in a round
        #[arg(long, default_value_t = 20_000)]
        operations: usize,
    },
    /// A bucket beside the bare AWS SDK that sends the same requests
    Bucket {
        /// http://KEY:SECRET@host:port/bucket
        url: String,
        /// Operations of each kind in a round
        #[arg(long, default_value_t = 1_000)]
        operations: usize,
    },
    /// How time and memory grow with the data
    Growth {
        /// Records at 1×
        #[arg(long, default_value_t = 1_000)]
        records: usize,
    },
    /// One measure of growth, in a process whose memory holds nothing else
    #[command(hide = true)]
    GrowthOne {
        /// The store
        directory: std::path::PathBuf,
        /// The number of the query
        query: usize,
    },
    /// Transitions of state machines beside the writes that they are made of
    Machines {
        /// Transitions in a round
        #[arg(long, default_value_t = 5_000)]
        operations: usize,
    },
    /// The scheduler: next, lateness, an idle day
    Jobs {
        /// Jobs that are due at one instant
        #[arg(long, default_value_t = 1_000)]
        jobs: usize,
    },
    /// Backup and restore beside restic
    Backups {
        /// Records
        #[arg(default_values_t = [10_000, 100_000])]
        records: Vec<usize>,
    },
    /// One step of that, in a process whose memory holds nothing else
    #[command(hide = true)]
    BackupsOne {
        /// fill, backup, incremental or restore
        step: String,
        /// Where
        folder: std::path::PathBuf,
        /// Records
        records: usize,
    },
    /// What secret fields cost
    Secrets,
    /// What dev/peer/bench.mjs does with s3db.js
    Peer {
        /// http://KEY:SECRET@host:port/bucket/prefix
        url: String,
        /// Operations of each kind in a round
        #[arg(default_value_t = 200)]
        operations: usize,
    },
}

/// Any failure ends the program.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    match Bench::parse() {
        Bench::Embedded { operations } => embedded::run(operations).await,
        Bench::Bucket { url, operations } => bucket::run(&url, operations).await,
        Bench::Growth { records } => growth::run(records).await,
        Bench::GrowthOne { directory, query } => growth::one(&directory, query).await,
        Bench::Machines { operations } => machines::run(operations).await,
        Bench::Jobs { jobs } => jobs::run(jobs).await,
        Bench::Backups { records } => backups::run(records).await,
        Bench::BackupsOne { step, folder, records } => backups::one(&step, &folder, records).await,
        Bench::Secrets => secrets::run().await,
        Bench::Peer { url, operations } => peer::run(&url, operations).await,
    }
}
