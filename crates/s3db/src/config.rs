//! The configuration file `s3db.toml`.
//!
//! Settings are data: this module reads and checks them, and knows nothing of connections. Unknown
//! keys are errors with a suggestion. Relative paths are taken from the file's folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::plugin::backup::BackupSettings;
use crate::plugin::scheduler::SchedulerSettings;
use crate::query::duration;

/// The name of the file in the working directory.
pub const FILE_NAME: &str = "s3db.toml";

/// What `s3db.toml` may say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Where the database is: `file:./data`, `s3://bucket/prefix`, `http://KEY:SECRET@host:port/bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file whose first line is the passphrase of secret fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// Whether s3db.js works on this database too, so that its references are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// How results are printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Whether actions and jobs of the kind `exec` may run programs. The default is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_exec: Option<bool>,
    /// State machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_machine: Option<StateMachineSettings>,
    /// Backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSettings>,
    /// The scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerSettings>,
    /// Jobs by name; `docs/scheduler.md` has their keys.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(schema_with = "crate::plugin::scheduler::jobs_schema")]
    pub jobs: toml::Table,
}

/// The section `[stateMachine]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateMachineSettings {
    /// Files of machines, as paths or patterns: `machines/*.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Machines by name, as in a file.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub machines: toml::Table,
    /// Guards by name, as in a file.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub guards: toml::Table,
    /// Actions by name, as in a file.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub actions: toml::Table,
    /// The resource of the log. The default is `transitions`, or `state_transitions` where s3db.js made that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition_log_resource: Option<String>,
    /// The resource of entities. The default is `entity_states`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_resource: Option<String>,
    /// Whether transitions are logged. The default is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist_transitions: Option<bool>,
    /// Whether the first event makes an entity that does not exist. The default is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lenient: Option<bool>,
    /// Whether what happens is logged at level `info`. The default is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<bool>,
    /// How long a guard may take. The default is 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard_timeout: Option<DurationSetting>,
    /// How long an attempt of an action may take. The default is 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_timeout: Option<DurationSetting>,
    /// How often an action is begun before it counts as failed. The default is 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_attempts: Option<u32>,
}

/// A duration: a whole number of milliseconds, or a text such as `90s` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct DurationSetting(#[schemars(with = "DurationText")] pub Duration);

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what a duration looks like")]
enum DurationText {
    Milliseconds(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for DurationSetting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = serde_json::Value::deserialize(deserializer)?;
        let found = match &value {
            serde_json::Value::String(text) => duration::parse(text),
            other => other.as_u64().map(Duration::from_millis),
        };
        found.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{value} is no duration; write milliseconds, or a text such as \"90s\" or \"1h30m\""
            ))
        })
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Tables for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Settings with the folder that their paths are taken from.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// The file they come from; `None` if there is none.
    pub file: Option<PathBuf>,
    /// The folder of the file, or the working directory.
    pub folder: PathBuf,
}

const KEYS: [&str; 9] =
    ["url", "passphraseFile", "shared", "output", "allowExec", "stateMachine", "backup", "scheduler", "jobs"];
const SCHEDULER_KEYS: [&str; 9] = [
    "timezone",
    "dst",
    "defaultTimeout",
    "defaultRetries",
    "persistJobs",
    "jobHistoryResource",
    "pollInterval",
    "historyRetention",
    "verbose",
];
const BACKUP_KEYS: [&str; 16] = [
    "schedule",
    "destinations",
    "strategy",
    "retention",
    "include",
    "exclude",
    "compression",
    "encryption",
    "verification",
    "tempDir",
    "timezone",
    "concurrency",
    "bandwidth",
    "margin",
    "backupMetadataResource",
    "verbose",
];
const MACHINE_KEYS: [&str; 12] = [
    "files",
    "machines",
    "guards",
    "actions",
    "transitionLogResource",
    "stateResource",
    "persistTransitions",
    "lenient",
    "verbose",
    "guardTimeout",
    "actionTimeout",
    "actionAttempts",
];

