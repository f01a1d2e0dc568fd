//! Actions that are data: the binary needs no Rust.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3db::state_machine::{ActionsState, HistoryOptions, StateMachinePlugin};
use s3db::{Database, Query, ResourceDefinition};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clock::{World, builder, machine};

/// A database whose only machine runs these actions on GO.
async fn database(name: &str, actions: Value) -> (Database, StateMachinePlugin) {
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": {"target": "b", "actions": actions}}}, "b": {"on": {"GO": "b"}}}}),
    );
    let plugin =
        builder().machine(definition).allow_exec(true).action_attempts(1).sweep_interval(None).build().unwrap();
    let db = Database::builder(format!("memory://builtin-{name}")).plugin(plugin.clone()).connect().await.unwrap();
    let notes = ResourceDefinition::new("notes").attribute("text", "string").attribute("n", "number|optional");
    db.create_resource(notes).await.unwrap();
    (db, plugin)
}

async fn go(machines: &StateMachinePlugin, context: Value) -> (ActionsState, Vec<Option<String>>) {
    machines.initialize_entity("m", "e", context).await.unwrap();
    let sent = machines.send("m", "e", "GO", json!({"p": 7})).await.unwrap();
    let row = machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items.remove(0);
    (sent.actions, row.actions.into_iter().map(|action| action.error).collect())
}

