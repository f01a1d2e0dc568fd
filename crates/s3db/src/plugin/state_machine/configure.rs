//! The plugin from the configuration file.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::StateMachineBuilder;
use super::definition::{MachineFile, toml_value};
use crate::config::{Config, StateMachineSettings};
use crate::error::{Error, ErrorKind, Result};

impl StateMachineBuilder {
    /// Takes the settings of a configuration. Its machines are read by [`MachineFile::configured`], since most
    /// programs use those that are stored.
    #[must_use]
    pub fn configure(mut self, config: &Config) -> Self {
        self = self.allow_exec(config.settings.allow_exec.unwrap_or_default()).exec_folder(&config.folder);
        let Some(settings) = &config.settings.state_machine else { return self };
        if let Some(name) = &settings.transition_log_resource {
            self = self.transition_log_resource(name);
        }
        if let Some(name) = &settings.state_resource {
            self = self.state_resource(name);
        }
        if let Some(persist) = settings.persist_transitions {
            self = self.persist_transitions(persist);
        }
        if let Some(timeout) = settings.guard_timeout {
            self = self.guard_timeout(timeout.0);
        }
        if let Some(timeout) = settings.action_timeout {
            self = self.action_timeout(timeout.0);
        }
        if let Some(attempts) = settings.action_attempts {
            self = self.action_attempts(attempts);
        }
        self.lenient(settings.lenient.unwrap_or_default()).verbose(settings.verbose.unwrap_or_default())
    }
}

impl MachineFile {
    /// The machines that a configuration names: those of its files, and those that it holds itself.
    ///
    /// # Errors
    /// `Invalid` for a pattern that matches no file, and with every problem of a file's machines.
    pub fn configured(config: &Config) -> Result<Vec<Self>> {
        let Some(settings) = &config.settings.state_machine else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for pattern in &settings.files {
            for path in matching(&config.folder, pattern)? {
                files.push(Self::load(&path)?);
            }
        }
        if !settings.machines.is_empty() {
            files.push(Self::from_json(&inline(settings)).map_err(|e| e.context("[stateMachine]"))?);
        }
        Ok(files)
    }
}

/// The section as a file of machines.
fn inline(settings: &StateMachineSettings) -> Value {
    let parts = [("machines", &settings.machines), ("guards", &settings.guards), ("actions", &settings.actions)];
    let member = |(name, table): (&str, &toml::Table)| (name.to_owned(), toml_value(toml::Value::Table(table.clone())));
    Value::Object(parts.into_iter().map(member).collect::<Map<String, Value>>())
}

/// The files that a pattern names, in order.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let whole = folder.join(pattern);
    let found = glob::glob(&whole.to_string_lossy()).map_err(|e| {
        Error::new(ErrorKind::Invalid, format!("stateMachine.files: '{pattern}' is no pattern: {e}"))
            .guide("write paths, or patterns such as machines/*.json")
    })?;
    let mut paths = Vec::new();
    for path in found {
        paths.push(path.map_err(|e| Error::new(ErrorKind::Unavailable, format!("stateMachine.files: {e}")))?);
    }
    if paths.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("stateMachine.files: '{pattern}' matches no file"))
            .guide(format!("paths are taken from {}", folder.display())));
    }
    Ok(paths)
}
