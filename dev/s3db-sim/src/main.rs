//! Runs seeds of the simulation and prints what they met.
//!
//!     cargo run --release -p s3db-sim -- --seeds 300
//!     cargo run --release -p s3db-sim -- --seed 4711 --mode shared
#![allow(clippy::print_stdout, reason = "this program prints a report")]

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use s3db_sim::{Mode, Outcome, run};

/// A deterministic simulation of s3db: several nodes on one faulty store, in virtual time.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds are run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Run this one only
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// What is simulated, and how partitions are kept
    #[arg(long, value_enum, default_value_t = Modes::All)]
    mode: Modes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Modes {
    /// Our own index
    Index,
    /// The references of s3db.js
    Shared,
    /// State machines
    Machines,
    /// Jobs
    Jobs,
    /// One after the other
    All,
}

impl Modes {
    fn list(self) -> &'static [Mode] {
        match self {
            Self::Index => &[Mode::Index],
            Self::Shared => &[Mode::Shared],
            Self::Machines => &[Mode::Machines],
            Self::Jobs => &[Mode::Jobs],
            Self::All => &[Mode::Index, Mode::Shared, Mode::Machines, Mode::Jobs],
        }
    }
}

fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seeds = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => arguments.first..arguments.first + arguments.seeds,
    };
    let mut failed = 0;
    for mode in arguments.mode.list() {
        let mut sum = Outcome::default();
        for seed in seeds.clone() {
            let outcome = run(seed, *mode)?;
            if !outcome.broken.is_empty() {
                failed += 1;
                let name = format!("{mode:?}").to_lowercase();
                println!(
                    "\nseed {seed} is broken; replay: cargo run --release -p s3db-sim -- --seed {seed} --mode {name}"
                );
                for rule in &outcome.broken {
                    println!("- {rule}");
                }
            }
            add(&mut sum, outcome);
        }
        report(*mode, seeds.end - seeds.start, &sum);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn add(sum: &mut Outcome, one: Outcome) {
    sum.calls += one.calls;
    sum.unknown += one.unknown;
    sum.requests += one.requests;
    sum.kills += one.kills;
    sum.histories += one.histories;
    sum.undecided += one.undecided;
    sum.longest_search = sum.longest_search.max(one.longest_search);
    sum.stale_keys += one.stale_keys;
    for (fault, count) in one.faults {
        *sum.faults.entry(fault).or_default() += count;
    }
    sum.broken.extend(one.broken);
}

fn report(mode: Mode, seeds: u64, sum: &Outcome) {
    let faults: BTreeMap<_, _> = sum.faults.iter().collect();
    let faults: Vec<String> = faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("\n{mode:?}: {seeds} seeds, {} rules broken", sum.broken.len());
    println!("  calls      {} ({} of unknown outcome)", sum.calls, sum.unknown);
    println!("  requests   {}", sum.requests);
    println!("  faults     {}; nodes killed {}", faults.join(", "), sum.kills);
    println!(
        "  histories  {} checked, {} given up, longest search {} steps",
        sum.histories, sum.undecided, sum.longest_search
    );
    println!("  left over  {} keys, found by doctor", sum.stale_keys);
}
