//! A job's `allow`: its handle does nothing else.

use s3db::scheduler::{Action, Allow, SchedulerPlugin, Verb};
use s3db::{ErrorKind, Query, ResourceDefinition};
use serde_json::{Value, json};

use crate::world::{World, minutely};

#[tokio::test(start_paused = true)]
async fn a_function_gets_a_handle_that_refuses_everything_else() {
    let world = World::new();
    let allow = Allow {
        resources: Some(vec!["sessions".into()]),
        verbs: Some(vec![Verb::Read, Verb::Delete]),
        plugins: Some(vec!["backup".into()]),
    };
    let builder = SchedulerPlugin::builder().job_fn(minutely("j").allow(allow), |call| async move {
        let sessions = call.db.resource("sessions").await?;
        let mut refused = Vec::new();
        let mut note = |what: &str, result: s3db::Result<()>| {
            refused.push(format!("{what}: {}", result.map_or_else(|e| format!("{:?}", e.kind()), |()| "done".into())));
        };
        note("users", call.db.resource("users").await.map(drop));
        note("insert", sessions.insert(json!({"id": "b"})).await.map(drop));
        note("update", sessions.update("a", json!({"n": 2})).await.map(drop));
        note("upsert", sessions.upsert(json!({"id": "a"})).await.map(drop));
        note("update_where", sessions.update_where(&Query::all(), json!({"n": 2}), &|_| ()).await.map(drop));
        note("content", sessions.set_content("a", "x", "text/plain").await);
        note(
            "swap",
            async {
                let at = sessions.snapshot("a").await?.unwrap();
                sessions.swap(&at, json!({"n": 3})).await.map(drop)
            }
            .await,
        );
        note(
            "define",
            call.db.create_resource(ResourceDefinition::new("sessions").attribute("n", "number")).await.map(drop),
        );
        note("drop", call.db.drop_resource("sessions").await.map(drop));
        note("pause", call.db.pause().await.map(drop));
        note("doctor", call.db.doctor(true, &|_, _| ()).await.map(drop));
        note("plugin", call.db.plugin::<SchedulerPlugin>().map(drop));
        note("raw", call.db.store().get("s3db.json", None).await.map(drop).map_err(s3db::Error::from));
        note("read", sessions.list(&Query::all()).await.map(drop));
        note("count", sessions.count().await.map(drop));
        note("delete", sessions.delete("a").await);
        Ok::<Value, s3db::Error>(json!(refused))
    });
    let process = world.caller(builder).await;
    let sessions = ResourceDefinition::new("sessions").attribute("n", "number|optional");
    let sessions = process.db.create_resource(sessions).await.unwrap();
    sessions.insert(json!({"id": "a", "n": 1})).await.unwrap();
    process.db.create_resource(ResourceDefinition::new("users").attribute("n", "number|optional")).await.unwrap();
    let run = process.scheduler.run_job("j", Value::Null).await.unwrap();
    let answers: Vec<&str> = run.result.as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let (refused, done): (Vec<&str>, Vec<&str>) = answers.iter().partition(|answer| !answer.ends_with("done"));
    assert_eq!(done, ["read: done", "count: done", "delete: done"], "{refused:?}");
    assert!(refused.iter().all(|answer| answer.ends_with("Unsupported") || answer.starts_with("raw: ")), "{refused:?}");
    assert_eq!(sessions.count().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_data_and_not_allowed_is_refused_before_it_runs() {
    let world = World::new();
    let caller = world.caller(SchedulerPlugin::builder()).await;
    let delete = Action::new("delete_where").field("resource", "users").field("where", json!({"a": 1}));
    let read_only = Allow { verbs: Some(vec![Verb::Read]), ..Allow::default() };
    let elsewhere = Allow { resources: Some(vec!["sessions".into()]), ..Allow::default() };
    for (allow, field) in [(read_only, "jobs.j.action.kind"), (elsewhere, "jobs.j.action.resource")] {
        let error = caller.scheduler.add_job(minutely("j").action(delete.clone()).allow(allow)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(field), "{error}");
    }
    let machine = Action::new("send_event").field("machine", "m").field("entity", "e").field("event", "GO");
    let no_plugins = Allow { plugins: Some(Vec::new()), ..Allow::default() };
    let error = caller.scheduler.add_job(minutely("j").action(machine).allow(no_plugins)).await.unwrap_err();
    assert!(error.to_string().contains("allow.plugins"), "{error}");
}
