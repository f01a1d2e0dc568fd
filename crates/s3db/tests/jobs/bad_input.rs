//! Definitions that are refused, each naming its field and the way out.

use s3db::scheduler::{Action, JobDefinition, SchedulerPlugin};
use s3db::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::world::{World, minutely};

fn action() -> Value {
    json!({"kind": "delete_where", "resource": "sessions", "where": {"a": 1}})
}

/// What is wrong with a job, as its paths and messages.
fn problems(job: &Value) -> Vec<(String, String)> {
    let read = JobDefinition::from_json("j", job).and_then(|job| {
        SchedulerPlugin::builder().job(job).build()?;
        Ok(())
    });
    fields(&read.expect_err(&job.to_string()))
}

fn fields(error: &Error) -> Vec<(String, String)> {
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.guidance().is_some());
    let fields = error.details().unwrap()["fields"].as_array().unwrap().clone();
    let text = |field: &Value, name: &str| field[name].as_str().unwrap().to_owned();
    fields.iter().map(|field| (text(field, "field"), text(field, "message"))).collect()
}

#[test]
fn every_wrong_field_of_a_job_is_named() {
    let cases = [
        (json!({"schedule": "99 * * * *", "action": action()}), "jobs.j.schedule", "in the field 'minute' at column 1"),
        (json!({"schedule": "0 0 31 2 *", "action": action()}), "jobs.j.schedule", "never fires"),
        (json!({"schedule": 5, "action": action()}), "jobs.j.schedule", "must be a text"),
        (json!({"action": action()}), "jobs.j.schedule", "is missing"),
        (json!({"schedule": "* * * * *"}), "jobs.j.action", "is missing"),
        (json!({"schedule": "* * * * *", "action": "delete"}), "jobs.j.action", "must be an object with a 'kind'"),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "delete_wher"}}),
            "jobs.j.action.kind",
            "did you mean 'delete_where'",
        ),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "exec", "command": ["ls"]}}),
            "jobs.j.action.kind",
            "allowExec",
        ),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "delete_where", "resource": "r"}}),
            "jobs.j.action.where",
            "is missing",
        ),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "delete_where", "resource": "r", "where": {}}}),
            "jobs.j.action.where",
            "'all': true",
        ),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "update_where", "resource": "r", "where": {"a": 1}}}),
            "jobs.j.action.set",
            "must be an object",
        ),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "backup", "type": "half"}}),
            "jobs.j.action.type",
            "full, incremental and differential",
        ),
        (
            json!({"schedule": "* * * * *", "action": {"kind": "insert", "resource": "r", "record": {"a": "=nothing("}}}),
            "jobs.j.action.record.a",
            "",
        ),
        (json!({"schedule": "* * * * *", "action": action(), "timezone": "Mars/Base"}), "jobs.j.timezone", "Mars/Base"),
        (json!({"schedule": "* * * * *", "action": action(), "timeout": -5}), "jobs.j.timeout", "is no duration"),
        (json!({"schedule": "* * * * *", "action": action(), "timeout": "500d"}), "jobs.j.timeout", "too long"),
        (json!({"schedule": "* * * * *", "action": action(), "timeout": 1e300}), "jobs.j.timeout", "is no duration"),
        (json!({"schedule": "* * * * *", "action": action(), "retries": -1}), "jobs.j.retries", "from 0 to 100"),
        (json!({"schedule": "* * * * *", "action": action(), "retries": 1_000_000}), "jobs.j.retries", "from 0 to 100"),
        (json!({"schedule": "* * * * *", "action": action(), "retries": "two"}), "jobs.j.retries", "from 0 to 100"),
        (
            json!({"schedule": "* * * * *", "action": action(), "overlap": "skipp"}),
            "jobs.j.overlap",
            "did you mean 'skip'",
        ),
        (json!({"schedule": "* * * * *", "action": action(), "catchUp": "some"}), "jobs.j.catchUp", "none, last, all"),
        (
            json!({"schedule": "* * * * *", "action": action(), "catchUp": {"policy": "all", "windw": 5}}),
            "jobs.j.catchUp.windw",
            "unknown key",
        ),
        (
            json!({"schedule": "* * * * *", "action": action(), "backoff": {"initial": "5m", "max": "1s"}}),
            "jobs.j.backoff.max",
            "shorter",
        ),
        (json!({"schedule": "* * * * *", "action": action(), "dst": "never"}), "jobs.j.dst", "vixie, skip"),
        (
            json!({"schedule": "* * * * *", "action": action(), "onDeath": "revive"}),
            "jobs.j.onDeath",
            "interrupted, retry",
        ),
        (
            json!({"schedule": "* * * * *", "action": action(), "dependsOn": "other"}),
            "jobs.j.dependsOn",
            "list of texts",
        ),
        (json!({"schedule": "* * * * *", "action": action(), "dependsOn": ["j"]}), "jobs.j.dependsOn", "itself"),
        (json!({"schedule": "* * * * *", "action": action(), "enabled": "yes"}), "jobs.j.enabled", "true or false"),
        (json!({"schedule": "* * * * *", "action": action(), "allow": {"verbs": ["fly"]}}), "jobs.j.allow", "verbs"),
        (json!({"schedule": "* * * * *", "action": action(), "meta": 5}), "jobs.j.meta", "must be an object"),
        (
            json!({"schedule": "* * * * *", "action": action(), "shedule": 5}),
            "jobs.j.shedule",
            "did you mean 'schedule'",
        ),
        (json!([]), "jobs.j", "must be an object"),
    ];
    for (job, field, message) in cases {
        let found = problems(&job);
        assert!(found.iter().any(|(f, m)| f == field && m.contains(message)), "{job}: {found:?}");
    }
}

