//! The page of numbers.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use s3db::Database;
use s3db::backup::BackupPlugin;
use s3db::scheduler::SchedulerPlugin;
use s3db::state_machine::StateMachinePlugin;
use s3db::store::clock::{Clock as _, SystemClock};

use super::super::generation::Seen;

type Labels = Vec<(String, String)>;

/// Numbers that are collected for one answer.
#[derive(Default)]
struct Page(Registry);

impl Page {
    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(format!("s3db_{name}"), help, family);
    }

    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(format!("s3db_{name}"), help, family);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(Vec::new(), value)]);
    }
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The page as text.
pub(super) async fn text(seen: &Seen) -> Result<String, String> {
    let mut page = Page::default();
    requests(&mut page, seen);
    if let Some(db) = seen.db() {
        jobs(&mut page, &db);
        machines(&mut page, &db);
        backups(&mut page, &db).await;
    }
    let mut text = String::new();
    encode(&mut text, &page.0).map_err(|e| e.to_string())?;
    Ok(text)
}

fn requests(page: &mut Page, seen: &Seen) {
    let counts = seen.requests.read();
    let kinds = [
        ("get", counts.get),
        ("head", counts.head),
        ("put", counts.put),
        ("delete", counts.delete),
        ("list", counts.list),
        ("copy", counts.copy),
    ];
    page.counters("requests", "Requests to the store", kinds.map(|(kind, n)| (labels([("kind", kind)]), n)));
    let bytes = [("read", counts.bytes_read), ("written", counts.bytes_written)];
    page.counters("bytes", "Bytes of bodies", bytes.map(|(way, n)| (labels([("way", way)]), n)));
    let operations = seen.operations();
    let operations =
        operations.iter().map(|((resource, kind), n)| (labels([("resource", resource), ("kind", kind)]), *n));
    page.counters("operations", "Records that were written", operations);
}

fn jobs(page: &mut Page, db: &Database) {
    let Ok(scheduler) = db.plugin::<SchedulerPlugin>() else { return };
    let metrics = scheduler.metrics();
    let now_ms = SystemClock.now_ms();
    let runs = metrics.runs.iter().map(|run| (labels([("job", &run.job), ("status", run.status.as_str())]), run.count));
    page.counters("job_runs", "Runs by how they ended, and instants that were skipped or missed", runs);
    let seconds = metrics
        .runs
        .iter()
        .filter(|run| run.duration > 0)
        .map(|run| (labels([("job", &run.job), ("status", run.status.as_str())]), run.duration as f64 / 1000.0));
    page.gauges("job_run_seconds_sum", "Seconds that runs took together", seconds);
    page.gauge("jobs_running", "Runs that this process has now", metrics.running as f64);
    let lateness = [("0.5", metrics.lateness_p50_ms), ("0.99", metrics.lateness_p99_ms)];
    let lateness = lateness.map(|(quantile, ms)| (labels([("quantile", quantile)]), ms as f64 / 1000.0));
    page.gauges("job_lateness_seconds", "How late runs of the schedule begin", lateness);
    let ages =
        metrics.last_success_ms.iter().map(|(job, at)| (labels([("job", job)]), (now_ms - at).max(0) as f64 / 1000.0));
    page.gauges("job_last_success_age_seconds", "Seconds since a job last succeeded in this process", ages);
    page.counters(
        "polls",
        "Looks at the store for changes of others",
        [
            (labels([("outcome", "ok")]), metrics.polls - metrics.failed_polls),
            (labels([("outcome", "error")]), metrics.failed_polls),
        ],
    );
}

fn machines(page: &mut Page, db: &Database) {
    let Ok(machines) = db.plugin::<StateMachinePlugin>() else { return };
    let metrics = machines.metrics();
    let transitions = metrics.transitions.iter().map(|count| {
        let pairs = [
            ("machine", count.machine.as_str()),
            ("from", &count.from),
            ("to", &count.to),
            ("event", &count.event),
            ("outcome", &count.outcome),
        ];
        (labels(pairs), count.count)
    });
    page.counters("transitions", "Events and timers by what became of them", transitions);
    page.counters(
        "action_errors",
        "Attempts of actions of machines that failed",
        [(Vec::new(), metrics.action_errors)],
    );
    page.gauge("machines_due", "Timers and actions that the last sweep found due", metrics.due as f64);
    page.gauge("machines_stuck", "Entities that the last sweep could not look after", metrics.stuck as f64);
    page.gauge(
        "outbox_age_seconds",
        "How long the oldest unfinished actions are overdue",
        metrics.outbox_age_ms as f64 / 1000.0,
    );
}

/// Without destinations there are no numbers; where they cannot be read that is a number, too.
async fn backups(page: &mut Page, db: &Database) {
    let Ok(backups) = db.plugin::<BackupPlugin>() else { return };
    if !backups.is_configured() {
        return;
    }
    let metrics = backups.metrics().await;
    page.gauge(
        "backups_readable",
        "Whether the destinations of backups can be read",
        if metrics.is_ok() { 1.0 } else { 0.0 },
    );
    let Ok(metrics) = metrics else { return };
    let outcomes = metrics.backups.iter().map(|(outcome, n)| (labels([("outcome", outcome)]), *n));
    page.counters("backups", "Backups of this process by what became of them", outcomes);
    page.gauge("backups_kept", "Backups that stand at the destinations", metrics.kept as f64);
    let ages = [("backup", metrics.last_success_age), ("verification", metrics.last_verification_age)];
    let ages = ages.into_iter().filter_map(|(what, age)| Some((labels([("what", what)]), age? as f64 / 1000.0)));
    page.gauges(
        "backup_age_seconds",
        "Seconds since the last good backup began, and since the last verification",
        ages,
    );
    let stored = metrics.stored.iter().map(|(place, bytes)| (labels([("destination", place)]), *bytes as f64));
    page.gauges("backup_stored_bytes", "Bytes at each destination", stored);
}
