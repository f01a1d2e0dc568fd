//! Jobs that can run: the schedule read, the action compiled, what the settings decide filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s3db_format::keys;

use super::{JobDefinition, Verb};
use crate::error::Result;
use crate::plugin::problem::{Problem, Problems, invalid};
use crate::plugin::scheduler::action::{self, JobAction};
use crate::plugin::scheduler::cron::{Cron, Dst};

/// What the plugin's settings say where a job says nothing.
#[derive(Debug, Clone)]
pub(in super::super) struct Standard {
    pub(in super::super) timezone: String,
    pub(in super::super) dst: Dst,
    pub(in super::super) timeout: Duration,
    pub(in super::super) retries: u32,
    pub(in super::super) allow_exec: bool,
}

/// A job that can run.
#[derive(Debug)]
pub(in super::super) struct Compiled {
    pub(in super::super) definition: JobDefinition,
    pub(in super::super) cron: Cron,
    /// `None` is a function.
    pub(in super::super) action: Option<JobAction>,
    pub(in super::super) on_failure: Option<JobAction>,
    /// `None` is for ever.
    pub(in super::super) timeout: Option<Duration>,
    pub(in super::super) retries: u32,
}

impl Standard {
    /// Settings under which everything is allowed, to find what is wrong whatever they are.
    pub(super) fn any() -> Self {
        let timeout = Duration::from_secs(60);
        Self { timezone: "UTC".into(), dst: Dst::default(), timeout, retries: 0, allow_exec: true }
    }

    /// Fills in what the settings decide, so that every process means the same by the stored definition.
    pub(in super::super) fn complete(&self, mut job: JobDefinition) -> JobDefinition {
        let is_backup = job.action.as_ref().is_some_and(|action| action::takes_its_time(action.kind()));
        job.timezone.get_or_insert_with(|| self.timezone.clone());
        job.dst.get_or_insert(self.dst);
        job.retries.get_or_insert(self.retries);
        job.timeout.get_or_insert(if is_backup { Duration::ZERO } else { self.timeout });
        job
    }

    /// Compiles a job, with every problem of it.
    pub(in super::super) fn compile(&self, job: JobDefinition) -> Result<Compiled> {
        let name = job.name.clone();
        self.try_compile(job).map_err(|problems| invalid(&format!("job '{name}'"), &problems))
    }

    pub(in super::super) fn try_compile(&self, job: JobDefinition) -> std::result::Result<Compiled, Vec<Problem>> {
        let job = self.complete(job);
        let path = format!("jobs.{}", job.name);
        let mut problems = Problems::default();
        if let Err(why) = keys::check_name("job", &job.name) {
            problems.add(&path, why.to_string());
        }
        let zone = job.timezone.clone().unwrap_or_else(|| self.timezone.clone());
        let cron = read_schedule(&job, &zone, &path, &mut problems);
        let mut job = job;
        if let Some(cron) = &cron {
            job.timezone = Some(cron.zone().to_owned());
        }
        let job = job;
        let mut compile = |action: &super::Action, field: &str| {
            action::compile(action, &format!("{path}.{field}"), self.allow_exec, &mut problems)
        };
        let action = job.action.as_ref().map(|action| compile(action, "action"));
        let on_failure = job.on_failure.as_ref().map(|action| compile(action, "onFailure"));
        if job.depends_on.contains(&job.name) {
            problems.add(&format!("{path}.dependsOn"), "a job cannot depend on itself");
        }
        let verbs = job.allow.as_ref().and_then(|allow| allow.verbs.as_ref());
        if job.action.is_some() && job.allow.is_some() {
            check_allowed(&job, verbs, &path, &mut problems);
        }
        match (cron, action.transpose_missing(), on_failure.transpose_missing()) {
            (Some(cron), Some(action), Some(on_failure)) if problems.0.is_empty() => Ok(Compiled {
                cron,
                action,
                on_failure,
                timeout: job.timeout.filter(|timeout| !timeout.is_zero()),
                retries: job.retries.unwrap_or(self.retries),
                definition: job,
            }),
            _ => Err(problems.0),
        }
    }
}

