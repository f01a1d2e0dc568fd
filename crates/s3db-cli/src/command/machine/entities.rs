//! `s3db machine entities`, `counts` and `stuck`.

use std::time::Duration;

use s3db::state_machine::EntitySummary;
use serde_json::{Value, json};

use super::{connect, warn_of_index};
use crate::args::Format;
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

pub(super) async fn entities(
    context: &mut Context,
    machine: &str,
    state: Option<&str>,
    older_than: Option<Duration>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    warn_of_index(printer, &machines).await?;
    let found = match state {
        Some(state) => machines.entities_in(machine, state, older_than).await?,
        None => machines.entities(machine, older_than).await?,
    };
    print(printer, &found)
}

pub(super) async fn stuck(context: &mut Context, machine: &str, older_than: Duration) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    warn_of_index(printer, &machines).await?;
    print(printer, &machines.stuck(machine, older_than).await?)
}

pub(super) async fn counts(context: &mut Context, machine: &str, exact: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    warn_of_index(printer, &machines).await?;
    let counts = machines.counts(machine, exact).await?;
    if printer.format != Format::Table {
        return printer.one(&json!(counts)).map(|()| exit::DONE);
    }
    let rows = counts.iter().map(|(state, count)| vec![state.clone(), count.to_string()]);
    printer.line(&table::grid(&["state", "entities"], rows)).map(|()| exit::DONE)
}

fn print(printer: Printer, found: &[EntitySummary]) -> Result<u8, Failure> {
    if printer.format != Format::Table || found.is_empty() {
        printer.list(&found.iter().map(|entity| json!(entity)).collect::<Vec<Value>>())?;
        return Ok(exit::DONE);
    }
    let rows = found.iter().map(|entity| {
        let done = if entity.done { "done" } else { "" };
        vec![
            entity.entity.clone(),
            entity.state.clone(),
            entity.version.to_string(),
            age(entity.age_ms),
            done.to_owned(),
        ]
    });
    printer.line(&table::grid(&["entity", "state", "version", "for", ""], rows)).map(|()| exit::DONE)
}

/// The two largest units of an age: `3d 4h`.
fn age(ms: i64) -> String {
    let seconds = (ms / 1000).max(0);
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown: Vec<String> =
        parts.iter().skip_while(|(n, _)| *n == 0).take(2).map(|(n, unit)| format!("{n}{unit}")).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.join(" ") }
}
