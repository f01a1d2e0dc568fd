//! The commands, one file each.

mod backup;
mod bulk;
mod change;
mod config;
mod copy;
mod count;
mod cron;
mod delete;
mod demo;
mod doctor;
mod explain;
mod export;
mod generate;
mod get;
mod init;
mod insert;
mod job;
mod list;
mod machine;
mod pause;
mod resource;
mod run;
mod secrets;
mod status;
mod update;

use s3db::Query;
use serde_json::Value;

use crate::args::{Command, Rows};
use crate::context::Context;
use crate::input;
use crate::output::Failure;

/// Runs a command and returns its exit code.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<u8, Failure> {
    match command {
        Command::Init => init::run(context).await,
        Command::Status => status::run(context).await,
        Command::Doctor { repair, end_sharing } => doctor::run(context, repair, end_sharing).await,
        Command::Demo { dir } => demo::run(context, dir).await,
        Command::Resource(command) => resource::run(context, command).await,
        Command::Insert { resource, data, bulk } => insert::run(context, &resource, &data, bulk.on_error).await,
        Command::Get { resource, ids, meta } => get::run(context, &resource, ids, meta).await,
        Command::Update { resource, id_and_patch, many, expected_rev, meta } => {
            update::update(context, &resource, id_and_patch, many, expected_rev, meta).await
        }
        Command::Upsert { resource, data, meta } => update::upsert(context, &resource, &data, meta).await,
        Command::Delete { resource, ids, many, expected_rev } => {
            delete::run(context, &resource, ids, many, expected_rev).await
        }
        Command::List { resource, rows, limit, order_by, offset, after, fields, exact, explain, meta } => {
            let order_by = order_by.iter().map(|by| by.parse()).collect::<Result<_, s3db::Error>>()?;
            let query = Query { limit, order_by, offset, after, fields, exact: exact || meta, ..query(&rows)? };
            match explain {
                true => explain::run(context, &resource, &query).await,
                false => list::run(context, &resource, &query, meta).await,
            }
        }
        Command::Count { resource, rows, exact } => count::run(context, &resource, &rows, exact).await,
        Command::Import { resource, file, format, bulk } => {
            insert::import(context, &resource, &file, format, bulk.on_error).await
        }
        Command::Export { resource, rows, format, with_secrets } => {
            export::run(context, &resource, query(&rows)?, format, with_secrets).await
        }
        Command::Copy { source, target, resources } => copy::run(context, &source, &target, resources).await,
        Command::Machine(command) => machine::run(context, command).await,
        Command::Backup(command) => backup::run(context, command).await,
        Command::Job(command) => job::run(context, command).await,
        Command::Run(run) => run::run(context, run).await,
        Command::Cron(command) => cron::run(context, command),
        Command::Pause => pause::pause(context).await,
        Command::Resume => pause::resume(context).await,
        Command::Secrets(command) => secrets::run(context, command).await,
        Command::Config(command) => config::run(context, &command),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { dir } => generate::man(&dir),
    }
}

/// The rows that `--where`, or `--partition` and `--values` name.
fn query(rows: &Rows) -> Result<Query, Failure> {
    let filter = rows.filter.as_ref().map(|filter| input::json(filter, "--where")).transpose()?;
    let query = Query { filter, ..Query::all() };
    let (Some(name), Some(values)) = (&rows.partition, &rows.values) else { return Ok(query) };
    match input::json(values, "--values")? {
        values @ Value::Object(_) => Ok(query.partition(name.clone(), values)),
        _ => Err(Failure::input(
            "--values is no JSON object",
            "write the partition's fields, as in '{\"country\": \"BR\"}'",
        )),
    }
}
