//! The arguments of `s3db cron`.

use clap::{Args, Subcommand, ValueEnum};

/// Work on cron expressions, without a database.
#[derive(Debug, Subcommand)]
pub(crate) enum CronCommand {
    /// Print the next instants at which an expression is due
    #[command(
        after_help = "Examples:\n  s3db cron next '*/15 9-17 * * MON-FRI'\n  s3db cron next '30 2 * * *' --tz America/New_York --from 2026-03-07T00:00:00Z -n 3\n\nWith --json an array of instants in UTC. Exit code 5 for an expression that is invalid or never fires."
    )]
    Next {
        #[command(flatten)]
        schedule: Schedule,
        /// Only instants after this one, RFC 3339 [default: now]
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        from: Option<i64>,
        /// How many
        #[arg(short, long = "count", value_name = "N", default_value_t = 5)]
        n: usize,
    },
    /// Say what an expression means, when it is due, and what a change of the clock does to it
    #[command(after_help = "Example:\n  s3db cron explain '30 2 * * *' --tz Europe/Lisbon")]
    Explain {
        #[command(flatten)]
        schedule: Schedule,
    },
    /// Check an expression
    #[command(
        after_help = "Example:\n  s3db cron validate '0 0 * * MON#1'\n\nExit code 5, naming the field and the column, if it is invalid."
    )]
    Validate {
        #[command(flatten)]
        schedule: Schedule,
    },
}

/// An expression in a zone.
#[derive(Debug, Clone, Args)]
pub(crate) struct Schedule {
    /// The expression: [second] minute hour day-of-month month day-of-week [year]
    #[arg(allow_hyphen_values = true)]
    pub(crate) expression: String,
    /// The time zone, an IANA name
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) tz: String,
    /// What happens where a clock is changed
    #[arg(long, value_enum, default_value = "vixie")]
    pub(crate) dst: Dst,
}

/// What happens where a clock is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dst {
    /// Fixed times run once, right after a gap; `*` follows the clock
    Vixie,
    /// What lies in a gap is left out, what comes twice counts once
    Skip,
}

/// An instant as milliseconds since 1970.
pub(crate) fn instant(text: &str) -> Result<i64, String> {
    s3db::instant(text).ok_or_else(|| "write an instant such as 2026-03-07T00:00:00Z".to_owned())
}
