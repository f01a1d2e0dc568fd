//! The arguments of `s3db backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Work on backups.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Make a backup at the destinations of s3db.toml
    #[command(
        after_help = "Examples:\n  s3db backup create\n  s3db backup create --type incremental\n\nAn incremental backup holds what changed since the last one, a differential one what changed since the last full\none; without a usable parent it becomes a full one, and says why. One runs at a time: exit code 4 while another\none does. Exit code 1 if it failed, was cancelled, or is complete at some destinations only. Ctrl-C cancels it."
    )]
    Create {
        /// What it holds
        #[arg(long = "type", value_enum, default_value = "full", value_name = "TYPE")]
        kind: Kind,
    },
    /// List backups, the newest first
    #[command(
        after_help = "Examples:\n  s3db backup list\n  s3db backup list --type full --status completed --limit 5\n  s3db backup list --from ./backups          (without a database)\n\nBackups that stand at a destination are listed by their manifests; rows of the database add those that failed."
    )]
    List {
        /// Only those of a type
        #[arg(long = "type", value_enum, value_name = "TYPE")]
        kind: Option<Kind>,
        /// Only those of a status
        #[arg(long, value_enum)]
        status: Option<Status>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        reading: Reading,
    },
    /// Show a backup: what it holds, where it is, or how far it is
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Look whether a backup is whole, with everything that it builds on
    #[command(
        after_help = "Examples:\n  s3db backup verify ID\n  s3db backup verify ID --level drill --identity my.key\n\nLevels: quick (every file is there in its size), sample (one file in ten is read), full (every byte, every digest,\nevery line against the index), drill (a restore into a scratch database, compared). Prints {\"valid\", \"level\",\n\"objects\", \"bytes\", \"problems\": [{\"object\", \"problem\"}]}; exit code 8 if it is not valid."
    )]
    Verify {
        /// Its id
        id: String,
        /// How closely
        #[arg(long, value_enum, default_value = "full")]
        level: Level,
        #[command(flatten)]
        reading: Reading,
    },
    /// Delete the backups that no rule of the retention keeps, and sweep unfinished ones
    #[command(
        after_help = "Examples:\n  s3db backup cleanup --dry-run\n  s3db backup cleanup\n\nOnly backups of this database; the newest, the newest verified one, pinned ones and the parents of those that are\nkept stay. Without a retention nothing is deleted. Each backup is printed with the reason."
    )]
    Cleanup {
        /// Change nothing, and say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// End a backup that runs, in any process
    Cancel {
        /// Its id
        id: String,
    },
    /// Delete a backup wherever it stands
    Delete {
        /// Its id
        id: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
    /// Mark a backup as one that cleanup never deletes
    Pin {
        /// Its id
        id: String,
    },
    /// Take that mark away
    Unpin {
        /// Its id
        id: String,
    },
    /// Encrypt the keys of backups to the recipients of s3db.toml, and to nobody else
    #[command(
        after_help = "Examples:\n  s3db backup rekey --identity old.key           (all backups of this database)\n  s3db backup rekey ID --identity old.key\n\nOnly the files under keys/ are written; everything else stays as it is."
    )]
    Rekey {
        /// One backup [default: all of this database]
        id: Option<String>,
        /// A file with the secret key that opens them; may be repeated
        #[arg(long = "identity", value_name = "FILE")]
        identities: Vec<PathBuf>,
    },
    /// Restore a backup, with everything that it builds on
    #[command(
        after_help = "Examples:\n  s3db backup restore ID --dry-run\n  s3db backup restore ID --into file:./copy\n  s3db backup restore --at 2026-11-22T21:00:00Z --into file:./copy\n  s3db backup restore ID --resource users --rename users=users_old\n  s3db backup restore ID --resource users --id ana --mode overwrite\n  s3db --url file:./data backup restore ID --from ./backups --identity my.key     (the database is gone)\n\nEvery file is read and checked before the first write, and every object compared at the end. Records that are\nthere: --mode fail (nothing is written), skip (they stay), overwrite (those of the backup replace them), replace\n(others are deleted too). A restore that was cut off goes on when it is run again. After --into timers, actions and\njobs of the copy are paused until `s3db --url COPY resume`."
    )]
    Restore {
        /// Its id
        #[arg(required_unless_present = "at", conflicts_with = "at")]
        id: Option<String>,
        /// The newest backup that was complete at this instant, RFC 3339
        #[arg(long, value_name = "INSTANT")]
        at: Option<String>,
        /// Another database
        #[arg(long, value_name = "URL")]
        into: Option<String>,
        /// Only this resource; may be repeated
        #[arg(long = "resource", value_name = "R")]
        resources: Vec<String>,
        /// Another name for a resource; may be repeated
        #[arg(long = "rename", value_name = "A=B")]
        renames: Vec<String>,
        /// Only the record with this id; may be repeated
        #[arg(long = "id", value_name = "I")]
        ids: Vec<String>,
        /// What becomes of records that are there
        #[arg(long, value_enum, default_value = "fail")]
        mode: Mode,
        /// Prove the backup, say what would be done, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// Restore although somebody works there, or another restore was not finished
        #[arg(long)]
        force: bool,
        /// Do not read every object once more at the end
        #[arg(long)]
        no_compare: bool,
        #[command(flatten)]
        reading: Reading,
    },
}

/// Where backups are read, and by what.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reading {
    /// Read backups here instead of the destinations of s3db.toml: a folder, an s3: or http: URL
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) from: Option<String>,
    /// A file with a secret key that opens encrypted backups; may be repeated
    #[arg(long = "identity", value_name = "FILE")]
    pub(crate) identities: Vec<PathBuf>,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Everything
    Full,
    /// What changed since the last backup
    Incremental,
    /// What changed since the last full one
    Differential,
}

/// What became of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It is being made
    InProgress,
    /// It is complete wherever it had to be
    Completed,
    /// It is complete at some destinations only
    Partial,
    /// It is complete nowhere
    Failed,
    /// It was cancelled
    Cancelled,
}

/// How closely a backup is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Every file is there in its size
    Quick,
    /// One file in ten is read
    Sample,
    /// Every byte is read
    Full,
    /// It is restored into a scratch database and compared
    Drill,
}

/// What becomes of records that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// There must be none
    Fail,
    /// They stay
    Skip,
    /// Those of the backup replace them
    Overwrite,
    /// Those of the backup replace them, others are deleted
    Replace,
}
