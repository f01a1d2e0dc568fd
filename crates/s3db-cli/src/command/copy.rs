//! `s3db copy`

use std::path::PathBuf;

use s3db::CopyOptions;
use serde_json::json;

use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;
use crate::progress::Progress;

pub(super) async fn run(
    context: &mut Context,
    source: &str,
    target: &str,
    resources: Vec<String>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let base = PathBuf::from(".");
    let from = context.connect_to(source, base.clone(), Missing::Refuse).await?;
    let to = context.connect_to(target, base, Missing::Create).await?;
    let progress = Progress::start("objects", context.quiet());
    let report = from.copy_to(&to, &CopyOptions { resources }, &|done| progress.set(done)).await?;
    drop(progress);
    printer.one(&json!(report))?;
    for name in to.resource_names().await? {
        if !to.resource(&name).await?.catalog_entry().await?.partitions().is_empty() {
            printer.note(&format!("next: s3db --url {} resource reindex {name}", s3db::mask(target)));
        }
    }
    Ok(exit::DONE)
}