/// `None` of something that was to be there is a failure that was told.
trait TransposeMissing<T> {
    fn transpose_missing(self) -> Option<Option<T>>;
}

impl<T> TransposeMissing<T> for Option<Option<T>> {
    fn transpose_missing(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(found) => Some(found),
        }
    }
}

fn read_schedule(job: &JobDefinition, zone: &str, path: &str, problems: &mut Problems) -> Option<Cron> {
    if let Err(why) = crate::plugin::scheduler::cron::time_zone(zone) {
        let hint = why.guidance().unwrap_or_default().to_owned();
        problems.add(&format!("{path}.timezone"), format!("{why}; {hint}"));
        return None;
    }
    match Cron::parse(&job.schedule, zone, job.dst.unwrap_or_default()) {
        Ok(cron) if !cron.is_possible() => {
            problems
                .add(&format!("{path}.schedule"), format!("'{}' never fires: no month has such a day", job.schedule));
            None
        }
        Ok(cron) => Some(cron),
        Err(why) => {
            problems.add(&format!("{path}.schedule"), why.to_string());
            None
        }
    }
}

/// An action that is data says what it does, so what it may not do is told before it runs.
fn check_allowed(job: &JobDefinition, verbs: Option<&Vec<Verb>>, path: &str, problems: &mut Problems) {
    let (Some(action), Some(allow)) = (&job.action, &job.allow) else { return };
    let needed = match action.kind() {
        "insert" => Some(Verb::Insert),
        "update_where" => Some(Verb::Update),
        "delete_where" => Some(Verb::Delete),
        _ => None,
    };
    if let (Some(needed), Some(verbs)) = (needed, verbs)
        && !verbs.contains(&needed)
    {
        problems.add(
            &format!("{path}.action.kind"),
            format!("'{}' is not allowed: allow.verbs lacks '{}'", action.kind(), super::word(&needed)),
        );
    }
    let resource = action.0.get("resource").and_then(serde_json::Value::as_str).filter(|name| !name.starts_with('='));
    if let (Some(resource), Some(resources), true) = (resource, &allow.resources, needed.is_some())
        && !resources.iter().any(|allowed| allowed == resource)
    {
        problems
            .add(&format!("{path}.action.resource"), format!("'{resource}' is not allowed: allow.resources lacks it"));
    }
    let plugin = match action.kind() {
        "send_event" => Some("stateMachine"),
        "backup" | "cleanup_backups" => Some("backup"),
        _ => None,
    };
    if let (Some(plugin), Some(plugins)) = (plugin, &allow.plugins)
        && !plugins.iter().any(|allowed| crate::plugin::short_name(allowed) == plugin)
    {
        problems.add(
            &format!("{path}.action.kind"),
            format!("'{}' is not allowed: allow.plugins lacks '{plugin}'", action.kind()),
        );
    }
}

/// Jobs whose dependencies lead back to themselves, as problems.
pub(in super::super) fn circles(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<Problem> {
    let mut problems = Problems::default();
    for name in dependencies.keys() {
        let mut way = vec![name.as_str()];
        let mut seen = BTreeSet::new();
        if leads_back(name, name, dependencies, &mut way, &mut seen) {
            problems
                .add(&format!("jobs.{name}.dependsOn"), format!("leads back to itself: {} → {name}", way.join(" → ")));
        }
    }
    problems.0
}

fn leads_back<'a>(
    start: &str,
    at: &'a str,
    dependencies: &'a BTreeMap<String, Vec<String>>,
    way: &mut Vec<&'a str>,
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    for next in dependencies.get(at).into_iter().flatten() {
        if next == start {
            return true;
        }
        if seen.insert(next) {
            way.push(next);
            if leads_back(start, next, dependencies, way, seen) {
                return true;
            }
            way.pop();
        }
    }
    false
}
