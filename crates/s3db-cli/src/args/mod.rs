//! The arguments.

mod backup;
mod cron;
mod job;
mod machine;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use backup::{
    BackupCommand, Kind as BackupKind, Level as BackupLevel, Mode as BackupMode, Reading, Status as BackupState,
};
pub(crate) use cron::{CronCommand, Dst as CronDst, Schedule};
pub(crate) use job::{JobCommand, Run, RunState};
pub(crate) use machine::{MachineCommand, Picture};

const EXAMPLES: &str = "\
Examples:
  s3db init
  s3db resource create users --attributes '{\"name\": \"string|min:2\", \"country\": \"string|optional\"}' --partition byCountry=country
  s3db insert users '{\"id\": \"ana\", \"name\": \"Ana\", \"country\": \"BR\"}'
  s3db list users --partition byCountry --values '{\"country\": \"BR\"}'
  s3db demo

Exit codes: 0 done, 1 other failure, 2 usage, 3 not found, 4 already exists or conflict, 5 invalid,
6 transition refused, 7 store unavailable, 8 integrity. With --json errors are one JSON object on stderr.";

/// A document database that lives in an S3 bucket or a local directory.
#[derive(Debug, Parser)]
#[command(name = "s3db", version, about, after_help = EXAMPLES, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the database is: file:./data, s3://bucket/prefix, http://KEY:SECRET@host:port/bucket
    #[arg(long, env = "S3DB_URL", global = true, hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// The configuration file [default: s3db.toml if it is there]
    #[arg(long, env = "S3DB_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Keep the references of s3db.js, which works on this database too
    #[arg(long, env = "S3DB_SHARED", global = true)]
    pub(crate) shared: bool,
    /// How results are printed [default: table on a terminal, else jsonl]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Short for --output json
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Print no notes and no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say more; twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print no colours
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Table,
    /// One JSON document
    Json,
    /// One JSON document a line
    Jsonl,
}