#[tokio::test]
async fn records_are_inserted_updated_and_deleted() {
    let actions = json!([
        {"kind": "insert", "resource": "notes", "record": {"id": "=context.id + '-made'", "text": "=event + ' ' + entity", "n": "=payload.p * 2"}},
        {"kind": "insert", "resource": "notes", "record": {"text": "an id of its own"}},
        {"kind": "update", "resource": "notes", "id": "kept", "set": {"n": "=version"}},
        {"kind": "delete", "resource": "=context.where", "id": "=context.id"},
    ]);
    let (db, machines) = database("records", actions).await;
    let notes = db.resource("notes").await.unwrap();
    for id in ["x", "kept"] {
        notes.insert(json!({"id": id, "text": id})).await.unwrap();
    }
    let (state, errors) = go(&machines, json!({"id": "x", "where": "notes"})).await;
    assert_eq!((state, errors), (ActionsState::Done, vec![None; 4]));
    let rows = notes.list(&Query::all()).await.unwrap().items;
    let made: Vec<Value> =
        rows.iter().filter(|r| r.id.ends_with("-made") || r.id == "kept").map(|r| r.to_json()).collect();
    assert_eq!(json!(made), json!([{"id": "kept", "text": "kept", "n": 1}, {"id": "x-made", "text": "GO e", "n": 14}]));
    assert_eq!(rows.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_runs_again_after_a_crash_is_made_once() {
    let definition = machine(
        "m",
        json!({"initialState": "a", "states": {"a": {"on": {"GO": {"target": "a", "actions": [
            {"kind": "insert", "resource": "notes", "record": {"text": "=token"}},
            {"kind": "insert", "resource": "notes", "record": {"id": "fixed", "text": "same"}}, "hang"]}}}}}),
    );
    let world = World::new();
    let first = world
        .process(
            builder().machine(definition.clone()).action("hang", |_| std::future::pending::<Result<Value, String>>()),
        )
        .await;
    first.db.create_resource(ResourceDefinition::new("notes").attribute("text", "string")).await.unwrap();
    first.machines.initialize_entity("m", "e", Value::Null).await.unwrap();
    let machines = first.machines.clone();
    let sending = tokio::spawn(async move { machines.send("m", "e", "GO", Value::Null).await });
    world.pass(Duration::from_secs(1)).await;
    sending.abort();
    world.pass(Duration::from_secs(200)).await;
    let other =
        world.process(builder().machine(definition).action("hang", |_| async { Ok::<_, String>(Value::Null) })).await;
    assert_eq!(other.machines.sweep().await.unwrap().finished, 1);
    let notes = other.db.resource("notes").await.unwrap();
    assert_eq!(notes.count().await.unwrap(), 2, "once each");
    let row = &other.machines.get_transition_history("m", "e", &HistoryOptions::default()).await.unwrap().items[0];
    assert!(row.actions.iter().all(|action| action.ok), "{row:?}");
}

#[tokio::test]
async fn failures_of_records_say_why() {
    let actions = json!([
        {"kind": "insert", "resource": "notes", "record": {"id": "x", "text": "mine"}},
        {"kind": "insert", "resource": "nots", "record": {}},
        {"kind": "update", "resource": "notes", "id": "none", "set": {"text": "t"}},
        {"kind": "insert", "resource": "notes", "record": {"text": 5}},
        {"kind": "insert", "resource": "notes", "record": {"text": "=context.missing"}},
        {"kind": "delete", "resource": "notes", "id": "gone already"},
    ]);
    let (db, machines) = database("failures", actions).await;
    db.resource("notes").await.unwrap().insert(json!({"id": "x", "text": "another's"})).await.unwrap();
    let (state, errors) = go(&machines, Value::Null).await;
    assert_eq!(state, ActionsState::Failed);
    let errors: Vec<String> = errors.into_iter().map(Option::unwrap_or_default).collect();
    for (error, text) in errors.iter().zip([
        "already exists",
        "'nots' does not exist",
        "does not exist",
        "text",
        "no such key 'missing'",
        "",
    ]) {
        assert!(error.contains(text), "{error}");
    }
    assert!(errors[5].is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_on_to_one_entity_or_to_all_in_a_state() {
    let world = World::new();
    let batch = machine(
        "batch",
        json!({"initialState": "open", "states": {"open": {"on": {"CLOSE": {"target": "closed", "actions": [
            {"kind": "send_event", "machine": "order", "state": "waiting", "event": "RELEASE", "payload": {"by": "=entity"}},
            {"kind": "send_event", "machine": "order", "entity": "=context.first", "event": "NOTE"}]}}}, "closed": {"type": "final"}}}),
    );
    let order = machine(
        "order",
        json!({"initialState": "waiting", "states": {"waiting": {"on": {"RELEASE": "released"}}, "released": {"on": {"NOTE": "released"}}}}),
    );
    let process = world.process(builder().machine(batch).machine(order)).await;
    for n in 0..5 {
        process.machines.initialize_entity("order", &format!("o{n}"), Value::Null).await.unwrap();
    }
    process.machines.initialize_entity("batch", "b", json!({"first": "o0"})).await.unwrap();
    assert_eq!(process.machines.send("batch", "b", "CLOSE", Value::Null).await.unwrap().actions, ActionsState::Done);
    assert_eq!(process.machines.counts("order", false).await.unwrap()["released"], 5);
    let row =
        &process.machines.get_transition_history("order", "o3", &HistoryOptions::default()).await.unwrap().items[0];
    assert_eq!((row.actor.as_deref(), &row.payload["by"]), (Some("machine:batch/b"), &json!("b")));
    assert_eq!(process.machines.get_entity("order", "o0").await.unwrap().version, 2);
    assert!(row.idempotency_key.is_some(), "sent again after a crash it changes nothing");
}

/// An HTTP server that answers each connection with the next of these, and keeps what it was sent.
async fn server(answers: Vec<&'static str>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0u8; 4096];
            loop {
                let read = socket.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..read]);
                let text = String::from_utf8_lossy(&request).to_string();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= length.and_then(|l| l.trim().parse().ok()).unwrap_or(0) {
                    kept.lock().unwrap().push(text);
                    break;
                }
            }
            let head = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 4\r\n\r\nwhy?");
            socket.write_all(head.as_bytes()).await.unwrap();
        }
    });
    (url, seen)
}

