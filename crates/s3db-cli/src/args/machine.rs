//! The arguments of `s3db machine`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// Work on state machines.
#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// Store the machines of a file; a changed one becomes a new version
    #[command(
        after_help = "Examples:\n  s3db machine define machines/order.json\n  s3db machine define                     (the files of [stateMachine] in s3db.toml)\n\nA file is {\"machines\": {NAME: {…}}, \"guards\": {NAME: {\"cel\": …}}, \"actions\": {NAME: {\"kind\": …}}}, as JSON or\nTOML. Entities stay on the version that they began on until `s3db machine migrate`."
    )]
    Define {
        /// The file
        file: Option<PathBuf>,
    },
    /// Check the machines of a file, and store nothing
    #[command(after_help = "Example:\n  s3db machine validate machines/order.json\n\nExit code 5 with every problem.")]
    Validate {
        /// The file
        file: Option<PathBuf>,
    },
    /// List machines
    List,
    /// Show a machine's definition
    #[command(disable_version_flag = true)]
    Show {
        /// The machine
        machine: String,
        /// A version: its number or hash [default: the current one]
        #[arg(long, value_name = "V")]
        version: Option<String>,
    },
    /// Print the JSON Schema of a file of machines
    Schema,
    /// Make an entity in the initial state
    #[command(
        after_help = "Example:\n  s3db machine init order o1 '{\"total\": 99.5}'\n\nExit code 4 if it exists already."
    )]
    Init {
        /// The machine
        machine: String,
        /// The entity: the id of what it is about
        entity: String,
        /// Its context as JSON, @FILE, or - for standard input
        context: Option<String>,
    },
    /// Send an event to an entity
    #[command(
        after_help = "Examples:\n  s3db machine send order o1 CONFIRM\n  s3db machine send order o1 SHIP '{\"parcel\": \"X1\"}' --actor ana --idempotency-key 7f3a\n\nPrints {\"from\", \"to\", \"event\", \"version\", \"timestamp\", \"transitionId\", \"actions\"}. Exit code 6 if it is refused:\nno such event in this state, a guard, a final state; 4 with --expected-version; 3 for an unknown entity."
    )]
    Send {
        /// The machine
        machine: String,
        /// The entity
        entity: String,
        /// The event
        event: String,
        /// Its payload as JSON, @FILE, or - for standard input; its members replace those of the context
        payload: Option<String>,
        /// A repeated send with this key gets the first answer again, with what has become of its actions
        #[arg(long, value_name = "K")]
        idempotency_key: Option<String>,
        /// Who sends
        #[arg(long, value_name = "A")]
        actor: Option<String>,
        /// Why
        #[arg(long, value_name = "T")]
        reason: Option<String>,
        /// Only if the entity is at this version
        #[arg(long, value_name = "N")]
        expected_version: Option<u64>,
    },
    /// Show an entity: state, version, context, timers, unfinished actions
    State {
        /// The machine
        machine: String,
        /// The entity
        entity: String,
    },
    /// List the events that an entity accepts
    Events {
        /// The machine
        machine: String,
        /// The entity
        entity: String,
        /// Only those that the guards let pass now
        #[arg(long)]
        passing: bool,
        /// For --passing: the payload as JSON
        #[arg(long, value_name = "JSON", requires = "passing")]
        payload: Option<String>,
        /// For --passing: who would send
        #[arg(long, value_name = "A", requires = "passing")]
        actor: Option<String>,
    },
    /// List the transitions of an entity, newest first
    #[command(
        after_help = "Example:\n  s3db machine history order o1 --limit 20\n\nThe cursor of the next page is printed on stderr, as `next: CURSOR`."
    )]
    History {
        /// The machine
        machine: String,
        /// The entity
        entity: String,
        /// At most this many rows
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Leave out this many of the newest
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        offset: usize,
        /// Only rows behind this cursor, which the page before printed
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// List entities, all of them or those in a state
    #[command(
        after_help = "Examples:\n  s3db machine entities order --state pending\n  s3db machine entities order --state pending --older-than 2h"
    )]
    Entities {
        /// The machine
        machine: String,
        /// Only those in this state
        #[arg(long, value_name = "S")]
        state: Option<String>,
        /// Only those that have been there so long: 30m, 2h, 7d
        #[arg(long, value_name = "D", value_parser = duration)]
        older_than: Option<std::time::Duration>,
    },
    /// Count the entities in each state
    Counts {
        /// The machine
        machine: String,
        /// Read every entity instead of the keys of the index
        #[arg(long)]
        exact: bool,
    },
    /// List the entities that have been in one state for long and are not done, the oldest first
    #[command(after_help = "Example:\n  s3db machine stuck order --older-than 2d")]
    Stuck {
        /// The machine
        machine: String,
        /// How long: 30m, 2h, 7d
        #[arg(long, value_name = "D", value_parser = duration)]
        older_than: std::time::Duration,
    },
    /// Fire due timers and finish what a crash left, once or for ever
    #[command(
        after_help = "Examples:\n  s3db machine sweep\n  s3db machine sweep --watch              (until Ctrl-C or SIGTERM)\n\nSeveral may run at once. --watch prints a line for each sweep that did something; it ends what it has begun,\nwith exit code 0 after SIGTERM and 130 after Ctrl-C. Exit code 1 without --watch if an entity could not be looked after; it stays due."
    )]
    Sweep {
        /// Go on until Ctrl-C or SIGTERM
        #[arg(long)]
        watch: bool,
        /// With --watch: the pause between two sweeps
        #[arg(long, value_name = "D", value_parser = pause, default_value = "5s", requires = "watch")]
        every: std::time::Duration,
    },
    /// Draw a machine
    #[command(
        disable_version_flag = true,
        after_help = "Examples:\n  s3db machine visualize order --format svg > order.svg\n  s3db machine visualize order --entity o1 | dot -Tpng > order.png"
    )]
    Visualize {
        /// The machine
        machine: String,
        /// How
        #[arg(long, value_enum, default_value = "dot")]
        format: Picture,
        /// Highlight the state of this entity
        #[arg(long, value_name = "E")]
        entity: Option<String>,
        /// A version: its number or hash [default: the current one, or the entity's]
        #[arg(long, value_name = "V")]
        version: Option<String>,
    },
    /// Say what events would do to a new entity; writes nothing
    #[command(
        after_help = "Examples:\n  s3db machine simulate order CONFIRM PREPARE SHIP\n  s3db machine simulate order 'CONFIRM={\"paid\": true}' after:30m --context '{\"total\": 5}'\n\nGuards are asked as live; actions do not run. Exit code 6 if an event would be refused."
    )]
    Simulate {
        /// The machine
        machine: String,
        /// Events: EVENT, EVENT=PAYLOAD, or after:30m for a timer
        #[arg(required = true)]
        events: Vec<String>,
        /// The context as JSON or @FILE
        #[arg(long, value_name = "JSON")]
        context: Option<String>,
        /// Who would send
        #[arg(long, value_name = "A")]
        actor: Option<String>,
        /// Why
        #[arg(long, value_name = "T")]
        reason: Option<String>,
    },
    /// Replay the log and compare it with the stored state
    #[command(
        after_help = "Examples:\n  s3db machine verify order o1\n  s3db machine verify order               (every entity)\n\nExit code 8 if they differ."
    )]
    Verify {
        /// The machine
        machine: String,
        /// The entity [default: all]
        entity: Option<String>,
    },
    /// Move entities to another version of the definition
    #[command(
        after_help = "Examples:\n  s3db machine migrate order --to 2 --dry-run\n  s3db machine migrate order --to 2 --map '{\"preparing\": \"packing\"}'\n\nInterrupt it at will: the same command goes on. Exit code 5 if entities could not be moved."
    )]
    Migrate {
        /// The machine
        machine: String,
        /// The version to move to: its number or hash
        #[arg(long, value_name = "V")]
        to: String,
        /// Only entities on this version [default: on any other]
        #[arg(long, value_name = "V")]
        from: Option<String>,
        /// Old state to new state, as JSON
        #[arg(long, value_name = "JSON")]
        map: Option<String>,
        /// Who does it
        #[arg(long, value_name = "A")]
        actor: Option<String>,
        /// Change nothing, and say what it would be
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove an entity with its history
    Delete {
        /// The machine
        machine: String,
        /// The entity
        entity: String,
    },
    /// Remove entities that have long been in a final state, with their history
    #[command(after_help = "Example:\n  s3db machine prune order --done --older-than 90d --dry-run")]
    Prune {
        /// The machine
        machine: String,
        /// Those in a final state
        #[arg(long, required = true)]
        done: bool,
        /// For how long: 30m, 2h, 7d
        #[arg(long, value_name = "D", value_parser = duration)]
        older_than: std::time::Duration,
        /// Change nothing, and say how many it would be
        #[arg(long)]
        dry_run: bool,
    },
}

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Picture {
    /// The language of Graphviz
    Dot,
    /// The language of Mermaid
    Mermaid,
    /// A drawing that every browser shows
    Svg,
}

/// A pause of at least 10 ms.
fn pause(text: &str) -> Result<std::time::Duration, String> {
    let least = std::time::Duration::from_millis(10);
    duration(text).and_then(|pause| if pause < least { Err("at least 10ms".to_owned()) } else { Ok(pause) })
}

/// `30m`, `1h30m`, or milliseconds.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    s3db::parse_duration(text).ok_or_else(|| "write a duration such as 30m, 1h30m or 7d".to_owned())
}
