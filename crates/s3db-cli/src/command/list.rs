//! `s3db list`

use s3db::Query;
use serde_json::Value;

use super::get::shown;
use crate::args::Format;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, note};

/// Rows of one table; a longer list on a terminal continues with a new heading.
const TABLE_PAGE: usize = 200;

pub(super) async fn run(context: &mut Context, resource: &str, query: &Query, meta: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let mut records = resource.stream(query).await?;
    records.warnings().iter().for_each(|w| printer.note(&format!("warning: {w}")));
    // Programs get each row as soon as it is there.
    let page = if printer.format == Format::Table { TABLE_PAGE } else { 1 };
    let mut rows = printer.rows();
    let mut values: Vec<Value> = Vec::new();
    while let Some(record) = records.next().await? {
        values.push(shown(&record, meta));
        if values.len() == page {
            rows.page(&values)?;
            values.clear();
        }
    }
    if !values.is_empty() {
        rows.page(&values)?;
    }
    rows.end()?;
    if !records.is_exact() {
        printer.note("from the partition's keys alone, which may include a row that is moving; --exact reads the rows");
    }
    if let Some(cursor) = records.cursor() {
        note(&format!("next: {cursor}"));
    }
    Ok(exit::DONE)
}
