//! `s3db backup restore`

use std::path::{Path, PathBuf};

use s3db::backup::{Mode, RestoreOptions, RestoreReport, Selection};
use s3db::{Database, Location};
use serde_json::json;

use super::{bar, bytes, duration, open};
use crate::args::{BackupMode, Format, Reading};
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

/// What was asked for.
pub(super) struct Wanted {
    pub(super) id: Option<String>,
    pub(super) at: Option<String>,
    pub(super) into: Option<String>,
    pub(super) resources: Vec<String>,
    pub(super) renames: Vec<String>,
    pub(super) ids: Vec<String>,
    pub(super) mode: BackupMode,
    pub(super) dry_run: bool,
    pub(super) force: bool,
    pub(super) no_compare: bool,
}

pub(super) async fn run(context: &mut Context, wanted: Wanted, reading: &Reading) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let options = options(&wanted)?;
    let (_reader, backups) = open(context, reading).await?;
    let id = match (wanted.id, &wanted.at) {
        (Some(id), _) => id,
        (None, at) => backups.backup_at(instant(at.as_deref().unwrap_or_default())?).await?,
    };
    let (url, base) = match &wanted.into {
        Some(url) => (url.clone(), PathBuf::from(".")),
        None => context.url()?,
    };
    let made = missing_folder(&url, &base)?;
    let target = match &made {
        // Nothing is made for a restore that is not done.
        Some(_) if wanted.dry_run => Database::connect("memory://").await?,
        _ => context.connect_to(&url, base, Missing::Create).await?,
    };
    let (progress, tell) = bar(context, "restore");
    let restored = backups.restore_with(&target, &id, &options, &tell).await;
    drop(progress);
    match restored {
        Ok(mut report) => {
            if made.is_some() {
                report.target = s3db::mask(&url);
            }
            print(printer, &report, wanted.into.as_deref())?;
            if reading.from.is_some() && wanted.into.is_none() && !report.dry_run {
                printer.note(
                    "it takes the place of the database that was backed up: it has its id, and nothing is paused",
                );
            }
            Ok(exit::DONE)
        }
        Err(error) => {
            unmake(target, made).await;
            Err(error.into())
        }
    }
}

/// The folder of a database that is not there yet.
fn missing_folder(url: &str, base: &Path) -> Result<Option<PathBuf>, Failure> {
    match Location::parse(url, base)? {
        Location::Directory(path) if !path.exists() => Ok(Some(path)),
        _ => Ok(None),
    }
}

/// Removes a folder that was made for a restore that wrote nothing.
async fn unmake(target: Database, made: Option<PathBuf>) {
    let Some(folder) = made else { return };
    let stored = target.store().list(s3db::store::List::prefix("")).await;
    if stored.is_ok_and(|page| page.entries.is_empty()) {
        drop(target);
        // Where it stays it does no harm: it is an empty database.
        let _kept = std::fs::remove_dir_all(folder);
    }
}

fn options(wanted: &Wanted) -> Result<RestoreOptions, Failure> {
    let mut rename = std::collections::BTreeMap::new();
    for text in &wanted.renames {
        let pair = text.split_once('=').filter(|(from, to)| !from.is_empty() && !to.is_empty());
        let Some((from, to)) = pair else {
            return Err(Failure::usage(format!("--rename '{text}' is no A=B"), "write --rename users=users_old"));
        };
        rename.insert(from.to_owned(), to.to_owned());
    }
    Ok(RestoreOptions {
        selection: Selection {
            resources: wanted.resources.iter().cloned().collect(),
            ids: wanted.ids.iter().cloned().collect(),
            rename,
        },
        mode: match wanted.mode {
            BackupMode::Fail => Mode::Fail,
            BackupMode::Skip => Mode::Skip,
            BackupMode::Overwrite => Mode::Overwrite,
            BackupMode::Replace => Mode::Replace,
        },
        dry_run: wanted.dry_run,
        force: wanted.force,
        in_place: Some(wanted.into.is_none()),
        pause: None,
        skip_comparison: wanted.no_compare,
    })
}

fn instant(text: &str) -> Result<i64, Failure> {
    s3db::instant(text)
        .ok_or_else(|| Failure::input(format!("--at '{text}' is no instant"), "write one such as 2026-11-22T21:00:00Z"))
}

fn print(printer: Printer, report: &RestoreReport, url: Option<&str>) -> Result<(), Failure> {
    for warning in &report.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    if printer.format == Format::Table {
        let what = if report.dry_run { "would restore" } else { "restored" };
        printer.line(&format!("{what} {} into {}", report.id, report.target))?;
        if report.backups.len() > 1 {
            printer.line(&format!("  from       {} backups that build on each other", report.backups.len()))?;
        }
        printer.line(&format!("  proven     {} files, every byte", report.files))?;
        if report.dry_run {
            printer.line(&format!("  objects    {} chosen; nothing was written", report.objects))?;
        } else {
            printer.line(&format!(
                "  objects    {} chosen; {} written, {} as they were, {} kept, {} deleted",
                report.objects, report.written, report.unchanged, report.kept, report.deleted
            ))?;
            printer.line(&format!("  compared   {} objects are as in the backup", report.compared))?;
            printer.line(&format!("  size       {}", bytes(report.bytes)))?;
        }
        printer.line(&format!("  took       {}", duration(report.duration)))?;
        if !report.resources.is_empty() {
            let rows = report.resources.iter().map(|(name, records)| vec![name.clone(), records.to_string()]);
            printer.line("")?;
            printer.line(&table::grid(&["resource", "records"], rows))?;
        }
    } else {
        printer.one(&json!(report))?;
    }
    if report.paused && !report.dry_run {
        let at = url.map_or_else(String::new, |url| format!(" --url {}", s3db::mask(url)));
        printer.note(&format!("timers, actions and jobs of the copy are paused until `s3db{at} resume`"));
    }
    Ok(())
}
