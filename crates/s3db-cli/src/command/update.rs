//! `s3db update` and `s3db upsert`

use s3db::UpdateOptions;

use super::change::{self, Change};
use super::get::shown;
use crate::args::Many;
use crate::context::{Context, Missing};
use crate::exit;
use crate::input;
use crate::output::Failure;

pub(super) async fn update(
    context: &mut Context,
    resource: &str,
    id_and_patch: Vec<String>,
    many: Many,
    expected_rev: Option<String>,
    meta: bool,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let (id, patch) = match (id_and_patch.as_slice(), &many.filter) {
        ([id, patch], None) => (id, patch),
        ([patch], Some(filter)) => {
            let patch = input::json(patch, "the patch")?;
            let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
            return change::run(&resource, filter, &many, Change::Update(patch), printer).await;
        }
        (_, None) => return Err(Failure::usage("the patch is missing", "give the id and the patch, or --where")),
        (_, Some(_)) => return Err(Failure::usage("--where goes without an id", "give the patch alone")),
    };
    let patch = input::json(patch, "the patch")?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let record = resource.update_with(id, patch, &UpdateOptions { expected_rev }).await?;
    printer.one(&shown(&record, meta))?;
    Ok(exit::DONE)
}

pub(super) async fn upsert(context: &mut Context, resource: &str, data: &str, meta: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let record = input::json(data, "the record")?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let record = resource.upsert(record).await?;
    printer.one(&shown(&record, meta))?;
    Ok(exit::DONE)
}
