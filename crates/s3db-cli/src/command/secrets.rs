//! `s3db secrets …`

use s3db::config::read_passphrase;
use serde_json::json;

use crate::args::SecretsCommand;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;
use crate::progress::Progress;

pub(super) async fn run(context: &mut Context, command: SecretsCommand) -> Result<u8, Failure> {
    let SecretsCommand::Rotate { new_passphrase_file } = command;
    let printer = context.printer()?;
    let new = read_passphrase(&new_passphrase_file)?;
    let db = context.connect(Missing::Refuse).await?;
    let progress = Progress::start("records", context.quiet());
    let report = db.rotate_secrets(&new, &|done| progress.set(done as u64)).await?;
    drop(progress);
    printer.one(&json!(report))?;
    printer.note("from now on use the new passphrase");
    Ok(exit::DONE)
}
