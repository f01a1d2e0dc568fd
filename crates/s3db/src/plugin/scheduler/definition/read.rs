//! Reading jobs: every problem is found, not only the first, and each names its place.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Action, Allow, Backoff, JobDefinition, Standard};
use crate::error::Result;
use crate::plugin::problem::{Problems, invalid, known_keys};
use crate::query::duration;

const KEYS: [&str; 20] = [
    "schedule",
    "action",
    "description",
    "enabled",
    "retries",
    "timeout",
    "meta",
    "timezone",
    "dst",
    "overlap",
    "catchUp",
    "catchUpWindow",
    "jitter",
    "backoff",
    "dependsOn",
    "onFailure",
    "lateAfter",
    "allow",
    "onDeath",
    "$schema",
];
/// Attempts after the first, at most.
const MOST_RETRIES: u64 = 100;
/// The longest time-out, window or pause.
const LONGEST: Duration = Duration::from_secs(400 * 86_400);

/// Reads one job alone.
pub(crate) fn one_job(name: &str, value: &Value) -> Result<JobDefinition> {
    let mut problems = Problems::default();
    let job = read(name, value, &mut problems);
    match problems.0.is_empty() {
        true => Ok(job),
        false => {
            also_compile(&job, &mut problems);
            Err(invalid(&format!("job '{name}'"), &problems.0))
        }
    }
}

/// Adds what else is wrong with a job that cannot be taken: all problems are told at once.
pub(super) fn also_compile(job: &JobDefinition, problems: &mut Problems) {
    let more = Standard::any().try_compile(job.clone()).err().unwrap_or_default();
    let told: Vec<String> = problems.0.iter().map(|problem| problem.path.clone()).collect();
    problems.0.extend(more.into_iter().filter(|problem| !told.contains(&problem.path)));
}

pub(super) fn read(name: &str, value: &Value, problems: &mut Problems) -> JobDefinition {
    let mut job = JobDefinition::new(name, "");
    let path = format!("jobs.{name}");
    let Value::Object(members) = value else {
        problems.add(&path, "must be an object");
        return job;
    };
    known_keys(members, &KEYS, &path, problems);
    let mut reader = Reader { members, path: &path, problems };
    match reader.get("schedule") {
        Some(Value::String(schedule)) => job.schedule.clone_from(schedule),
        Some(_) => reader.problem("schedule", "must be a text: a cron expression"),
        None => reader.problem("schedule", "is missing: a cron expression such as \"0 3 * * *\""),
    }
    match reader.get("action") {
        None => reader.problem("action", "is missing: an object such as {\"kind\": \"delete_where\", …}"),
        Some(_) => job.action = reader.action("action").filter(|action| action.kind() != "function"),
    }
    job.description = reader.text("description");
    job.timezone = reader.text("timezone");
    job.enabled = reader.bool("enabled").unwrap_or(true);
    job.retries = reader.count("retries");
    job.timeout = reader.duration("timeout");
    job.jitter = reader.duration("jitter").unwrap_or_default();
    job.late_after = reader.duration("lateAfter");
    job.dst = reader.word("dst", "vixie, skip");
    let overlaps = "skip, buffer_one, buffer_all, cancel_other, terminate_other, allow_all";
    job.overlap = reader.word("overlap", overlaps).unwrap_or_default();
    job.on_death = reader.word("onDeath", "interrupted, retry").unwrap_or_default();
    catch_up(&mut reader, &mut job);
    job.backoff = reader.backoff();
    job.depends_on = reader.texts("dependsOn");
    job.on_failure = reader.action("onFailure");
    job.allow = reader.allow();
    if let Some(meta) = reader.get("meta") {
        match meta {
            Value::Object(members) => job.meta = members.clone(),
            _ => reader.problem("meta", "must be an object"),
        }
    }
    job
}

