//! Backup and restore of an embedded database, at several sizes, beside `restic` over the same records as files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3db::backup::{BackupPlugin, BackupType, Compression, DestinationSettings, RestoreOptions};
use s3db::store::Store;
use s3db::store::local::{Local, LocalOptions};
use s3db::store::meter::Meter;
use s3db::{Database, OnError, ResourceDefinition};
use serde_json::{Value, json};

use crate::Outcome;
use crate::measure::peak_memory;

/// Records that are inserted at once.
const BATCH: usize = 10_000;
/// Beyond this many files `restic` is not run.
const MOST_FILES: usize = 200_000;

/// Measures each size in processes of their own, whose memory holds nothing else.
pub(crate) async fn run(records: Vec<usize>) -> Outcome<()> {
    for records in records {
        let folder = tempfile::tempdir()?;
        println!("{records} records");
        for step in ["fill", "backup", "incremental", "restore"] {
            let program = std::env::current_exe()?;
            let status = Command::new(program)
                .args(["backups-one", step])
                .arg(folder.path())
                .arg(records.to_string())
                .status()?;
            if !status.success() {
                return Err(format!("{step} failed").into());
            }
        }
        if records <= MOST_FILES {
            restic(folder.path())?;
        }
    }
    Ok(())
}

/// One step, in a process of its own.
pub(crate) async fn one(step: &str, folder: &Path, records: usize) -> Outcome<()> {
    let store: Arc<dyn Store> = match step {
        "restore" => Arc::new(Local::open(&folder.join("copy"), LocalOptions::default())?),
        _ => Arc::new(Local::open(&folder.join("data"), LocalOptions::default())?),
    };
    let meter = Meter::new(store);
    let counters = meter.counters();
    let plugin = BackupPlugin::builder()
        .destination(DestinationSettings::filesystem(folder.join("backups").display().to_string()))
        .compression(Compression::Zstd)
        .build()?;
    let db = Database::builder("memory://").store(Arc::new(meter)).plugin(plugin).connect().await?;
    let backups = db.plugin::<BackupPlugin>()?;
    if step == "fill" {
        return fill(&db, folder, records).await;
    }
    let (before, begun) = (counters.read(), Instant::now());
    let (bytes, what) = match step {
        "backup" => (backups.backup(BackupType::Full).await?.logical_size, "backup"),
        "incremental" => {
            let r = db.resource("r").await?;
            for n in 0..10 {
                r.update(&id(n), json!({"n": -1})).await?;
            }
            let made = backups.backup(BackupType::Incremental).await?;
            println!("  the incremental backup stores {} of {} objects", made.counts.stored, made.counts.objects);
            (made.logical_size, "incremental")
        }
        _ => {
            let newest = backups.list_backups(&Default::default()).await?;
            let newest = newest.first().ok_or("there is no backup")?;
            (backups.restore(&newest.id, &RestoreOptions::default()).await?.bytes, "restore")
        }
    };
    let (took, requests) = (begun.elapsed(), (counters.read() - before).total());
    line(what, records, bytes, took, requests)
}

fn line(what: &str, records: usize, bytes: u64, took: Duration, requests: u64) -> Outcome<()> {
    let seconds = took.as_secs_f64();
    println!(
        "  s3db {what:<12} {:>9.0} records/s   {:>7.1} MB/s   {requests:>9} requests   {:>6.0} MiB peak   {seconds:.2} s",
        records as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        peak_memory()?
    );
    Ok(())
}

fn id(n: usize) -> String {
    format!("r{n:08}")
}

fn record(n: usize) -> Value {
    let text: String = (0..12).map(|word| format!("word{} ", (n * 31 + word * 17) % 5_000)).collect();
    json!({"id": id(n), "n": n, "email": format!("user{n}@example.org"), "text": text.repeat(6)})
}

/// The database, and the same records as files for `restic`.
async fn fill(db: &Database, folder: &Path, records: usize) -> Outcome<()> {
    let definition = ResourceDefinition::new("r")
        .attribute("n", "number")
        .attribute("email", "string")
        .attribute("text", "string")
        .behavior(s3db::Behavior::BodyOnly);
    let r = db.create_resource(definition).await?;
    for from in (0..records).step_by(BATCH) {
        let rows = (from..records.min(from + BATCH)).map(record).collect();
        if let Some(failure) = r.insert_many(rows, OnError::Stop).await.failed.into_iter().next() {
            return Err(failure.error.into());
        }
    }
    if records <= MOST_FILES {
        for n in 0..records {
            let place = folder.join("files").join(format!("{:03}", n % 500));
            std::fs::create_dir_all(&place)?;
            std::fs::write(place.join(id(n)), record(n).to_string())?;
        }
    }
    Ok(())
}

/// The same work by `restic`, where it is installed.
fn restic(folder: &Path) -> Outcome<()> {
    let run = |arguments: &[&str]| -> Outcome<Option<Duration>> {
        let begun = Instant::now();
        let status = Command::new("restic")
            .args(["--repo", "restic", "--quiet"])
            .args(arguments)
            .env("RESTIC_PASSWORD", "benchmark")
            .current_dir(folder)
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(Some(begun.elapsed())),
            Ok(status) => Err(format!("restic ended with {status}").into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    if run(&["init"])?.is_none() {
        println!("  restic is not installed");
        return Ok(());
    }
    for (what, arguments) in [
        ("backup", &["backup", "files"][..]),
        ("again", &["backup", "files"][..]),
        ("restore", &["restore", "latest", "--target", "restored"][..]),
    ] {
        if let Some(took) = run(arguments)? {
            println!("  restic {what:<10} {:.2} s", took.as_secs_f64());
        }
    }
    Ok(())
}
