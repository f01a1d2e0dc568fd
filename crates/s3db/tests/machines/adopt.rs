//! A bucket that s3db.js 9.2.0 wrote goes on working: golden bucket 12.

use s3db::state_machine::{HistoryOptions, MachineDefinition, StateMachinePlugin};
use s3db::{Database, ErrorKind, Query};
use serde_json::{Value, json};

use crate::clock::machine;

fn order() -> MachineDefinition {
    machine(
        "order",
        json!({"initialState": "pending", "states": {
            "pending": {"on": {"CONFIRM": "confirmed", "CANCEL": "cancelled"}},
            "confirmed": {"on": {"SHIP": "shipped"}},
            "shipped": {"on": {"DELIVER": "delivered"}, "after": {"7d": "delivered"}},
            "delivered": {"type": "final"}, "cancelled": {"type": "final"}
        }}),
    )
}

async fn golden() -> (Database, StateMachinePlugin) {
    let url = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/12-plugins.json");
    let plugin = StateMachinePlugin::builder().machine(order()).sweep_interval(None).build().unwrap();
    let db = Database::builder(url).plugin(plugin.clone()).connect().await.unwrap();
    (db, plugin)
}

#[tokio::test]
async fn entities_and_histories_of_s3dbjs_are_read() {
    let (db, machines) = golden().await;
    let view = machines.get_entity("order", "o1").await.unwrap();
    assert_eq!((view.state.as_str(), view.version, view.done), ("shipped", 0, false));
    assert_eq!(json!(view.context), json!({"total": 99.5, "paid": true, "note": "olá"}));
    assert!(machines.get_entity("order", "o3").await.unwrap().done);
    assert_eq!(machines.get_valid_events("order", "o2").await.unwrap(), ["CANCEL", "CONFIRM"]);
    let rows = machines.get_transition_history("order", "o1", &HistoryOptions::default()).await.unwrap().items;
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.from.as_str(), row.to.as_str(), row.event.as_str(), row.timestamp.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("confirmed", "shipped", "SHIP", "2026-11-22T21:42:30.154Z"),
            ("pending", "confirmed", "CONFIRM", "2026-11-22T21:42:30.083Z"),
        ]
    );
    assert_eq!(rows[1].context["note"], "olá");
    // Reading changes nothing.
    assert!(db.resource("transitions").await.is_err());
    assert_eq!(db.resource("entity_states").await.unwrap().definition().await.unwrap().attributes.len(), 7);
}

#[tokio::test]
async fn entities_of_s3dbjs_go_on_under_their_rows_and_log() {
    let (db, machines) = golden().await;
    let sent = machines.send("order", "o1", "DELIVER", json!({"by": "mail"})).await.unwrap();
    assert_eq!((sent.from.as_str(), sent.to.as_str(), sent.version), ("shipped", "delivered", 1));
    machines.send("order", "o2", "CONFIRM", Value::Null).await.unwrap();
    machines.send("order", "o2", "SHIP", Value::Null).await.unwrap();
    let refused = machines.send("order", "o3", "CONFIRM", Value::Null).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FinalState);

    // The rows stay where s3db.js looks for them, and so does the log.
    let states = db.resource("entity_states").await.unwrap();
    assert_eq!(states.get("order_o1").await.unwrap().attributes["currentState"], "delivered");
    assert_eq!(states.count().await.unwrap(), 3);
    assert!(db.resource("transitions").await.is_err(), "the log of s3db.js is kept");
    let log = db.resource("state_transitions").await.unwrap();
    assert_eq!(log.get("order_o1_000000000001").await.unwrap().attributes["event"], "DELIVER");
    let today = log.list(&Query::all().partition("byMachine", json!({"machineId": "order"}))).await.unwrap();
    assert_eq!(today.items.len(), 3 + 3 + 2, "theirs, ours, and a baseline for each that went on");

    let rows = machines.get_transition_history("order", "o1", &HistoryOptions::default()).await.unwrap().items;
    assert_eq!(rows.iter().map(|row| row.event.as_str()).collect::<Vec<_>>(), ["DELIVER", "SHIP", "CONFIRM"]);
    for entity in ["o1", "o2"] {
        let report = machines.verify("order", entity).await.unwrap();
        assert!(report.valid, "{report:?}");
    }
    let counts = machines.counts("order", false).await.unwrap();
    assert_eq!((counts["delivered"], counts["shipped"], counts["cancelled"]), (1, 1, 1));
    let shipped = machines.entities_in("order", "shipped", None).await.unwrap();
    assert_eq!(shipped.iter().map(|e| e.entity.as_str()).collect::<Vec<_>>(), ["o2"]);
    assert_eq!(machines.get_entity("order", "o2").await.unwrap().timers[0].after, "7d");
}

#[tokio::test]
async fn pages_of_a_history_go_on_into_the_rows_of_s3dbjs() {
    let (_db, machines) = golden().await;
    machines.send("order", "o1", "DELIVER", Value::Null).await.unwrap();
    let options = HistoryOptions { limit: Some(1), ..HistoryOptions::default() };
    let page = machines.get_transition_history("order", "o1", &options).await.unwrap();
    assert_eq!((page.items[0].event.as_str(), page.next.as_deref()), ("DELIVER", Some("v1")));
    let options = HistoryOptions { cursor: page.next, ..HistoryOptions::default() };
    let rest = machines.get_transition_history("order", "o1", &options).await.unwrap();
    assert_eq!(rest.items.iter().map(|row| row.event.as_str()).collect::<Vec<_>>(), ["SHIP", "CONFIRM"]);
    let skipped = HistoryOptions { offset: 2, ..HistoryOptions::default() };
    let last = machines.get_transition_history("order", "o1", &skipped).await.unwrap();
    assert_eq!(last.items.iter().map(|row| row.event.as_str()).collect::<Vec<_>>(), ["CONFIRM"]);
}

#[tokio::test]
async fn a_row_that_two_names_share_in_s3dbjs_is_given_to_its_own() {
    let (db, machines) = golden().await;
    // s3db.js names the row of machine `order`, entity `x_y` as that of machine `order_x`, entity `y`.
    let states = db.resource("entity_states").await.unwrap();
    let theirs = json!({"id": "order_x_y", "machineId": "order_x", "entityId": "y", "currentState": "far", "context": {}, "updatedAt": "2026-01-01T00:00:00.000Z"});
    states.insert(theirs).await.unwrap();
    assert_eq!(machines.get_entity("order", "x_y").await.unwrap_err().kind(), ErrorKind::NotFound);
    machines.initialize_entity("order", "x_y", json!({"mine": true})).await.unwrap();
    assert_eq!(machines.send("order", "x_y", "CONFIRM", Value::Null).await.unwrap().version, 1);
    assert_eq!(states.get("order_x_y").await.unwrap().attributes["currentState"], "far", "theirs is untouched");
    let again = machines.initialize_entity("order", "x_y", Value::Null).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let o2 = machines.initialize_entity("order", "o2", Value::Null).await.unwrap_err();
    assert_eq!(o2.kind(), ErrorKind::AlreadyExists);
}
