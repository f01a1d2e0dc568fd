//! Settings of the plugin as data, with the names of its documented options.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::DurationSetting;

/// The section `[backup]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupSettings {
    /// Where backups go. At least one is needed by the first backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationSettings>,
    /// When `s3db run` makes backups and cleans up, as cron expressions by type:
    /// `{ full = "0 2 * * 0", incremental = "0 2 * * *", cleanup = "0 5 * * *" }`. The default is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<BackupSchedule>,
    /// Which of several destinations have to take a backup. The default is `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Which backups `cleanup` keeps. Without it none is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Resources that are backed up, as globs over their names. The default is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Resources that are not backed up, as globs; they win over `include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// How files are compressed. The default is `gzip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// To whom files are encrypted, in the `age` format. The default is nobody: they are not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionSettings>,
    /// Whether what was stored is read back before a backup counts. The default is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<bool>,
    /// A folder for what does not fit in memory: the scratch database of a drill. The default is `./tmp/backups`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<PathBuf>,
    /// The zone of placeholders in paths and of the days of retention, such as `America/Sao_Paulo`. The default is `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Requests to the database under way at once. The default is the connection's `parallelism`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Bytes a second that a backup or restore moves at most, as a number or a text such as `"10MiB"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BytesSetting>,
    /// How much older than the last backup an object's time must be to prove that it is unchanged. The default is 2 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<DurationSetting>,
    /// The resource of what is known about backups. The default is `backup_metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_metadata_resource: Option<String>,
    /// Whether what happens is logged at level `info`. The default is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<bool>,
}

/// When backups are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BackupSchedule {
    /// Full ones, by one cron expression.
    Full(String),
    /// By type: `full`, `incremental`, `differential`; and `cleanup`.
    ByType(BTreeMap<String, String>),
}

impl BackupSchedule {
    /// The expressions by type.
    pub fn by_type(&self) -> BTreeMap<String, String> {
        match self {
            Self::Full(schedule) => BTreeMap::from([("full".to_owned(), schedule.clone())]),
            Self::ByType(schedules) => schedules.clone(),
        }
    }
}

/// A place for backups. Paths may hold `{date}`, `{time}`, `{year}`, `{month}`, `{day}`, `{type}` and `{backupId}`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum DestinationSettings {
    /// A folder.
    Filesystem {
        /// The folder, such as `./backups/{date}/`.
        path: String,
        /// How files are compressed here, if not as everywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compression: Option<Compression>,
    },
    /// A bucket of an S3 server.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, such as `backups/{date}/`. The default is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// The region.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        /// The storage class, such as `STANDARD_IA`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        storage_class: Option<String>,
        /// The server, such as `http://localhost:8333`. The default is AWS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// Its keys. The default is the usual AWS chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
        /// How files are compressed here, if not as everywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compression: Option<Compression>,
    },
}

impl DestinationSettings {
    /// A folder.
    pub fn filesystem(path: impl Into<String>) -> Self {
        Self::Filesystem { path: path.into(), compression: None }
    }

    pub(super) fn compression(&self) -> Option<Compression> {
        match self {
            Self::Filesystem { compression, .. } | Self::S3 { compression, .. } => *compression,
        }
    }

    /// The word of its type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Filesystem { .. } => "filesystem",
            Self::S3 { .. } => "s3",
        }
    }
}

impl std::fmt::Debug for DestinationSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Filesystem { path, .. } => write!(f, "filesystem {path}"),
            Self::S3 { bucket, path, .. } => write!(f, "s3 {bucket}/{}", path.as_deref().unwrap_or_default()),
        }
    }
}

/// Keys of a bucket, as they are or as the names of environment variables.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The access key.
    #[serde(default, skip_serializing)]
    pub access_key_id: Option<String>,
    /// The secret.
    #[serde(default, skip_serializing)]
    pub secret_access_key: Option<String>,
    /// The environment variable of the access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id_env: Option<String>,
    /// The environment variable of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_env: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Which of several destinations have to take a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All of them; if only some do, the backup is `partial`.
    #[default]
    All,
    /// All are tried, one is enough.
    Any,
    /// One after the other, until one takes it.
    Priority,
}

/// How files of a backup are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// `gzip`, read by `zcat`.
    #[default]
    Gzip,
    /// Not at all.
    None,
    /// Brotli, read by `brotli -dc`.
    Brotli,
    /// Zstandard, read by `zstd -dc`.
    Zstd,
}

/// To whom files are encrypted, and with what they are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionSettings {
    /// Public keys, `age1…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Files of public keys, one a line; lines that begin with `#` are comments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipient_files: Vec<PathBuf>,
    /// A file whose first line is a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// The environment variable that holds a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_env: Option<String>,
    /// Files of secret keys, by which backups are read: what an incremental one builds on, `verify`, `restore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity_files: Vec<PathBuf>,
}

/// Which backups are kept: each count keeps the newest backup of that many hours, days, ISO weeks, months or
/// years that have one, as restic's `forget` does. `-1` keeps all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retention {
    /// The newest ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
    /// One for each of so many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<i64>,
    /// One for each of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<i64>,
    /// One for each of so many ISO weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<i64>,
    /// One for each of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<i64>,
    /// One for each of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<i64>,
    /// All that are not older than this, counted from the newest: `1y5m7d2h`, where m is months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// One for each hour within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_hourly: Option<String>,
    /// One for each day within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_daily: Option<String>,
    /// One for each ISO week within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_weekly: Option<String>,
    /// One for each month within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_monthly: Option<String>,
    /// One for each year within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_yearly: Option<String>,
}

/// A number of bytes: a whole number, or a text such as `10MiB` or `500kB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct BytesSetting(#[schemars(with = "BytesText")] pub u64);

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what a number of bytes looks like")]
enum BytesText {
    Bytes(u64),
    Text(String),
}

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl BytesSetting {
    /// Reads a text such as `10MiB`, also with `/s` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix("/s").unwrap_or(text).trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        number.parse::<u64>().ok()?.checked_mul(*factor).filter(|bytes| *bytes > 0).map(Self)
    }
}

impl<'de> Deserialize<'de> for BytesSetting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = serde_json::Value::deserialize(deserializer)?;
        let found = match &value {
            serde_json::Value::String(text) => Self::parse(text),
            other => other.as_u64().filter(|bytes| *bytes > 0).map(Self),
        };
        found.ok_or_else(|| {
            D::Error::custom(format!("{value} is no number of bytes; write one such as 1048576 or \"10MiB\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_have_units() {
        for (text, bytes) in [("5", 5), ("10MiB", 10 << 20), ("1 GB/s", 1_000_000_000), ("500kB", 500_000)] {
            assert_eq!(BytesSetting::parse(text), Some(BytesSetting(bytes)), "{text}");
        }
        for wrong in ["", "MiB", "10 apples", "-1", "0", "99999999999999999999", "1.5MiB"] {
            assert_eq!(BytesSetting::parse(wrong), None, "{wrong}");
        }
    }
}
