//! `s3db job add`, `remove`, `enable` and `disable`.

use std::path::{Path, PathBuf};

use s3db::scheduler::JobDefinition;
use serde_json::{Value, json};

use super::connect;
use crate::context::{Context, Whole};
use crate::exit;
use crate::output::Failure;

pub(super) async fn add(context: &mut Context, file: Option<PathBuf>) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let jobs = match &file {
        Some(file) => read(file)?,
        None => JobDefinition::configured(context.config()?)?,
    };
    if jobs.is_empty() {
        return Err(Failure::usage("there are no jobs to add", "write [jobs.NAME] in s3db.toml, or name a file"));
    }
    let (_db, scheduler) = connect(context, Whole::No).await?;
    let stored = scheduler.add_jobs(jobs).await?.into_iter();
    let stored: Vec<Value> = stored.map(|(job, changed)| json!({ "job": job, "changed": changed })).collect();
    printer.list(&stored).map(|()| exit::DONE)
}

fn read(file: &Path) -> Result<Vec<JobDefinition>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::usage(format!("cannot read the file {}: {e}", file.display()), "check the path"))?;
    Ok(JobDefinition::from_file(&text, file)?)
}

pub(super) async fn remove(context: &mut Context, name: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let in_file = context.config()?.settings.jobs.contains_key(name);
    let (_db, scheduler) = connect(context, Whole::No).await?;
    let removed = scheduler.remove_job(name).await?;
    printer.one(&json!({ "job": name, "removed": removed }))?;
    if in_file {
        printer.note(&format!("note: s3db.toml still has it; it stays removed until its definition there changes, or `s3db job add`. Take [jobs.{name}] out of the file"));
    }
    Ok(exit::DONE)
}

pub(super) async fn switch(context: &mut Context, name: &str, on: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (_db, scheduler) = connect(context, Whole::No).await?;
    let changed = match on {
        true => scheduler.enable_job(name).await?,
        false => scheduler.disable_job(name).await?,
    };
    printer.one(&json!({ "job": name, "enabled": on, "changed": changed })).map(|()| exit::DONE)
}
