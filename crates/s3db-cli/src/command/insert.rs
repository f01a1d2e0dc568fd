//! `s3db insert` and `s3db import`

use super::bulk;
use crate::args::OnError;
use crate::context::{Context, Missing};
use crate::exit;
use crate::input::{self, Records, Row};
use crate::output::Failure;

pub(super) async fn run(context: &mut Context, resource: &str, data: &str, on_error: OnError) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let resource = db.resource(resource).await?;
    match input::records(data)? {
        Records::One(record) => {
            printer.one(&resource.insert(record).await?.to_json())?;
            Ok(exit::DONE)
        }
        Records::Many(rows) => bulk::insert(&resource, rows, on_error, printer).await,
    }
}

pub(super) async fn import(
    context: &mut Context,
    resource: &str,
    file: &str,
    on_error: OnError,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let resource = db.resource(resource).await?;
    match input::file(file)? {
        Records::One(record) => {
            bulk::insert(&resource, std::iter::once(Ok(Row { line: 1, record: Ok(record) })), on_error, printer).await
        }
        Records::Many(rows) => bulk::insert(&resource, rows, on_error, printer).await,
    }
}
