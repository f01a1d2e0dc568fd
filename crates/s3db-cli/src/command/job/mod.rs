//! `s3db job …`, one file for what belongs together.

mod change;
mod execute;
mod list;

use std::sync::Arc;

use s3db::Database;
use s3db::scheduler::SchedulerPlugin;

use crate::args::JobCommand;
use crate::context::{Context, Whole};
use crate::output::Failure;

pub(super) use execute::now as run_now;
pub(super) use list::of_jobs;

pub(super) async fn run(context: &mut Context, command: JobCommand) -> Result<u8, Failure> {
    use JobCommand as Job;
    match command {
        Job::List => list::list(context).await,
        Job::Show { name } => list::show(context, &name).await,
        Job::Run { name, context: told, force } => execute::now(context, &name, told.as_ref(), force).await,
        Job::History { name, status, limit, after } => list::history(context, &name, status, limit, after).await,
        Job::Stats { name } => list::stats(context, &name).await,
        Job::Enable { name } => change::switch(context, &name, true).await,
        Job::Disable { name } => change::switch(context, &name, false).await,
        Job::Next { name, n } => list::next(context, &name, n).await,
        Job::Add { file } => change::add(context, file).await,
        Job::Remove { name } => change::remove(context, &name).await,
        Job::Cancel { run } => execute::cancel(context, &run).await,
        Job::Backfill { name, from, to } => execute::backfill(context, &name, from, to).await,
    }
}

/// The database and its scheduler. The handle keeps the plugin alive.
async fn connect(context: &mut Context, whole: Whole) -> Result<(Database, Arc<SchedulerPlugin>), Failure> {
    let db = context.connect_for_jobs(whole).await?;
    let scheduler = db.plugin::<SchedulerPlugin>()?;
    Ok((db, scheduler))
}
