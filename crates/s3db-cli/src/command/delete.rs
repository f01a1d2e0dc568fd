//! `s3db delete`

use s3db::{DeleteReport, ErrorKind, Resource, UpdateOptions};
use serde_json::json;

use super::change::{self, Change};
use crate::args::Many;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;

pub(super) async fn run(
    context: &mut Context,
    resource: &str,
    ids: Vec<String>,
    many: Many,
    expected_rev: Option<String>,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    if let Some(filter) = &many.filter {
        return change::run(&resource, filter, &many, Change::Delete, printer).await;
    }
    let report = match (ids.as_slice(), expected_rev) {
        ([id], expected_rev) => one(&resource, id, expected_rev).await?,
        (_, Some(_)) => return Err(Failure::usage("--expected-rev goes with one id", "delete the records one by one")),
        (ids, None) => resource.delete_many(ids).await?,
    };
    printer.one(&json!(report))?;
    Ok(if report.missing.is_empty() { exit::DONE } else { exit::NOT_FOUND })
}

async fn one(resource: &Resource, id: &str, expected_rev: Option<String>) -> Result<DeleteReport, Failure> {
    match resource.delete_with(id, &UpdateOptions { expected_rev }).await {
        Ok(()) => Ok(DeleteReport { deleted: 1, missing: Vec::new() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(DeleteReport { deleted: 0, missing: vec![id.to_owned()] })
        }
        Err(error) => Err(error.into()),
    }
}
