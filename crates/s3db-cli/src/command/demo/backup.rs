//! The part of the demo with backups: a full one, what changed since, damage that is found, and a restore.

use std::path::Path;

use s3db::backup::{BackupPlugin, BackupReport, BackupType, DestinationSettings, RestoreOptions, VerifyLevel};
use s3db::{Database, Resource};
use serde_json::json;

use super::Stage;
use crate::output::Failure;

/// The folder of the backups, beside the database.
const FOLDER: &str = "backups";
/// The folder of the copy.
const COPY: &str = "copy";

pub(super) fn plugin(dir: &Path) -> Result<BackupPlugin, Failure> {
    let destination = DestinationSettings::filesystem(FOLDER);
    Ok(BackupPlugin::builder().folder(dir).destination(destination).build()?)
}

pub(super) async fn show(stage: &Stage, db: &Database, dir: &Path, users: &Resource) -> Result<(), Failure> {
    let backups = db.plugin::<BackupPlugin>()?;
    stage.step("10. A backup: raw objects in compressed files, the manifest last", "s3db backup create")?;
    let full = backups.backup(BackupType::Full).await?;
    told(stage, &full)?;

    stage.step("11. A day later: what changed since, deletes included", "s3db backup create --type incremental")?;
    users.delete("davi").await?;
    users
        .insert(json!({
            "id": "eva", "name": "Eva Lindt", "email": "eva@example.org", "country": "DE", "password": "eva-s3cret",
        }))
        .await?;
    let changes = backups.backup(BackupType::Incremental).await?;
    told(stage, &changes)?;

    stage.step("12. One bit of a file flips: it is found, and what it means", "s3db backup verify ID")?;
    let file = segment(&dir.join(FOLDER).join(&full.id).join("segments"))?;
    let whole = std::fs::read(&file)?;
    let mut damaged = whole.clone();
    if let Some(byte) = damaged.get_mut(whole.len() / 2) {
        *byte ^= 1;
    }
    std::fs::write(&file, &damaged)?;
    let report = backups.verify(&changes.id, VerifyLevel::Full).await?;
    for problem in &report.problems {
        let which = if problem.backup == full.id { "full" } else { "incremental" };
        stage.line(&format!("  {} of the {which} backup: {}", problem.object, problem.problem))?;
    }
    std::fs::write(&file, &whole)?;
    let report = backups.verify(&changes.id, VerifyLevel::Full).await?;
    stage.line(&format!(
        "  Put back: {} files read, {}",
        report.files,
        if report.valid { "whole" } else { "not whole" }
    ))?;

    stage.step(
        "13. The backup becomes a database again, proven before and compared after",
        "s3db backup restore ID --into file:./copy",
    )?;
    let copy =
        Database::builder(format!("file:{}", dir.join(COPY).display())).passphrase(super::PASSPHRASE).connect().await?;
    let restored = backups.restore_into(&copy, &changes.id, &RestoreOptions::default()).await?;
    stage.line(&format!(
        "  {} objects written, {} compared; its timers are paused until `s3db resume`",
        restored.written, restored.compared
    ))?;
    let names = copy.resource("users").await?.list_ids(&s3db::Query::all()).await?;
    stage.line(&format!("  The copy has the users {}", names.items.join(", ")))
}

fn told(stage: &Stage, report: &BackupReport) -> Result<(), Failure> {
    let counts = report.counts;
    stage.line(&format!("  {} of {} objects stored, {} gone since", counts.stored, counts.objects, counts.deleted))
}

/// The first file of segments.
fn segment(folder: &Path) -> Result<std::path::PathBuf, Failure> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    files.into_iter().next().ok_or_else(|| Failure::Io { message: "the backup has no segment".into() })
}
