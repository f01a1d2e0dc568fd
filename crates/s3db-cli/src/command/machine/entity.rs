//! `s3db machine state`, `events` and `history`.

use s3db::state_machine::{HistoryOptions, HistoryRow};
use serde_json::{Value, json};

use super::{connect, object};
use crate::args::Format;
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, note};
use crate::table;

pub(super) async fn state(context: &mut Context, machine: &str, entity: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    printer.one(&json!(machines.get_entity(machine, entity).await?)).map(|()| exit::DONE)
}

pub(super) async fn events(
    context: &mut Context,
    machine: &str,
    entity: &str,
    passing: bool,
    payload: Option<String>,
    actor: Option<&str>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let payload = object(payload.as_ref(), "--payload")?;
    let (_db, machines) = connect(context).await?;
    let events = match passing {
        true => machines.get_passing_events(machine, entity, payload, actor).await?,
        false => machines.get_valid_events(machine, entity).await?,
    };
    match printer.format {
        Format::Json => printer.one(&json!(events))?,
        Format::Jsonl => events.iter().try_for_each(|event| printer.line(&json!(event).to_string()))?,
        Format::Table => events.iter().try_for_each(|event| printer.line(event))?,
    }
    Ok(exit::DONE)
}

pub(super) async fn history(
    context: &mut Context,
    machine: &str,
    entity: &str,
    limit: Option<usize>,
    offset: usize,
    after: Option<String>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let options = HistoryOptions { limit, offset, cursor: after };
    let page = machines.get_transition_history(machine, entity, &options).await?;
    if printer.format == Format::Table && !page.items.is_empty() {
        let rows = page.items.iter().map(shown);
        printer.line(&table::grid(&["version", "timestamp", "from", "to", "event", "actor", "actions"], rows))?;
    } else {
        printer.list(&page.items.iter().map(HistoryRow::to_json).collect::<Vec<Value>>())?;
    }
    if let Some(cursor) = page.next {
        note(&format!("next: {cursor}"));
    }
    Ok(exit::DONE)
}

fn shown(row: &HistoryRow) -> Vec<String> {
    let action = |done: &s3db::state_machine::ActionResult| match &done.error {
        None => done.name.clone(),
        Some(error) => format!("{} failed: {error}", done.name),
    };
    vec![
        row.version.map_or_else(|| "-".into(), |version| version.to_string()),
        row.timestamp.clone(),
        row.from.clone(),
        row.to.clone(),
        row.event.clone(),
        row.actor.clone().unwrap_or_default(),
        row.actions.iter().map(action).collect::<Vec<_>>().join(", "),
    ]
}
