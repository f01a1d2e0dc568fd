//! The arguments of `s3db job` and `s3db run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::cron::instant;

/// Work on jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List jobs: when they run, how they last ended, what runs now
    List,
    /// Show a job: its definition, runs and counts
    Show {
        /// The job
        name: String,
    },
    /// Run a job now and wait for its end
    #[command(
        after_help = "Examples:\n  s3db job run daily_cleanup\n  s3db job run report '{\"month\": \"2026-10\"}'\n\nIt waits for a run that is under way, unless the job's overlap is allow_all or --force is given. Prints {\"runId\",\n\"status\", \"result\", \"duration\", \"attempts\"}. Exit code 1 if the run did not succeed. Ctrl-C interrupts it."
    )]
    Run {
        /// The job
        name: String,
        /// What the run is told, as JSON, @FILE, or - for standard input
        context: Option<String>,
        /// Do not wait for a run that is under way
        #[arg(long)]
        force: bool,
    },
    /// List the runs of a job, newest first, and instants that did not run with the reason
    #[command(
        after_help = "Examples:\n  s3db job history daily_cleanup --limit 20\n  s3db job history daily_cleanup --status error\n\nThe cursor of the next page is printed on stderr, as `next: CURSOR`."
    )]
    History {
        /// The job
        name: String,
        /// Only runs that ended so
        #[arg(long, value_enum)]
        status: Option<RunState>,
        /// At most this many rows
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Only rows behind this cursor, which the page before printed
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Count the history of a job: how runs ended, and how long they took
    Stats {
        /// The job
        name: String,
    },
    /// Switch a job on, for every process
    Enable {
        /// The job
        name: String,
    },
    /// Switch a job off, for every process, whatever s3db.toml says
    Disable {
        /// The job
        name: String,
    },
    /// Print the next planned instants of a job
    Next {
        /// The job
        name: String,
        /// How many
        #[arg(short, long = "count", value_name = "N", default_value_t = 5)]
        n: usize,
    },
    /// Add the jobs of a file, or change them
    #[command(
        after_help = "Examples:\n  s3db job add jobs.json\n  s3db job add                            (those of s3db.toml)\n\nA file is {\"NAME\": {\"schedule\": …, \"action\": {\"kind\": …}}}, as JSON or TOML; docs/scheduler.md has every key.\nEvery problem of every job is told, and then none is stored."
    )]
    Add {
        /// The file
        file: Option<PathBuf>,
    },
    /// Remove a job; its history stays
    Remove {
        /// The job
        name: String,
    },
    /// Ask a run to end, of whichever process
    #[command(
        after_help = "Example:\n  s3db job cancel nightly_1795383750000       (the id from `s3db job list` or `s3db job show nightly`)\n\nIts process hears it within ten seconds; a run that does not end by itself is dropped ten seconds later."
    )]
    Cancel {
        /// The run
        run: String,
    },
    /// Run the instants of a range that were missed or skipped
    #[command(
        after_help = "Example:\n  s3db job backfill daily_report 2026-11-01T00:00:00Z 2026-11-07T23:59:59Z\n\nIn order, one after the other; instants that have run are left as they are. Exit code 1 if a run did not succeed."
    )]
    Backfill {
        /// The job
        name: String,
        /// The first instant, RFC 3339
        #[arg(value_name = "FROM", value_parser = instant)]
        from: i64,
        /// The last instant, RFC 3339
        #[arg(value_name = "TO", value_parser = instant)]
        to: i64,
    },
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunState {
    /// Under way
    Running,
    /// It succeeded
    Success,
    /// Its last attempt failed
    Error,
    /// Its last attempt took too long
    Timeout,
    /// The instant was left out
    Skipped,
    /// No process was there
    Missed,
    /// Its process died or was stopped
    Interrupted,
    /// It was cancelled
    Cancelled,
}

/// `s3db run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// Run this job once, now, and end
    #[arg(long, value_name = "NAME", conflicts_with_all = ["dry_run", "metrics"])]
    pub(crate) once: Option<String>,
    /// Run nothing, and print what would run
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: for so many hours
    #[arg(long, value_name = "N", default_value_t = 24, requires = "dry_run", value_parser = clap::value_parser!(u32).range(1..=8784))]
    pub(crate) hours: u32,
    /// Serve /metrics (Prometheus) and /health on this loopback address, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// How long runs have to end after SIGTERM
    #[arg(long, value_name = "D", value_parser = deadline, default_value = "30s")]
    pub(crate) deadline: Duration,
}

fn deadline(text: &str) -> Result<Duration, String> {
    s3db::parse_duration(text).ok_or_else(|| "write a duration such as 30s or 5m".to_owned())
}