#[test]
fn all_problems_of_all_jobs_are_told_at_once() {
    let wrong = |name: &str| JobDefinition::new(name, "99 * * * *").timezone("Mars/Base").action(Action::new("fly"));
    let error = SchedulerPlugin::builder().job(wrong("a")).job(wrong("b")).timezone("Nowhere").build().unwrap_err();
    let found = fields(&error);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        ["scheduler.timezone", "jobs.a.timezone", "jobs.a.action.kind", "jobs.b.timezone", "jobs.b.action.kind"]
    );
}

#[test]
fn names_and_circles_are_checked() {
    let job = |name: &str| minutely(name).action(Action::new("cleanup_backups"));
    for name in ["", "a/b", "ä", "..", &"x".repeat(65)] {
        assert!(
            SchedulerPlugin::builder().job(job(name)).build().unwrap_err().to_string().contains("job name"),
            "{name}"
        );
    }
    let twice = SchedulerPlugin::builder().job(job("a")).job(job("a")).build().unwrap_err();
    assert!(twice.to_string().contains("jobs.a: is there twice"), "{twice}");
    let circle = SchedulerPlugin::builder()
        .job(job("a").depends_on("b"))
        .job(job("b").depends_on("c"))
        .job(job("c").depends_on("a"))
        .build()
        .unwrap_err();
    assert!(circle.to_string().contains("jobs.a.dependsOn: leads back to itself: a → b → c → a"), "{circle}");
    let missing = SchedulerPlugin::builder().job(minutely("a")).build().unwrap_err();
    assert!(missing.to_string().contains("jobs.a.action: is missing"), "{missing}");
    let unlogged =
        SchedulerPlugin::builder().persist_jobs(false).job(job("b")).job(job("a").depends_on("b")).build().unwrap_err();
    assert!(unlogged.to_string().contains("persistJobs"), "{unlogged}");
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_not_there_is_refused_and_nothing_is_stored() {
    let world = World::new();
    let caller = world.caller(SchedulerPlugin::builder()).await;
    let job = |name: &str| minutely(name).action(Action::new("cleanup_backups"));
    caller.scheduler.add_job(job("extract")).await.unwrap();
    let error = caller.scheduler.add_job(job("load").depends_on("extrct")).await.unwrap_err();
    assert!(error.to_string().contains("there is no job 'extrct'; did you mean 'extract'"), "{error}");
    caller.scheduler.add_job(job("load").depends_on("extract")).await.unwrap();
    let error = caller.scheduler.add_job(job("extract").depends_on("load")).await.unwrap_err();
    assert!(error.to_string().contains("extract → load → extract"), "{error}");
    assert_eq!(caller.scheduler.get_job("extract").await.unwrap().depends_on.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_is_an_error_and_the_other_jobs_run() {
    let world = World::new();
    let builder = world.with_job(SchedulerPlugin::builder(), minutely("good"), std::time::Duration::ZERO);
    let process = world.process(builder).await;
    let put = s3db::store::Put { body: "{not json".into(), ..Default::default() };
    s3db::store::Store::put(&*world.memory, "s3db/meta/jobs/bad.json", put, s3db::store::Precondition::None)
        .await
        .unwrap();
    world.pass_s(185).await;
    assert_eq!(process.statuses("good").await["success"], 3);
    let error = process.scheduler.get_job_status("bad").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Integrity && error.to_string().contains("'bad'"), "{error}");
}
