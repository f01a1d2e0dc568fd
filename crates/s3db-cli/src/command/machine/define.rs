//! `s3db machine define`, `validate`, `list` and `show`.

use std::path::PathBuf;

use s3db::state_machine::{MachineFile, Problem, StateMachinePlugin};
use serde_json::{Value, json};

use super::connect;
use crate::args::Format;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

/// Characters of a hash that a table shows.
const SHORT: usize = 12;

/// The machines of a file, or of the files that the configuration names; checked, all of them.
fn files(context: &mut Context, file: Option<PathBuf>) -> Result<Vec<MachineFile>, Failure> {
    let plugin = StateMachinePlugin::builder().configure(context.config()?).build()?;
    if let Some(path) = file {
        return Ok(vec![plugin.load_file(&path)?]);
    }
    let mut files = MachineFile::configured(context.config()?)?;
    for file in &mut files {
        file.warnings = plugin.validate_file(file)?;
    }
    if files.is_empty() {
        return Err(Failure::usage(
            "no file of machines was named",
            "give a file, or name files in s3db.toml: [stateMachine] files = [\"machines/*.json\"]",
        ));
    }
    Ok(files)
}

fn warn(printer: Printer, warnings: &[Problem]) {
    warnings.iter().for_each(|warning| printer.note(&format!("warning: {}: {}", warning.path, warning.message)));
}

fn short(hash: &str) -> String {
    hash.trim_start_matches("sha256:").chars().take(SHORT).collect()
}

pub(super) async fn define(context: &mut Context, file: Option<PathBuf>) -> Result<u8, Failure> {
    let printer = context.printer()?;
    // Nothing is stored unless everything can be.
    let files = files(context, file)?;
    let db = context.connect(Missing::Create).await?;
    let machines = db.plugin::<StateMachinePlugin>()?;
    let mut defined = Vec::new();
    for file in files {
        warn(printer, &file.warnings);
        for machine in file.machines {
            defined.push(machines.define(machine).await?);
        }
    }
    if printer.format != Format::Table {
        printer.list(&defined.iter().map(|d| json!(d)).collect::<Vec<Value>>())?;
        return Ok(exit::DONE);
    }
    let rows = defined.iter().map(|d| {
        let what = if d.changed { "stored" } else { "unchanged" };
        vec![d.machine.clone(), d.version.to_string(), short(&d.hash), what.to_owned()]
    });
    printer.line(&table::grid(&["machine", "version", "hash", ""], rows)).map(|()| exit::DONE)
}

pub(super) fn validate(context: &mut Context, file: Option<PathBuf>) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (mut names, mut warnings) = (Vec::new(), Vec::new());
    for file in files(context, file)? {
        warnings.extend(file.warnings);
        names.extend(file.machines.into_iter().map(|machine| machine.name));
    }
    if printer.format == Format::Table {
        warn(printer, &warnings);
        return printer.line(&format!("valid: {}", names.join(", "))).map(|()| exit::DONE);
    }
    printer.one(&json!({ "valid": true, "machines": names, "warnings": warnings })).map(|()| exit::DONE)
}

pub(super) async fn list(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let stored = machines.get_machines().await?;
    let rows: Vec<Value> = stored
        .iter()
        .map(|machine| {
            let number = machine.number(&machine.current);
            let at = machine.versions.iter().find(|v| v.hash == machine.current).map(|v| v.defined_at.clone());
            let hash = if printer.format == Format::Table { short(&machine.current) } else { machine.current.clone() };
            json!({ "machine": machine.machine, "version": number, "hash": hash, "definedAt": at, "versions": machine.versions.len() })
        })
        .collect();
    printer.list(&rows).map(|()| exit::DONE)
}

pub(super) async fn show(context: &mut Context, machine: &str, version: Option<&str>) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, machines) = connect(context).await?;
    let stored = machines.get_machine_definition(machine, version).await?;
    if !stored.missing.is_empty() {
        printer.note(&format!("this process cannot send there, it lacks: {}", stored.missing.join(", ")));
    }
    let shown = json!({
        "machine": machine,
        "version": stored.version,
        "hash": stored.hash,
        "missing": stored.missing,
        "definition": stored.definition.to_json(),
    });
    printer.one(&shown).map(|()| exit::DONE)
}
