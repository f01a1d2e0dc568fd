//! `s3db machine …`, one file for what belongs together.

mod define;
mod entities;
mod entity;
mod maintain;
mod send;
mod sweep;
mod verify;

use std::sync::Arc;

use s3db::Database;
use s3db::state_machine::{PictureFormat, StateMachinePlugin, VisualizeOptions};
use serde_json::Value;

use crate::args::{MachineCommand, Picture};
use crate::context::{Context, Missing};
use crate::exit;
use crate::input;
use crate::output::{Failure, Printer};

pub(super) async fn run(context: &mut Context, command: MachineCommand) -> Result<u8, Failure> {
    use MachineCommand as Machine;
    match command {
        Machine::Define { file } => define::define(context, file).await,
        Machine::Validate { file } => define::validate(context, file),
        Machine::List => define::list(context).await,
        Machine::Show { machine, version } => define::show(context, &machine, version.as_deref()).await,
        Machine::Schema => {
            let schema = serde_json::to_string_pretty(&s3db::state_machine::schema()).unwrap_or_default();
            context.printer()?.line(&schema).map(|()| exit::DONE)
        }
        Machine::Init { machine, entity, context: begun } => send::init(context, &machine, &entity, begun).await,
        Machine::Send { machine, entity, event, payload, idempotency_key, actor, reason, expected_version } => {
            let options = s3db::state_machine::SendOptions { idempotency_key, actor, reason, expected_version };
            send::send(context, &machine, &entity, &event, payload, &options).await
        }
        Machine::State { machine, entity } => entity::state(context, &machine, &entity).await,
        Machine::Events { machine, entity, passing, payload, actor } => {
            entity::events(context, &machine, &entity, passing, payload, actor.as_deref()).await
        }
        Machine::History { machine, entity, limit, offset, after } => {
            entity::history(context, &machine, &entity, limit, offset, after).await
        }
        Machine::Entities { machine, state, older_than } => {
            entities::entities(context, &machine, state.as_deref(), older_than).await
        }
        Machine::Counts { machine, exact } => entities::counts(context, &machine, exact).await,
        Machine::Stuck { machine, older_than } => entities::stuck(context, &machine, older_than).await,
        Machine::Sweep { watch: false, .. } => sweep::once(context).await,
        Machine::Sweep { watch: true, every } => sweep::watch(context, every).await,
        Machine::Visualize { machine, format, entity, version } => {
            let format = match format {
                Picture::Dot => PictureFormat::Dot,
                Picture::Mermaid => PictureFormat::Mermaid,
                Picture::Svg => PictureFormat::Svg,
            };
            let (_db, machines) = connect(context).await?;
            let picture = machines.visualize(&machine, &VisualizeOptions { format, entity, version }).await?;
            context.printer()?.line(picture.trim_end()).map(|()| exit::DONE)
        }
        Machine::Simulate { machine, events, context: begun, actor, reason } => {
            let options = s3db::state_machine::SendOptions { actor, reason, ..Default::default() };
            send::simulate(context, &machine, events, begun, &options).await
        }
        Machine::Verify { machine, entity: Some(entity) } => verify::one(context, &machine, &entity).await,
        Machine::Verify { machine, entity: None } => verify::all(context, &machine).await,
        Machine::Migrate { machine, to, from, map, actor, dry_run } => {
            maintain::migrate(context, &machine, to, from, map, actor, dry_run).await
        }
        Machine::Delete { machine, entity } => maintain::delete(context, &machine, &entity).await,
        Machine::Prune { machine, done: _, older_than, dry_run } => {
            maintain::prune(context, &machine, older_than, dry_run).await
        }
    }
}

/// The database and its machines. The handle keeps the plugin alive.
async fn connect(context: &mut Context) -> Result<(Database, Arc<StateMachinePlugin>), Failure> {
    let db = context.connect(Missing::Refuse).await?;
    let machines = db.plugin::<StateMachinePlugin>()?;
    Ok((db, machines))
}

/// Says so where the index of states is not complete.
async fn warn_of_index(printer: Printer, machines: &StateMachinePlugin) -> Result<(), Failure> {
    if let Some(warning) = machines.index_warning().await? {
        printer.note(&format!("warning: {warning}"));
    }
    Ok(())
}

/// An object that was given as JSON, `@FILE` or `-`; nothing is an empty one.
fn object(given: Option<&String>, what: &str) -> Result<Value, Failure> {
    given.map_or(Ok(Value::Null), |text| input::json(text, what))
}
