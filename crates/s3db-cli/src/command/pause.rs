//! `s3db pause` and `s3db resume`

use serde_json::json;

use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;

pub(super) async fn pause(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let changed = db.pause().await?;
    printer.one(&json!({ "paused": true, "changed": changed, "since": db.paused().await?.since }))?;
    printer
        .note("timers, actions and jobs stand still in every process within a minute; `s3db resume` lets them go on");
    Ok(exit::DONE)
}

pub(super) async fn resume(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let changed = context.connect(Missing::Refuse).await?.resume().await?;
    printer.one(&json!({ "paused": false, "changed": changed }))?;
    printer.note("what is due is done by the next sweep: `s3db machine sweep`");
    Ok(exit::DONE)
}
