//! `s3db insert` and `s3db import`

use std::path::Path;

use s3db::InsertOptions;

use super::bulk;
use crate::args::{FileFormat, OnError};
use crate::context::{Context, Missing};
use crate::csv;
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
        Records::Many(rows) => bulk::insert(&resource, rows, on_error, InsertOptions::default(), printer).await,
    }
}

pub(super) async fn import(
    context: &mut Context,
    resource: &str,
    file: &str,
    format: Option<FileFormat>,
    on_error: OnError,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let resource = db.resource(resource).await?;
    let is_csv = match format {
        Some(format) => format == FileFormat::Csv,
        None => Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")),
    };
    let rows: Box<dyn Iterator<Item = Result<Row, Failure>>> = match is_csv {
        true => Box::new(csv::rows(file, &*resource.catalog_entry().await?)?),
        false => match input::file(file)? {
            Records::One(record) => Box::new(std::iter::once(Ok(Row { line: 1, record: Ok(record) }))),
            Records::Many(rows) => rows,
        },
    };
    // Records that are moved keep their times.
    bulk::insert(&resource, rows, on_error, InsertOptions { keep_timestamps: true }, printer).await
}
