//! The part of the demo with an order: a state machine, a race with one winner, a guard, and the log.

use s3db::state_machine::{Action, Guard, HistoryOptions, MachineDefinition, Sent, State, StateMachinePlugin};
use s3db::{Database, ErrorKind, Query, ResourceDefinition};
use serde_json::{Value, json};

use super::Stage;
use crate::output::Failure;
use crate::table;

/// How many senders race for one order.
const SENDERS: usize = 8;

/// The machine of `examples/order.json`, in fewer states.
fn machine() -> MachineDefinition {
    let mail = Action::new("insert")
        .field("resource", "mails")
        .field("record", json!({"to": "=context.customer", "text": "='Order ' + entity + ' is confirmed.'"}));
    MachineDefinition::new("order", "pending")
        .state(State::new("pending").on("CONFIRM", "confirmed").on("CANCEL", "cancelled").after("30m", "cancelled"))
        .state(State::new("confirmed").on("SHIP", "shipped").guard("SHIP", "isPaid").entry("onConfirmed"))
        .state(State::finished("shipped"))
        .state(State::finished("cancelled"))
        .guard("isPaid", Guard::cel("has(context.paid) && context.paid"))
        .action("onConfirmed", mail)
}

pub(super) fn plugin() -> Result<StateMachinePlugin, Failure> {
    Ok(StateMachinePlugin::builder().build()?)
}

pub(super) async fn show(stage: &Stage, db: &Database) -> Result<(), Failure> {
    stage.step(
        "6. An order as a state machine: states, a guard, an action, a timer",
        "s3db machine define order.json && s3db machine init order o1 '{\"customer\": \"ana@example.org\"}'",
    )?;
    let mails = ResourceDefinition::new("mails").attribute("to", "string").attribute("text", "string");
    let mails = db.create_resource(mails).await?;
    let machines = db.plugin::<StateMachinePlugin>()?;
    machines.define(machine()).await?;
    let order = machines.initialize_entity("order", "o1", json!({"customer": "ana@example.org"})).await?;
    stage
        .line(&format!("  o1 begins in '{}'; if nobody confirms it within 30 minutes it is cancelled", order.state))?;

    let title = format!("7. {SENDERS} senders confirm it at once: one wins, the others are told the truth");
    stage.step(&title, "s3db machine send order o1 CONFIRM --expected-version 0")?;
    let won = race(&machines).await?;
    stage.line(&format!("  1 won: {} → {}; {} got a conflict", won.from, won.to, SENDERS - 1))?;
    let query = Query::all().fields(["to", "text"]);
    for mail in mails.list(&query).await?.items {
        stage.line(&format!("  Its entry action wrote a mail: {}", Value::Object(mail.attributes)))?;
    }
    ship(stage, &machines).await
}

/// All send at once; the winner's answer.
async fn race(machines: &StateMachinePlugin) -> Result<Sent, Failure> {
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let machines = machines.clone();
            // All of them decide on the order as it is before any of them has won.
            let options = s3db::state_machine::SendOptions { expected_version: Some(0), ..Default::default() };
            tokio::spawn(async move { machines.send_with("order", "o1", "CONFIRM", Value::Null, &options).await })
        })
        .collect();
    let mut winners = Vec::new();
    for sender in senders {
        match sender.await.map_err(|e| Failure::Io { message: e.to_string() })? {
            Ok(sent) => winners.push(sent),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    match <[Sent; 1]>::try_from(winners) {
        Ok([won]) => Ok(won),
        Err(winners) => Err(Failure::Io { message: format!("{} senders won one transition", winners.len()) }),
    }
}

async fn ship(stage: &Stage, machines: &StateMachinePlugin) -> Result<(), Failure> {
    stage.step("8. A guard says no, and what was done is in the log", "s3db machine send order o1 SHIP")?;
    let Err(refused) = machines.send("order", "o1", "SHIP", Value::Null).await else {
        return Err(Failure::Io { message: "a guard that is false let an event pass".into() });
    };
    stage.line(&format!("  {refused}"))?;
    machines.send("order", "o1", "SHIP", json!({"paid": true})).await?;
    let page = machines.get_transition_history("order", "o1", &HistoryOptions::default()).await?;
    let rows = page.items.iter().map(|row| {
        let version = row.version.unwrap_or_default().to_string();
        let actions: Vec<&str> = row.actions.iter().map(|action| action.name.as_str()).collect();
        vec![version, row.from.clone(), row.to.clone(), row.event.clone(), actions.join(", ")]
    });
    stage.line(&table::grid(&["version", "from", "to", "event", "actions"], rows))?;
    let report = machines.verify("order", "o1").await?;
    let verdict = if report.valid { "leads to the stored state" } else { "does not lead to the stored state" };
    stage.line(&format!("  Replayed, the log {verdict}: '{}' at version {}.", report.state, report.version))
}