/// What a file of records is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// One JSON document a line
    Jsonl,
    /// Comma-separated values with a heading
    Csv,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented s3db.toml and create the store
    Init,
    /// Show what the database is and holds
    Status,
    /// Find what crashes and other programs left, and mend it
    #[command(
        after_help = "Examples:\n  s3db doctor\n  s3db doctor --repair\n\nWithout --repair nothing is changed: it says what would be done. Harmless beside running\nwriters. Exit code 8 if something is wrong that was not mended."
    )]
    Doctor {
        /// Mend what can be mended
        #[arg(long)]
        repair: bool,
        /// Keep our own index from now on: s3db.js no longer works on this database
        #[arg(long, conflicts_with = "repair")]
        end_sharing: bool,
    },
    /// See the database at work in a directory of its own
    #[command(after_help = "Example:\n  s3db demo\n  s3db demo --dir ./demo-data")]
    Demo {
        /// Keep the demo's database in this directory [default: a temporary one, removed at the end]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List, show, create, update, reindex and drop resources
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Insert one record, an array, or JSON lines
    #[command(
        after_help = "Examples:\n  s3db insert users '{\"name\": \"Ana\"}'\n  s3db insert users @users.json\n  cat users.jsonl | s3db insert users -\n\nOne record is printed as stored. Several print {\"inserted\": n, \"failed\": [{\"line\", \"id\", \"error\"}]}, exit code 5 if any failed."
    )]
    Insert {
        /// The resource
        resource: String,
        /// JSON, @FILE, or - for standard input
        #[arg(default_value = "-")]
        data: String,
        #[command(flatten)]
        bulk: Bulk,
    },
    /// Print records by id
    #[command(
        after_help = "Examples:\n  s3db get users ana\n  s3db get users ana ben --json\n\nMissing ids are named on stderr, exit code 3."
    )]
    Get {
        /// The resource
        resource: String,
        /// Ids
        #[arg(required = true)]
        ids: Vec<String>,
        /// Add _meta {rev, version, size, modified}
        #[arg(long)]
        meta: bool,
    },
    /// Merge a patch into a record, or into every record that a filter takes
    #[command(
        override_usage = "s3db update [OPTIONS] <RESOURCE> <ID> <PATCH>\n       s3db update [OPTIONS] <RESOURCE> <PATCH> --where <JSON> <--yes|--dry-run>",
        after_help = "Examples:\n  s3db update users ana '{\"address.city\": \"Recife\"}'\n  s3db update users ana '{\"$unset\": [\"address\"]}'\n  s3db update users ana '{\"n\": 2}' --expected-rev REV     (REV from `s3db get users ana --meta`)\n  s3db update users '{\"active\": false}' --where '{\"lastSeen\": {\"$lt\": \"$now-365d\"}}' --dry-run\n\nWith --where each record is compared again when it is written. Prints {\"changed\": n, \"failures\": n,\n\"failed\": [{\"id\", \"error\"}]}, exit code 5 if any failed."
    )]
    Update {
        /// The resource
        resource: String,
        /// The record's id, then the patch as JSON, @FILE, or - for standard input; with --where the patch alone
        #[arg(required = true, num_args = 1..=2, value_name = "ID> <PATCH")]
        id_and_patch: Vec<String>,
        #[command(flatten)]
        many: Many,
        /// Only if the record is still at this revision; else exit code 4
        #[arg(long, value_name = "REV", conflicts_with = "filter")]
        expected_rev: Option<String>,
        /// Add _meta {rev, version, size, modified}
        #[arg(long)]
        meta: bool,
    },
    /// Insert a record, or merge it into the one with its id
    Upsert {
        /// The resource
        resource: String,
        /// JSON with an id, @FILE, or - for standard input
        #[arg(default_value = "-")]
        data: String,
        /// Add _meta {rev, version, size, modified}
        #[arg(long)]
        meta: bool,
    },
    /// Delete records by id, or every record that a filter takes
    #[command(
        override_usage = "s3db delete [OPTIONS] <RESOURCE> <ID>...\n       s3db delete [OPTIONS] <RESOURCE> --where <JSON> <--yes|--dry-run>",
        after_help = "Examples:\n  s3db delete users ana ben\n  s3db delete sessions --where '{\"expiresAt\": {\"$lt\": \"$now\"}}' --dry-run\n  s3db delete sessions --where '{\"expiresAt\": {\"$lt\": \"$now\"}}' --yes\n\nBy id it prints {\"deleted\": n, \"missing\": [ids]}, exit code 3 if any was missing. With --where each\nrecord is compared again when it is deleted; it prints {\"deleted\": n, \"failures\": n, \"failed\": [{\"id\", \"error\"}]},\nexit code 5 if any failed."
    )]
    Delete {
        /// The resource
        resource: String,
        /// Ids
        #[arg(required_unless_present = "filter", conflicts_with = "filter")]
        ids: Vec<String>,
        #[command(flatten)]
        many: Many,
        /// Only if the record is still at this revision (one id only)
        #[arg(long, value_name = "REV")]
        expected_rev: Option<String>,
    },
    /// List records, by filter, in any order
    #[command(
        after_help = "Examples:\n  s3db list users --limit 20\n  s3db list users --limit 20 --after LAST_ID\n  s3db list users --partition byCountry --values '{\"country\": \"BR\"}' --fields name,email\n  s3db list users --where '{\"age\": {\"$gte\": 18}, \"createdAt\": {\"$gt\": \"$now-7d\"}}' --order-by age:desc\n  s3db list users --where '{\"country\": \"BR\"}' --explain\n\nOperators: $eq $ne $gt $gte $lt $lte $in $nin $exists $regex $contains $startsWith $and $or $nor $not.\nThe cursor of the next page is printed on stderr, as `next: CURSOR`."
    )]
    List {
        /// The resource
        resource: String,
        #[command(flatten)]
        rows: Rows,
        /// At most this many rows
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The order: FIELD, FIELD:desc; several are separated by commas [default: by id]
        #[arg(long, value_delimiter = ',', value_name = "FIELD[:desc]")]
        order_by: Vec<String>,
        /// Leave out this many rows at the beginning
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        offset: usize,
        /// Only rows behind this cursor, which the page before printed
        #[arg(long, value_name = "CURSOR", allow_hyphen_values = true)]
        after: Option<String>,
        /// Only these fields, as dotted paths
        #[arg(long, value_delimiter = ',', value_name = "A,B")]
        fields: Option<Vec<String>>,
        /// Read the rows, also where the keys of a partition would answer
        #[arg(long)]
        exact: bool,
        /// Print how the query would be answered, and what that costs; reads no row
        #[arg(long)]
        explain: bool,
        /// Add _meta {rev, version, size, modified}
        #[arg(long, conflicts_with = "explain")]
        meta: bool,
    },
    /// Count records
    #[command(
        after_help = "Examples:\n  s3db count users\n  s3db count users --where '{\"country\": \"BR\", \"age\": {\"$gte\": 18}}'"
    )]
    Count {
        /// The resource
        resource: String,
        #[command(flatten)]
        rows: Rows,
        /// Read the rows of a partition instead of its keys
        #[arg(long)]
        exact: bool,
    },
    /// Insert the records of a file: JSON lines, a JSON array, or CSV
    #[command(
        after_help = "Examples:\n  s3db import users users.jsonl --on-error collect\n  s3db import users users.csv\n\nThe first line of a CSV file names the fields, nested ones by their dotted path. An empty cell is a missing\nvalue, null is null, lists and free objects are JSON. createdAt and updatedAt are taken as they are.\nPrints {\"inserted\": n, \"failed\": [{\"line\", \"id\", \"error\"}]}, exit code 5 if any failed."
    )]
    Import {
        /// The resource
        resource: String,
        /// The file, or - for standard input
        file: String,
        /// What the file is [default: csv for FILE.csv, else jsonl, which an array may be too]
        #[arg(long, value_enum)]
        format: Option<FileFormat>,
        #[command(flatten)]
        bulk: Bulk,
    },
    /// Print all records as JSON lines or CSV, to be imported again
    #[command(
        after_help = "Examples:\n  s3db export users --with-secrets > users.jsonl\n  s3db export users --format csv --where '{\"country\": \"BR\"}' > brazil.csv\n\nWithout --with-secrets secret fields are left out."
    )]
    Export {
        /// The resource
        resource: String,
        #[command(flatten)]
        rows: Rows,
        /// What is printed
        #[arg(long, value_enum, default_value = "jsonl")]
        format: FileFormat,
        /// Include secrets, decrypted
        #[arg(long)]
        with_secrets: bool,
    },
    /// Copy raw objects from one database into an empty one
    #[command(
        after_help = "Examples:\n  s3db copy file:./data file:./copy\n  s3db copy file:./bucket.json file:./data     (a bucket as one JSON file)\n\nPartitions of the copy are scanned until `s3db resource reindex`."
    )]
    Copy {
        /// Where from
        source: String,
        /// Where to
        target: String,
        /// Only this resource; may be repeated
        #[arg(long = "resource", value_name = "R")]
        resources: Vec<String>,
    },
    /// Work on state machines
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Make, verify, restore and clean up backups
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Work on jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Ask when a cron expression is due, and what it means
    #[command(subcommand)]
    Cron(CronCommand),
    /// Run the scheduler, the machines' timers and the backup schedules, in the foreground, until SIGTERM
    #[command(
        after_help = "Examples:\n  s3db run\n  s3db run --metrics 127.0.0.1:9464\n  s3db run --dry-run --hours 48\n  s3db run --once daily_cleanup\n\nAny number may run on one database: each planned instant runs once. Machines and jobs of s3db.toml are stored\nfirst. It prints a line when it is ready, then one for each run; with --json each line is an object. SIGHUP reads\ns3db.toml again; runs that are under way end under the old one. SIGTERM and Ctrl-C begin nothing more and let\nruns end within --deadline; a second one ends it at once. Exit code 0 after SIGTERM, 130 after Ctrl-C."
    )]
    Run(Run),
    /// Pause timers, actions and jobs in every process of the database
    #[command(
        after_help = "Example:\n  s3db pause\n\nEvents are still taken; their actions wait until `s3db resume`. Other processes see it within a minute."
    )]
    Pause,
    /// Let timers, actions and jobs go on
    #[command(after_help = "Example:\n  s3db --url file:./copy resume")]
    Resume,
    /// Work on secret fields
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  s3db completions bash > /etc/bash_completion.d/s3db")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    Man {
        /// The directory
        dir: PathBuf,
    },
}

