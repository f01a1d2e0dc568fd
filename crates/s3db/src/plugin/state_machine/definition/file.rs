//! A file of machines: `{"machines": {…}, "guards": {…}, "actions": {…}}`, as JSON or TOML.

use std::collections::BTreeSet;
use std::path::Path;

use s3db_format::error::did_you_mean;
use serde_json::{Map, Value};

use super::read;
use super::{ActionRef, GuardRef, MachineDefinition};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::problem::{Problem, Problems, invalid, known_keys};
use crate::plugin::state_machine::machine::problems_of;

/// What a file of machines defines.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineFile {
    /// The machines, each with those of the file's guards and actions that it names.
    pub machines: Vec<MachineDefinition>,
    /// What is strange, but no error: guards and actions that no machine names.
    pub warnings: Vec<Problem>,
}

impl MachineFile {
    /// Reads a file: TOML if its name ends so, else JSON.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` with every problem of every machine.
    pub fn load(path: &Path) -> Result<Self> {
        let (file, problems) = Self::open(path)?;
        file.unless(problems).map_err(|e| e.context(&path.display().to_string()))
    }

    /// Reads a file with every problem that can be told without the functions of a process.
    pub(in super::super) fn open(path: &Path) -> Result<(Self, Vec<Problem>)> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, format!("there is no file {shown}")).guide("check the path")
            }
            _ => Error::new(ErrorKind::Unavailable, format!("cannot read {shown}: {e}")),
        })?;
        let is_toml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        let parsed = if is_toml { from_toml(&text) } else { serde_json::from_str(&text).map_err(|e| e.to_string()) };
        let value = parsed.map_err(|e| {
            let language = if is_toml { "TOML" } else { "JSON" };
            Error::new(ErrorKind::Invalid, format!("{shown} is not {language}: {}", e.trim_end()))
                .guide("a file of machines is {\"machines\": {NAME: {…}}, \"guards\": {…}, \"actions\": {…}}")
        })?;
        Ok(Self::read(&value))
    }

    fn unless(self, mut problems: Vec<Problem>) -> Result<Self> {
        if problems.is_empty() {
            return Ok(self);
        }
        problems.extend(self.machines.iter().flat_map(problems_of));
        Err(invalid("the file of machines", &problems))
    }

    /// Reads what a file holds. `stateMachines` is taken for `machines`, as the options of s3db.js say it.
    ///
    /// # Errors
    /// `Invalid` with every problem of every machine.
    pub fn from_json(value: &Value) -> Result<Self> {
        let (file, problems) = Self::read(value);
        file.unless(problems)
    }

    fn read(value: &Value) -> (Self, Vec<Problem>) {
        let mut problems = Problems::default();
        let none = Map::new();
        let members = read::object(value, "the file", &mut problems).unwrap_or(&none);
        known_keys(members, &["machines", "stateMachines", "guards", "actions", "$schema"], "file", &mut problems);
        let part = |key: &str| members.get(key);
        let guards = part("guards").map(|v| read::read_guards(v, "guards", &mut problems)).unwrap_or_default();
        let actions = part("actions").map(|v| read::read_actions(v, "actions", &mut problems)).unwrap_or_default();
        let mut machines = Vec::new();
        let mut named = BTreeSet::new();
        for key in ["machines", "stateMachines"] {
            let Some(entries) = part(key).and_then(|v| read::object(v, key, &mut problems)) else { continue };
            for (name, value) in entries {
                let mut machine = MachineDefinition::read(name, value, &mut problems);
                let names: BTreeSet<String> = machine.names().into_iter().map(str::to_owned).collect();
                for (guard, definition) in guards.iter().filter(|(n, _)| names.contains(*n)) {
                    machine.guards.entry(guard.clone()).or_insert_with(|| definition.clone());
                }
                for (action, definition) in actions.iter().filter(|(n, _)| names.contains(*n)) {
                    machine.actions.entry(action.clone()).or_insert_with(|| definition.clone());
                }
                named.extend(names);
                machines.push(machine);
            }
        }
        if machines.is_empty() && problems.0.is_empty() {
            problems.add("machines", "is missing or empty: the machines by their names");
        }
        (Self { warnings: unused(&guards, &actions, &named), machines }, problems.0)
    }
}

fn unused<G, A>(
    guards: &std::collections::BTreeMap<String, G>,
    actions: &std::collections::BTreeMap<String, A>,
    named: &BTreeSet<String>,
) -> Vec<Problem> {
    let places = guards.keys().map(|n| ("guards", n)).chain(actions.keys().map(|n| ("actions", n)));
    let unnamed = places.filter(|(_, name)| !named.contains(*name));
    let told = unnamed.map(|(place, name)| {
        let hint = did_you_mean(name, named.iter().map(String::as_str)).map(|h| format!("; {h}")).unwrap_or_default();
        Problem { path: format!("{place}.{name}"), message: format!("no machine names it{hint}") }
    });
    told.collect()
}

impl MachineDefinition {
    /// The guards and actions that the machine names.
    fn names(&self) -> BTreeSet<&str> {
        let targets = self.states.iter().flat_map(|s| s.on.iter().chain(&s.after)).flat_map(|(_, targets)| targets);
        let guards = targets
            .clone()
            .flat_map(|t| &t.guards)
            .chain(self.states.iter().flat_map(|s| &s.guards).flat_map(|(_, guards)| guards))
            .chain(self.authorize.iter().map(|(_, rule)| rule));
        let actions =
            targets.flat_map(|t| &t.actions).chain(self.states.iter().flat_map(|s| s.entry.iter().chain(&s.exit)));
        let guards = guards.filter_map(|guard| match guard {
            GuardRef::Named(name) => Some(name.as_str()),
            GuardRef::Inline(_) => None,
        });
        let actions = actions.filter_map(|action| match action {
            ActionRef::Named(name) => Some(name.as_str()),
            ActionRef::Inline(_) => None,
        });
        guards.chain(actions).collect()
    }
}

/// TOML as JSON; its dates become texts.
fn from_toml(text: &str) -> std::result::Result<Value, String> {
    let table: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
    Ok(toml_value(toml::Value::Table(table)))
}

/// A TOML value as JSON; its dates become texts.
pub(crate) fn toml_value(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(on) => Value::Bool(on),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(toml_value).collect()),
        toml::Value::Table(members) => Value::Object(members.into_iter().map(|(k, v)| (k, toml_value(v))).collect()),
    }
}