#[tokio::test]
async fn a_webhook_is_sent_signed_and_tried_again() {
    let (url, seen) = server(vec!["503 Service Unavailable", "204 No Content"]).await;
    let actions = json!([{"kind": "webhook", "url": "=context.url", "retries": 1, "secretEnv": "PATH",
        "headers": {"X-Order": "=entity"}, "body": {"order": "=entity", "total": "=context.total"}}]);
    let (_db, machines) = database("webhook", actions).await;
    assert_eq!(go(&machines, json!({"url": url, "total": 99.5})).await.0, ActionsState::Done);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    let header = |request: &str, name: &str| {
        request.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap_or_default()
    };
    assert!(
        seen[0].starts_with("POST /hook HTTP/1.1") && seen[0].ends_with(r#"{"order":"e","total":99.5}"#),
        "{}",
        seen[0]
    );
    assert_eq!(
        (header(&seen[0], "x-order"), header(&seen[0], "content-type")),
        ("e".into(), "application/json".into())
    );
    assert_eq!(header(&seen[0], "webhook-id"), header(&seen[1], "webhook-id"), "the same token each time");
    assert!(header(&seen[0], "webhook-id").starts_with("msg_") && header(&seen[0], "webhook-id").len() == 26);
    assert!(
        header(&seen[0], "webhook-signature").starts_with("v1,") && !header(&seen[0], "webhook-timestamp").is_empty()
    );
}

#[tokio::test]
async fn a_webhook_that_fails_says_what_was_answered() {
    let (url, _) = server(vec!["404 Not Found", "302 Found"]).await;
    let actions = json!([
        {"kind": "webhook", "url": "=context.url", "retries": 0, "timeout": "5s"},
        {"kind": "webhook", "url": "=context.url", "retries": 0},
        {"kind": "webhook", "url": "http://127.0.0.1:1/", "retries": 0},
        {"kind": "webhook", "url": "=context.bad", "retries": 0},
        {"kind": "webhook", "url": "=context.url", "retries": 0, "secretEnv": "S3DB_TEST_THAT_IS_NOT_THERE"},
    ]);
    let (_db, machines) = database("webhook-fails", actions).await;
    let (state, errors) = go(&machines, json!({"url": url, "bad": "file:///etc/passwd"})).await;
    assert_eq!(state, ActionsState::Failed);
    let errors: Vec<String> = errors.into_iter().map(Option::unwrap_or_default).collect();
    for (error, text) in
        errors.iter().zip(["404 Not Found: why?", "302 Found", "refused", "must be an http", "which 'secretEnv' names"])
    {
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn programs_run_where_they_are_allowed_and_are_killed_when_they_take_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let actions = json!([
        {"kind": "exec", "command": ["sh", "-c", "cat > /dev/null; echo '{\"made\": \"'$WHO'\"}'"], "env": {"WHO": "=entity"}},
        {"kind": "exec", "command": ["sh", "-c", "grep -q '\"event\":\"GO\"' && test -n \"$S3DB_TOKEN\""]},
        {"kind": "exec", "command": ["sh", "-c", "echo no way >&2; exit 3"]},
        {"kind": "exec", "command": ["sh", "-c", format!("sleep 3; touch {}", mark.display())], "timeout": "200ms"},
        {"kind": "exec", "command": ["/no/such/program"]},
    ]);
    let (_db, machines) = database("exec", actions).await;
    let (state, errors) = go(&machines, Value::Null).await;
    assert_eq!(state, ActionsState::Failed);
    let errors: Vec<String> = errors.into_iter().map(Option::unwrap_or_default).collect();
    for (error, text) in errors.iter().zip([
        "",
        "",
        "exit status: 3: no way",
        "did not end within 200ms",
        "cannot run '/no/such/program'",
    ]) {
        assert!(error.contains(text), "{errors:?}");
    }
    assert!(errors[0].is_empty() && errors[1].is_empty(), "{errors:?}");
    assert_eq!(machines.get_entity("m", "e").await.unwrap().context["made"], "e", "an object on stdout is merged");
    assert!(!mark.exists());
}

#[test]
fn actions_that_cannot_be_are_refused_at_load_with_their_place() {
    let refusal = |action: Value| {
        let definition =
            machine("m", json!({"initialState": "a", "states": {"a": {"on": {"E": "a"}, "entry": action}}}));
        builder().machine(definition).build().unwrap_err().to_string()
    };
    for (action, text) in [
        (json!({"kind": "exec", "command": ["true"]}), "allowExec = true"),
        (json!({"kind": "insret"}), "did you mean 'insert'?"),
        (json!({"kind": "insert", "resource": "r"}), "m.states.a.entry.record: must be an object"),
        (
            json!({"kind": "insert", "resource": "r", "record": {"x": "=contxt.y"}}),
            "m.states.a.entry.record.x: unknown variable 'contxt'",
        ),
        (json!({"kind": "update", "resource": "r", "id": "x", "set": {}, "wher": 1}), "wher: is an unknown key"),
        (json!({"kind": "send_event", "machine": "m", "event": "E"}), "either 'entity' or 'state'"),
        (json!({"kind": "webhook", "url": "ftp://x"}), "must be an http:// or https:// address"),
        (
            json!({"kind": "webhook", "url": "http://x", "retries": 99, "timeout": "soon", "method": "BREW"}),
            "from 0 to 10",
        ),
        (json!({"kind": "assign", "set": {"x": "=1 +"}}), "m.states.a.entry.set.x"),
    ] {
        let error = refusal(action.clone());
        assert!(error.contains(text), "{action}: {error}");
    }
}
