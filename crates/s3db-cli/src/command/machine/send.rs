//! `s3db machine init`, `send` and `simulate`.

use s3db::state_machine::{ActionsState, SendOptions};
use serde_json::{Value, json};

use super::{connect, object};
use crate::args::Format;
use crate::context::Context;
use crate::exit;
use crate::input;
use crate::output::Failure;
use crate::table;

pub(super) async fn init(
    context: &mut Context,
    machine: &str,
    entity: &str,
    begun: Option<String>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let begun = object(begun.as_ref(), "the context")?;
    let (_db, machines) = connect(context).await?;
    let view = machines.initialize_entity(machine, entity, begun).await?;
    for failed in &view.failed {
        let why = failed.error.as_deref().unwrap_or_default();
        printer.note(&format!("warning: the entry action '{}' failed: {why}; the entity stands", failed.name));
    }
    printer.one(&json!(view)).map(|()| exit::DONE)
}

pub(super) async fn send(
    context: &mut Context,
    machine: &str,
    entity: &str,
    event: &str,
    payload: Option<String>,
    options: &SendOptions,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let payload = object(payload.as_ref(), "the payload")?;
    let (_db, machines) = connect(context).await?;
    let sent = machines.send_with(machine, entity, event, payload, options).await?;
    match sent.actions {
        ActionsState::Failed => {
            printer.note("an action failed; the transition stands, and `s3db machine history` says why");
        }
        ActionsState::Pending => {
            printer.note("its actions are left to the process that runs older ones, or to the sweep");
        }
        ActionsState::None | ActionsState::Done => {}
    }
    printer.one(&json!(sent)).map(|()| exit::DONE)
}

pub(super) async fn simulate(
    context: &mut Context,
    machine: &str,
    events: Vec<String>,
    begun: Option<String>,
    options: &SendOptions,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let begun = object(begun.as_ref(), "--context")?;
    let events: Vec<(String, Value)> = events.iter().map(|event| with_payload(event)).collect::<Result<_, _>>()?;
    let (_db, machines) = connect(context).await?;
    let simulation = machines.simulate_with(machine, begun, events, options).await?;
    let refused = simulation.steps.iter().any(|step| step.to.is_none());
    if printer.format == Format::Table {
        let rows = simulation.steps.iter().map(|step| {
            let to = step.to.clone().unwrap_or_else(|| "refused".into());
            let why = step.refusal().map(ToString::to_string).unwrap_or_default();
            vec![step.event.clone(), step.from.clone(), to, step.actions.join(", "), why]
        });
        printer.line(&table::grid(&["event", "from", "to", "actions", ""], rows))?;
    } else {
        printer.one(&json!(simulation))?;
    }
    Ok(if refused { exit::REFUSED } else { exit::DONE })
}

/// `EVENT`, or `EVENT={…}`.
fn with_payload(text: &str) -> Result<(String, Value), Failure> {
    match text.split_once("={") {
        None => Ok((text.to_owned(), Value::Null)),
        Some((event, rest)) => Ok((event.to_owned(), input::json(&format!("{{{rest}"), "the payload")?)),
    }
}
