//! `s3db init`

use std::path::Path;

use s3db::config::FILE_NAME;

use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;

const TEMPLATE: &str = r#"# Configuration of s3db. Every key is described by `s3db config schema`.

# Where the database is: a directory, relative to this file, or a bucket such as
# "s3://my-bucket/app?region=eu-west-1" or "http://KEY:SECRET@localhost:8333/my-bucket/app".
url = "file:./s3db-data"

# A file whose first line is the passphrase of secret fields.
# The environment variable S3DB_PASSPHRASE goes before it.
# passphraseFile = "./s3db.passphrase"

# Whether s3db.js works on this database too. Then its references are kept; see docs/consistency.md.
# shared = true

# How results are printed: "table", "json" or "jsonl".
# Without it: a table on a terminal, JSON lines when piped.
# output = "table"

# Whether actions of machines and jobs may run programs (kind "exec").
# allowExec = true

# State machines; `s3db machine define` stores what these files say. See docs/state-machines.md.
# [stateMachine]
# files = ["machines/*.json"]

# Backups; `s3db backup create` makes one. See docs/backups.md.
# [backup]
# compression = "zstd"
# retention = { daily = 7, weekly = 4, monthly = 12 }
# schedule = { full = "0 2 * * 0", incremental = "0 2 * * 1-6", cleanup = "0 5 * * *" }
# [[backup.destinations]]
# type = "filesystem"
# path = "./backups/{date}/"

# Jobs; `s3db run` runs them, and the schedule of backups. See docs/scheduler.md.
# [scheduler]
# timezone = "America/Sao_Paulo"
# [jobs.daily_cleanup]
# schedule = "0 3 * * *"
# retries = 2
# [jobs.daily_cleanup.action]
# kind = "delete_where"
# resource = "sessions"
# where = { expiresAt = { "$lt" = "$now" } }
"#;

pub(super) async fn run(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let file = Path::new(FILE_NAME);
    // A database that was named on the command line or in the environment is the one to remember.
    let named = context.named_url().map(|url| s3db::Location::parse(&url, Path::new(".")).map(|_| url)).transpose()?;
    let template = match named {
        Some(url) => TEMPLATE.replace("\"file:./s3db-data\"", &serde_json::Value::String(url).to_string()),
        None => TEMPLATE.to_owned(),
    };
    match std::fs::File::create_new(file) {
        Ok(mut created) => {
            std::io::Write::write_all(&mut created, template.as_bytes())?;
            printer.note(&format!("wrote {FILE_NAME}"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            printer.note(&format!("{FILE_NAME} is there already, it was left as it is"))
        }
        Err(error) => return Err(Failure::Io { message: format!("cannot write {FILE_NAME}: {error}") }),
    }
    context.forget_config();
    let db = context.connect(Missing::Create).await?;
    let created = db.initialise().await?;
    printer.note(&format!(
        "{} {}",
        if created { "created the database" } else { "the database is there already:" },
        db.location()
    ));
    printer.note("next: s3db resource create users --attributes '{\"name\": \"string\"}'");
    Ok(exit::DONE)
}
