//! `s3db demo`: the database at work, step by step, with the command that does the same.

mod backup;
mod job;
mod order;

use std::path::{Path, PathBuf};

use s3db::{Database, OnError, Query, Record, Resource, ResourceDefinition, UpdateOptions};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::table;

const PASSPHRASE: &str = "the demo's passphrase";
/// The folder of the database.
const DATA: &str = "data";

pub(super) async fn run(context: &mut Context, dir: Option<PathBuf>) -> Result<u8, Failure> {
    let mut printer = context.printer()?;
    printer.format = crate::args::Format::Table;
    match dir {
        Some(dir) => {
            if dir.exists() && std::fs::read_dir(&dir)?.next().is_some() {
                return Err(Failure::usage(
                    format!("the directory {} is not empty", dir.display()),
                    "name a directory that does not exist yet",
                ));
            }
            show(printer, &dir).await?;
            end(printer, Some(&dir))?;
        }
        None => {
            let temporary = tempfile::tempdir()?;
            show(printer, temporary.path()).await?;
            end(printer, None)?;
        }
    }
    Ok(exit::DONE)
}

async fn show(printer: Printer, dir: &Path) -> Result<(), Failure> {
    let stage = Stage { printer };
    let builder = Database::builder(format!("file:{}", dir.join(DATA).display())).passphrase(PASSPHRASE);
    let plugins = builder.plugin(order::plugin()?).plugin(backup::plugin(dir)?).plugin(job::plugin()?);
    let db = plugins.start_plugins(false).connect().await?;
    let users = create(&stage, &db).await?;
    records(&stage, &users).await?;
    partition(&stage, &users).await?;
    race(&stage, &users).await?;
    refusal(&stage, &users).await?;
    order::show(&stage, &db).await?;
    job::show(&stage, &db, dir).await?;
    backup::show(&stage, &db, dir, &users).await
}

struct Stage {
    printer: Printer,
}

impl Stage {
    fn step(&self, title: &str, command: &str) -> Result<(), Failure> {
        let (bold, plain) = if self.printer.color { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        self.printer.line(&format!("\n{bold}{title}{plain}\n  $ {command}"))
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        self.printer.line(text)
    }

    fn rows(&self, records: &[Record]) -> Result<(), Failure> {
        let rows: Vec<Value> = records.iter().map(Record::to_json).collect();
        self.printer.line(&table::of(&rows))
    }
}

async fn create(stage: &Stage, db: &Database) -> Result<Resource, Failure> {
    stage.step(
        "1. A resource: rules, a secret, a partition",
        "s3db resource create users --attributes '{\"name\": \"string|min:2\", \"email\": \"email\", \"country\": \"string\", \"logins\": \"integer|default:0\", \"password\": \"secret|min:8\"}' --partition byCountry=country",
    )?;
    let definition = ResourceDefinition::new("users")
        .attribute("name", "string|min:2")
        .attribute("email", "email")
        .attribute("country", "string")
        .attribute("logins", "integer|default:0")
        .attribute("password", "secret|min:8")
        .partition("byCountry", [("country", "string")]);
    Ok(db.create_resource(definition).await?)
}

async fn records(stage: &Stage, users: &Resource) -> Result<(), Failure> {
    stage.step("2. Records in", "s3db import users users.jsonl")?;
    let people =
        [("ana", "Ana Souza", "BR"), ("ben", "Ben Weiß", "DE"), ("chi", "千尋", "JP"), ("davi", "Davi Lima", "BR")];
    let rows = people.map(|(id, name, country)| {
        json!({"id": id, "name": name, "email": format!("{id}@example.org"), "country": country, "password": format!("{id}-s3cret")})
    });
    let report = users.insert_many(rows.to_vec(), OnError::Collect).await;
    if let Some(failure) = report.failed.into_iter().next() {
        return Err(failure.error.into());
    }
    stage.rows(&users.list(&Query::all()).await?.items)?;
    stage.printer.line("  The passwords are encrypted at rest: AES-256-GCM under a key derived from the passphrase.")
}

async fn partition(stage: &Stage, users: &Resource) -> Result<(), Failure> {
    stage.step(
        "3. One country's users, without reading the others",
        "s3db list users --partition byCountry --values '{\"country\": \"BR\"}' --fields name,country",
    )?;
    let options = Query::all().partition("byCountry", json!({"country": "BR"})).fields(["name", "country"]);
    stage.rows(&users.list(&options).await?.items)
}

async fn race(stage: &Stage, users: &Resource) -> Result<(), Failure> {
    stage.step(
        "4. Ten writers raise one counter at once; none overwrites another",
        "s3db update users ana '{\"logins\": n}' --expected-rev REV",
    )?;
    let writers: Vec<_> = (0..10).map(|_| tokio::spawn(raise(users.clone()))).collect();
    let mut lost = 0;
    for writer in writers {
        lost += writer.await.map_err(|e| Failure::Io { message: e.to_string() })??;
    }
    let logins = users.get("ana").await?.attributes.get("logins").cloned().unwrap_or_default();
    stage
        .printer
        .line(&format!("  Ana's counter: {logins} (a writer came second {lost} times, was told so, and tried again)"))
}

/// Raises the counter by one, however often others come first; returns how often they did.
async fn raise(users: Resource) -> Result<u32, s3db::Error> {
    let mut lost = 0;
    loop {
        let ana = users.get("ana").await?;
        let logins = ana.attributes.get("logins").and_then(Value::as_i64).unwrap_or(0);
        let options = UpdateOptions { expected_rev: Some(ana.meta.rev) };
        match users.update_with("ana", json!({"logins": logins + 1}), &options).await {
            Ok(_) => return Ok(lost),
            Err(error) if error.kind() == s3db::ErrorKind::Conflict => lost += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn refusal(stage: &Stage, users: &Resource) -> Result<(), Failure> {
    stage.step(
        "5. Bad input is refused whole, with every failing field",
        "s3db insert users '{\"name\": \"E\", \"email\": \"nowhere\", \"contry\": \"BR\", \"password\": \"short\"}'",
    )?;
    let bad = json!({"name": "E", "email": "nowhere", "contry": "BR", "password": "short"});
    let Err(error) = users.insert(bad).await else {
        return Err(Failure::Io { message: "a record that breaks its rules was taken".into() });
    };
    let fields = error.details().and_then(|d| d.get("fields")).and_then(Value::as_array).cloned().unwrap_or_default();
    for field in fields {
        stage.printer.line(&format!("  {}", field.get("message").and_then(Value::as_str).unwrap_or_default()))?;
    }
    Ok(())
}

fn end(printer: Printer, dir: Option<&Path>) -> Result<(), Failure> {
    let look = match dir {
        Some(dir) => {
            format!(
                "Look around:  S3DB_PASSPHRASE=\"{PASSPHRASE}\" s3db --url file:{} list users",
                dir.join(DATA).display()
            )
        }
        None => "Keep the demo's database with:  s3db demo --dir ./demo-data".to_owned(),
    };
    printer.line(&format!("\n{look}\nBegin your own with:  s3db init\nRun jobs, timers and backups on schedule with:  s3db run\nRead on in docs/guide.md, docs/state-machines.md, docs/scheduler.md and docs/backups.md."))
}
