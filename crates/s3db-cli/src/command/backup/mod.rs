//! `s3db backup …`, one file for what belongs together.

mod create;
mod list;
mod maintain;
mod restore;
mod verify;

use std::sync::Arc;

use s3db::backup::{BackupPlugin, Progress};
use s3db::{Database, ErrorKind};

use crate::args::{BackupCommand, Reading};
use crate::context::{Context, Missing};
use crate::output::Failure;
use crate::progress::Progress as Bar;

pub(super) async fn run(context: &mut Context, command: BackupCommand) -> Result<u8, Failure> {
    match command {
        BackupCommand::Create { kind } => create::run(context, kind).await,
        BackupCommand::List { kind, status, limit, reading } => {
            list::list(context, kind, status, limit, &reading).await
        }
        BackupCommand::Show { id, reading } => list::show(context, &id, &reading).await,
        BackupCommand::Verify { id, level, reading } => verify::run(context, &id, level, &reading).await,
        BackupCommand::Cleanup { dry_run } => maintain::cleanup(context, dry_run).await,
        BackupCommand::Cancel { id } => maintain::cancel(context, &id).await,
        BackupCommand::Delete { id, yes } => maintain::delete(context, &id, yes).await,
        BackupCommand::Pin { id } => maintain::pin(context, &id, true).await,
        BackupCommand::Unpin { id } => maintain::pin(context, &id, false).await,
        BackupCommand::Rekey { id, identities } => maintain::rekey(context, id.as_deref(), identities).await,
        BackupCommand::Restore { id, at, into, resources, renames, ids, mode, dry_run, force, no_compare, reading } => {
            let wanted = restore::Wanted { id, at, into, resources, renames, ids, mode, dry_run, force, no_compare };
            restore::run(context, wanted, &reading).await
        }
    }
}

/// The database and its backups. The handle keeps the plugin alive.
async fn connect(context: &mut Context, reading: &Reading) -> Result<(Database, Arc<BackupPlugin>), Failure> {
    let db = context.connect_for_backups(reading, Missing::Refuse).await?;
    let backups = db.plugin::<BackupPlugin>()?;
    Ok((db, backups))
}

/// Backups alone: of the database, or where they are read from elsewhere, or the database is gone, without one.
async fn open(context: &mut Context, reading: &Reading) -> Result<(Database, Arc<BackupPlugin>), Failure> {
    let db = if reading.from.is_some() {
        context.without_database(reading).await?
    } else {
        match context.connect_for_backups(reading, Missing::Refuse).await {
            Err(Failure::Library(error)) if error.kind() == ErrorKind::NotFound => {
                let db = context.without_database(reading).await?;
                if !db.plugin::<BackupPlugin>()?.is_configured() {
                    return Err(Failure::Library(error));
                }
                context.printer()?.note(&format!("note: {error}; these are the backups at the destinations"));
                db
            }
            connected => connected?,
        }
    };
    let backups = db.plugin::<BackupPlugin>()?;
    Ok((db, backups))
}

/// Shows how far something is.
fn bar(context: &Context, what: &'static str) -> (Bar, impl Fn(&Progress) + Send + Sync + use<>) {
    let bar = Bar::start(what, context.quiet());
    let shown = bar.clone();
    let tell = move |now: &Progress| shown.measure(&now.phase, now.objects, now.total, now.bytes);
    (bar, tell)
}

/// A number of bytes for people.
fn bytes(n: u64) -> String {
    indicatif::BinaryBytes(n).to_string()
}

/// A number of milliseconds for people.
pub(super) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        ms @ 0..1000 => format!("{ms} ms"),
        ms @ 1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => indicatif::FormattedDuration(std::time::Duration::from_millis(ms)).to_string(),
    }
}
