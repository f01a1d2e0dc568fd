//! Files of jobs: `{"NAME": {…}}` or `{"jobs": {"NAME": {…}}}`, as JSON or TOML.

use std::path::Path;

use serde_json::{Map, Value};

use super::JobDefinition;
use super::read::{also_compile, read};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::problem::{Problems, invalid};
use crate::plugin::state_machine::toml_value;

impl JobDefinition {
    /// Reads the jobs of a file's text. A path that ends in `.toml` is TOML, any other JSON.
    ///
    /// # Errors
    /// `Invalid` with every problem of every job.
    pub fn from_file(text: &str, path: &Path) -> Result<Vec<Self>> {
        let shown = path.display();
        let is_toml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        let parsed = match is_toml {
            true => toml::from_str(text).map(|table| toml_value(toml::Value::Table(table))).map_err(|e| e.to_string()),
            false => serde_json::from_str(text).map_err(|e| e.to_string()),
        };
        let value: Value = parsed.map_err(|e| {
            let language = if is_toml { "TOML" } else { "JSON" };
            Error::new(ErrorKind::Invalid, format!("{shown} is not {language}: {}", e.trim_end()))
                .guide("a file of jobs is {\"NAME\": {\"schedule\": …, \"action\": {\"kind\": …}}}")
        })?;
        let none = Map::new();
        let jobs =
            value.get("jobs").filter(|jobs| jobs.is_object() && jobs.get("schedule").is_none()).unwrap_or(&value);
        let mut problems = Problems::default();
        if !jobs.is_object() {
            problems.add("file", "must be an object of jobs by their names");
        }
        let members = jobs.as_object().unwrap_or(&none).iter().filter(|(name, _)| *name != "$schema");
        let jobs: Vec<Self> = members.map(|(name, job)| read(name, job, &mut problems)).collect();
        match problems.0.is_empty() {
            true => Ok(jobs),
            false => {
                jobs.iter().for_each(|job| also_compile(job, &mut problems));
                Err(invalid(&format!("the file {shown}"), &problems.0))
            }
        }
    }

    /// Jobs, each behind those that it depends on.
    pub fn in_order(mut jobs: Vec<Self>) -> Vec<Self> {
        let mut ordered: Vec<Self> = Vec::new();
        while !jobs.is_empty() {
            let waits = |job: &Self| {
                job.depends_on.iter().any(|other| jobs.iter().any(|j| j.name == *other && j.name != job.name))
            };
            // A circle is told when its first job is added.
            let at = jobs.iter().position(|job| !waits(job)).unwrap_or_default();
            ordered.push(jobs.remove(at));
        }
        ordered
    }
}
