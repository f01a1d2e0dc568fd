//! Jobs from `s3db.toml`: the same as those of a program, with the same checks.

use std::path::Path;

use s3db::config::Config;
use s3db::scheduler::{CatchUp, JobDefinition, OnDeath, Overlap, SchedulerPlugin};
use serde_json::json;

const FILE: &str = r#"
url = "file:./data"

[scheduler]
timezone = "America/Sao_Paulo"
defaultTimeout = "5m"
defaultRetries = 0
pollInterval = "5s"
historyRetention = { age = "30d", rows = 500 }

[backup]
timezone = "Europe/Lisbon"
schedule = { full = "0 2 * * 0", incremental = "0 2 * * 1-6", cleanup = "0 5 * * *" }
[[backup.destinations]]
type = "filesystem"
path = "./backups/{date}/"

[jobs.daily_cleanup]
schedule = "0 3 * * *"
retries = 2
catchUp = { policy = "last", window = "6h" }
backoff = { initial = "2s", max = "1m" }
overlap = "buffer_one"
onDeath = "retry"
jitter = "30s"
[jobs.daily_cleanup.action]
kind = "delete_where"
resource = "sessions"
where = { expiresAt = { "$lt" = "$now" } }
[jobs.daily_cleanup.meta]
team = "data"
"#;

fn config(text: &str) -> s3db::Result<Config> {
    Config::parse(text, Path::new("/srv/s3db.toml"))
}

fn built(text: &str) -> s3db::Result<SchedulerPlugin> {
    let config = config(text)?;
    SchedulerPlugin::builder().configure(&config).configured_jobs(&config)?.build()
}

#[test]
fn a_file_says_what_a_program_says() {
    let config = config(FILE).unwrap();
    let jobs = JobDefinition::configured(&config).unwrap();
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["daily_cleanup", "backup_cleanup", "backup_full", "backup_incremental"]);
    let job = &jobs[0];
    assert_eq!(
        (job.overlap, job.catch_up, job.on_death, job.retries),
        (Overlap::BufferOne, CatchUp::Last, OnDeath::Retry, Some(2))
    );
    assert_eq!((job.catch_up_window.as_secs(), job.backoff.max.as_secs(), job.jitter.as_secs()), (21_600, 60, 30));
    assert_eq!(job.meta["team"], "data");
    assert_eq!(JobDefinition::from_json(&job.name, &job.to_json()).unwrap(), *job);
    let full = &jobs[2];
    assert_eq!(
        (full.timezone.as_deref(), full.action.as_ref().unwrap().0["type"].clone()),
        (Some("Europe/Lisbon"), json!("full"))
    );
    built(FILE).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_settings_decide_is_stored_with_the_job() {
    let plugin = built(FILE).unwrap();
    let db = s3db::Database::builder("memory://configured-jobs")
        .plugin(plugin)
        .start_plugins(false)
        .connect()
        .await
        .unwrap();
    let scheduler = db.plugin::<SchedulerPlugin>().unwrap();
    let status = scheduler.get_job_status("daily_cleanup").await.unwrap();
    assert_eq!(
        (status.timezone.as_str(), status.definition["timeout"].clone(), status.definition["retries"].clone()),
        ("America/Sao_Paulo", json!(300_000), json!(2))
    );
    let full = scheduler.get_job_status("backup_full").await.unwrap();
    assert_eq!(
        (full.timezone.as_str(), full.definition["timeout"].clone(), full.definition["retries"].clone()),
        ("Europe/Lisbon", json!(0), json!(0))
    );
    assert_eq!(scheduler.get_all_jobs_status().await.unwrap().len(), 4);
}

#[test]
fn what_is_wrong_with_a_file_names_its_key() {
    let cases = [
        ("[jobs.a]\nschedule = \"99 * * * *\"\naction = { kind = \"cleanup_backups\" }", "jobs.a.schedule"),
        ("[jobs.a]\nschedule = \"* * * * *\"\naction = { kind = \"clean\" }", "jobs.a.action.kind"),
        ("[jobs.a]\nschedule = \"* * * * *\"\naction = { kind = \"exec\", command = [\"ls\"] }", "allowExec"),
        (
            "[jobs.a]\nschedule = \"* * * * *\"\naction = { kind = \"cleanup_backups\" }\nretrys = 1",
            "did you mean 'retries'",
        ),
        ("jobs = 5", "jobs"),
        ("[scheduler]\ntimezone = \"Nowhere\"", "scheduler.timezone"),
        ("[scheduler]\npollInterval = \"1h\"", "scheduler.pollInterval"),
        ("[scheduler]\ndefaultRetries = 1000", "scheduler.defaultRetries"),
        ("[scheduler]\ndefaultTimeout = -1", "is no duration"),
        ("[scheduler]\nhistoryRetention = { rows = 0 }", "historyRetention.rows"),
        ("[backup]\nschedule = { weekly = \"0 2 * * 0\" }", "backup.schedule.weekly"),
        ("[backup]\nschedule = \"0 2 * *\"", "jobs.backup_full.schedule"),
    ];
    for (text, expected) in cases {
        let error = built(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    assert_eq!(
        JobDefinition::configured(&config("[backup]\nschedule = \"0 2 * * *\"").unwrap()).unwrap()[0].name,
        "backup_full"
    );
}

#[test]
fn a_file_of_jobs_tells_every_problem_of_every_job() {
    let read = |text: &str, name: &str| JobDefinition::from_file(text, Path::new(name));
    let good = read(r#"{"a": {"schedule": "@daily", "action": {"kind": "cleanup_backups"}}}"#, "jobs.json").unwrap();
    assert_eq!(good[0].name, "a");
    let good = read("[jobs.b]\nschedule = \"@daily\"\naction = { kind = \"backup\" }", "jobs.toml").unwrap();
    assert_eq!(good[0].name, "b");
    let bad =
        r#"{"a": {"schedule": "99 * * * *", "dst": "other", "action": {"kind": "backup"}}, "b": {"timezone": "Mars"}}"#;
    let error = read(bad, "jobs.json").unwrap_err().to_string();
    for part in ["jobs.a.schedule", "jobs.a.dst", "jobs.b.action", "jobs.b.schedule", "jobs.b.timezone"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    for (text, expected) in
        [("[1]", "must be an object of jobs"), ("{", "is not JSON"), ("5", "must be an object of jobs")]
    {
        assert!(read(text, "jobs.json").unwrap_err().to_string().contains(expected), "{text}");
    }
}

#[test]
fn jobs_are_ordered_behind_those_they_depend_on() {
    let job = |name: &str, on: &[&str]| {
        on.iter().fold(JobDefinition::new(name, "@daily"), |job, other| job.depends_on(*other))
    };
    let ordered = JobDefinition::in_order(vec![job("c", &["b"]), job("b", &["a", "x"]), job("a", &[])]);
    assert_eq!(ordered.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}