/// `"last"`, or `{"policy": "last", "window": "2h"}`.
fn catch_up(reader: &mut Reader<'_>, job: &mut JobDefinition) {
    const POLICIES: &str = "none, last, all";
    if let Some(Value::Object(members)) = reader.get("catchUp") {
        let path = format!("{}.catchUp", reader.path);
        known_keys(members, &["policy", "window"], &path, reader.problems);
        let mut inner = Reader { members, path: &path, problems: reader.problems };
        job.catch_up = inner.word("policy", POLICIES).unwrap_or_default();
        if let Some(window) = inner.duration("window") {
            job.catch_up_window = window;
        }
    } else {
        job.catch_up = reader.word("catchUp", POLICIES).unwrap_or_default();
    }
    if let Some(window) = reader.duration("catchUpWindow") {
        job.catch_up_window = window;
    }
}

struct Reader<'a> {
    members: &'a Map<String, Value>,
    path: &'a str,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.add(&format!("{}.{key}", self.path), message);
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.problem(key, format!("must be a text, this is {other}"));
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let texts = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        texts.flatten().unwrap_or_else(|| {
            self.problem(key, "must be a list of texts");
            Vec::new()
        })
    }

    fn bool(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            self.problem(key, format!("must be true or false, this is {value}"));
        }
        value.as_bool()
    }

    fn count(&mut self, key: &str) -> Option<u32> {
        let value = self.get(key)?;
        let count = value.as_u64().filter(|n| *n <= MOST_RETRIES).and_then(|n| u32::try_from(n).ok());
        if count.is_none() {
            self.problem(key, format!("must be a number from 0 to {MOST_RETRIES}, this is {value}"));
        }
        count
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        let value = self.get(key)?;
        let found = match value {
            Value::String(text) => duration::parse(text),
            value => value.as_u64().map(Duration::from_millis),
        };
        match found {
            Some(found) if found <= LONGEST => Some(found),
            Some(_) => {
                self.problem(key, format!("{value} is too long, at most 400d are allowed"));
                None
            }
            None => {
                self.problem(
                    key,
                    format!("{value} is no duration; write milliseconds, or a text such as 90s or 1h30m"),
                );
                None
            }
        }
    }

    fn word<T: DeserializeOwned>(&mut self, key: &str, known: &str) -> Option<T> {
        let value = self.get(key)?;
        let found = serde_json::from_value(value.clone()).ok();
        if found.is_none() {
            let word = value.as_str().unwrap_or_default();
            let hint = s3db_format::error::did_you_mean(word, known.split(", "));
            self.problem(key, format!("{value} is unknown; {}", hint.unwrap_or_else(|| format!("known: {known}"))));
        }
        found
    }

    fn action(&mut self, key: &str) -> Option<Action> {
        match self.get(key)? {
            Value::Object(members) if members.get("kind").is_some_and(Value::is_string) => {
                Some(Action(members.clone()))
            }
            _ => {
                self.problem(key, "must be an object with a 'kind'");
                None
            }
        }
    }

    /// A duration, or `{"initial": "1s", "max": "5m"}`.
    fn backoff(&mut self) -> Backoff {
        let standard = Backoff::default();
        let Some(Value::Object(members)) = self.get("backoff") else {
            let initial = self.duration("backoff").unwrap_or(standard.initial);
            return Backoff { initial, max: standard.max.max(initial) };
        };
        let path = format!("{}.backoff", self.path);
        known_keys(members, &["initial", "max"], &path, self.problems);
        let mut inner = Reader { members, path: &path, problems: self.problems };
        let initial = inner.duration("initial").unwrap_or(standard.initial);
        let max = inner.duration("max").unwrap_or(standard.max.max(initial));
        if max < initial {
            inner.problem("max", "must not be shorter than 'initial'");
        }
        Backoff { initial, max }
    }

    fn allow(&mut self) -> Option<Allow> {
        let value = self.get("allow")?;
        match serde_json::from_value(value.clone()) {
            Ok(allow) => Some(allow),
            Err(why) => {
                self.problem("allow", format!("must hold lists 'resources', 'verbs' and 'plugins': {why}"));
                None
            }
        }
    }
}