/// Work on resources.
#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    /// List resources
    List,
    /// Show a resource's definition
    Show {
        /// The resource
        name: String,
    },
    /// Create a resource; an equal definition is no error
    #[command(
        after_help = "Examples:\n  s3db resource create users --attributes '{\"name\": \"string|min:2\", \"password\": \"secret|min:8\"}' --timestamps\n  s3db resource create orders --attributes @orders.json --behavior body-overflow --partition byStatus=status --partition byDay=createdAt:date,region:string|maxlength:2"
    )]
    Create {
        /// Its name
        name: String,
        /// The attributes as JSON, or @FILE
        #[arg(long, value_name = "JSON|@FILE")]
        attributes: String,
        /// user-managed, enforce-limits, truncate-data, body-overflow or body-only [default: user-managed]
        #[arg(long, value_name = "B")]
        behavior: Option<String>,
        /// Keep createdAt and updatedAt, with a partition by day for each
        #[arg(long)]
        timestamps: bool,
        /// Allow delete_all
        #[arg(long)]
        not_paranoid: bool,
        /// A partition: NAME=FIELD[:RULE][,FIELD[:RULE]…]; may be repeated
        #[arg(long = "partition", value_name = "NAME=FIELD[:RULE][,…]")]
        partitions: Vec<String>,
    },
    /// Change a resource's definition as a new version, and build the index of new partitions
    #[command(
        after_help = "Examples:\n  s3db resource update users --attributes '{\"age\": \"number|optional\"}'\n  s3db resource update users --partition byAge=age:number\n  s3db resource update users --remove-attribute nickname --remove-partition byNickname\n\nAttributes are appended or changed in place; what is not named stays. Records of older versions are read as\nthey are. The index of a new partition is built two minutes after the change, when every running writer knows\nit; until then the partition is scanned. Interrupt it at will: `s3db resource reindex` goes on."
    )]
    Update {
        /// The resource
        name: String,
        /// Attributes to append or change as JSON, or @FILE
        #[arg(long, value_name = "JSON|@FILE")]
        attributes: Option<String>,
        /// An attribute to remove, by its dotted path; records keep its values. May be repeated
        #[arg(long = "remove-attribute", value_name = "FIELD")]
        remove_attributes: Vec<String>,
        /// Where values are stored from now on: user-managed, enforce-limits, truncate-data, body-overflow or body-only
        #[arg(long, value_name = "B")]
        behavior: Option<String>,
        /// Keep createdAt and updatedAt from now on
        #[arg(long, conflicts_with = "no_timestamps")]
        timestamps: bool,
        /// Keep createdAt and updatedAt no longer
        #[arg(long)]
        no_timestamps: bool,
        /// Refuse delete_all
        #[arg(long, conflicts_with = "not_paranoid")]
        paranoid: bool,
        /// Allow delete_all
        #[arg(long)]
        not_paranoid: bool,
        /// A partition to add or change: NAME=FIELD[:RULE][,FIELD[:RULE]…]; may be repeated
        #[arg(long = "partition", value_name = "NAME=FIELD[:RULE][,…]")]
        partitions: Vec<String>,
        /// A partition to remove; may be repeated
        #[arg(long = "remove-partition", value_name = "NAME")]
        remove_partitions: Vec<String>,
        /// Leave the index of new partitions to `s3db resource reindex`
        #[arg(long)]
        no_index: bool,
    },
    /// Build the partition index of a resource; goes on where an earlier run was cut off
    Reindex {
        /// The resource
        name: String,
    },
    /// Remove a resource with all its records
    Drop {
        /// The resource
        name: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

/// Work on secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Encrypt every secret under another passphrase
    Rotate {
        /// A file whose first line is the new passphrase
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: PathBuf,
    },
}

/// Work on the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration file
    Check,
    /// Show the settings that are in force, secrets masked
    Show,
    /// Print the JSON Schema of the configuration file
    Schema,
}

/// Options of bulk commands.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Bulk {
    /// What to do when a row fails
    #[arg(long, value_enum, default_value = "collect")]
    pub(crate) on_error: OnError,
}

/// What to do when a row fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Begin no further row
    Stop,
    /// Go on; say only how many failed
    Skip,
    /// Go on; list what failed
    Collect,
}

/// Which rows.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rows {
    /// Only rows that this filter takes, as JSON or @FILE
    #[arg(long = "where", value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Only rows of this partition
    #[arg(long, value_name = "NAME", requires = "values")]
    pub(crate) partition: Option<String>,
    /// The values of the partition's fields as JSON
    #[arg(long, value_name = "JSON", requires = "partition")]
    pub(crate) values: Option<String>,
}

/// A change of every record that a filter takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Many {
    /// Every record that this filter takes, as JSON or @FILE
    #[arg(long = "where", value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Really, for --where
    #[arg(long, requires = "filter", conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Change nothing, and say how many records it would be
    #[arg(long, requires = "filter")]
    pub(crate) dry_run: bool,
}