impl Config {
    /// Reads a file, or, without one, `s3db.toml` in the working directory if it is there.
    ///
    /// # Errors
    /// `NotFound` for a named file that is missing; `Invalid` for one that is no TOML or has unknown
    /// keys, with the line and a suggestion.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        let path = named.unwrap_or(Path::new(FILE_NAME));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self { settings: Settings::default(), file: None, folder: PathBuf::from(".") })
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, format!("there is no configuration file {}", path.display()))
                    .guide("check --config, or create one with `s3db init`"))
            }
            Err(e) => Err(Error::new(ErrorKind::Unavailable, format!("cannot read {}: {e}", path.display()))),
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, format!("{}: {message}", path.display()));
        let table: toml::Table = toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_owned()))?;
        if let Some(key) = table.keys().find(|k| !KEYS.contains(&k.as_str())) {
            return Err(invalid(format!("the key '{key}' is unknown")).guide(hint(key, &KEYS)));
        }
        let sections =
            [("stateMachine", &MACHINE_KEYS[..]), ("backup", &BACKUP_KEYS[..]), ("scheduler", &SCHEDULER_KEYS[..])];
        for (section, known) in sections {
            let members = table.get(section).and_then(toml::Value::as_table);
            if let Some(key) = members.and_then(|m| m.keys().find(|k| !known.contains(&k.as_str()))) {
                return Err(invalid(format!("the key '{section}.{key}' is unknown")).guide(hint(key, known)));
            }
        }
        let settings: Settings = toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_owned()))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { settings, file: Some(path.to_owned()), folder: folder.to_owned() })
    }

    /// The passphrase in the file that the settings name.
    ///
    /// # Errors
    /// The file cannot be read, or is empty.
    pub fn passphrase(&self) -> Result<Option<String>> {
        let Some(path) = &self.settings.passphrase_file else { return Ok(None) };
        read_passphrase(&self.folder.join(path)).map(Some)
    }
}

fn hint(key: &str, known: &[&str]) -> String {
    s3db_format::error::did_you_mean(key, known.iter().copied())
        .unwrap_or_else(|| format!("known keys: {}", known.join(", ")))
}

/// Reads a passphrase from the first line of a file.
///
/// # Errors
/// `Invalid` if the file cannot be read, or its first line is empty.
pub fn read_passphrase(path: &Path) -> Result<String> {
    let invalid =
        |message: String| Error::new(ErrorKind::Invalid, format!("passphrase file {}: {message}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| invalid(e.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(invalid("its first line is empty".into()).guide("write the passphrase on the first line")),
    }
}

/// The JSON Schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Settings)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Error {
        Config::parse(text, Path::new("s3db.toml")).unwrap_err()
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        let error = refusal("ulr = \"file:./data\"");
        assert_eq!(
            (error.to_string().as_str(), error.guidance()),
            ("s3db.toml: the key 'ulr' is unknown", Some("did you mean 'url'?"))
        );
        assert!(refusal("url = 5").to_string().contains("url = 5"));
        assert!(refusal("output = \"xml\"").to_string().contains("xml"));
        let error = refusal("[scheduler]\ntimeout = 5");
        assert!(error.to_string().contains("the key 'scheduler.timeout' is unknown"), "{error}");
        let error = refusal("[backup]\ndestination = []");
        assert_eq!(error.guidance(), Some("did you mean 'destinations'?"));
        assert!(refusal("[backup]\nbandwidth = \"fast\"").to_string().contains("is no number of bytes"));
        let error = refusal("[stateMachine]\nfile = [\"x\"]");
        assert_eq!(error.guidance(), Some("did you mean 'files'?"));
        assert!(refusal("[stateMachine]\nguardTimeout = \"soon\"").to_string().contains("is no duration"));
    }

    #[test]
    fn paths_are_taken_from_the_folder_of_the_file() {
        let config =
            Config::parse("url = \"file:./data\"\npassphraseFile = \"key\"", Path::new("/srv/app/s3db.toml")).unwrap();
        assert_eq!(config.folder, Path::new("/srv/app"));
        assert!(config.passphrase().unwrap_err().to_string().contains("/srv/app/key"));
    }
}
