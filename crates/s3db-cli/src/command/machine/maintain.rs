//! `s3db machine migrate`, `delete` and `prune`.

use std::time::Duration;

use s3db::state_machine::MigrateOptions;
use serde_json::{Value, json};

use super::connect;
use crate::context::Context;
use crate::exit;
use crate::input;
use crate::output::Failure;

pub(super) async fn migrate(
    context: &mut Context,
    machine: &str,
    to: String,
    from: Option<String>,
    map: Option<String>,
    actor: Option<String>,
    dry_run: bool,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let map = match map {
        None => Default::default(),
        Some(text) => match input::json(&text, "--map")? {
            map @ Value::Object(_) => serde_json::from_value(map).map_err(|e| wrong_map(&e.to_string()))?,
            other => return Err(wrong_map(&format!("this is {other}"))),
        },
    };
    let (_db, machines) = connect(context).await?;
    let options = MigrateOptions { from, to: Some(to), map, actor, dry_run };
    let report = machines.migrate(machine, &options).await?;
    printer.one(&json!(report))?;
    Ok(if report.unmapped == 0 { exit::DONE } else { exit::INVALID })
}

fn wrong_map(why: &str) -> Failure {
    Failure::input(
        format!("--map is no object of states: {why}"),
        "write old state to new state, as in '{\"preparing\": \"packing\"}'",
    )
}

pub(super) async fn delete(context: &mut Context, machine: &str, entity: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let rows = machines.delete_entity(machine, entity).await?;
    printer.one(&json!({ "deleted": entity, "rows": rows })).map(|()| exit::DONE)
}

pub(super) async fn prune(
    context: &mut Context,
    machine: &str,
    older_than: Duration,
    dry_run: bool,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    printer.one(&json!(machines.prune(machine, older_than, dry_run).await?)).map(|()| exit::DONE)
}
