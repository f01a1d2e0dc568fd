//! `s3db list`

use serde_json::Value;

use super::get::shown;
use super::partition_options;
use crate::args::{Format, Rows};
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, note};

/// Rows that are read and printed at a time.
const PAGE: usize = 1000;
/// Rows of one table; a longer list on a terminal continues with a new heading.
const TABLE_PAGE: usize = 200;

/// What to list.
pub(super) struct Wanted {
    pub(super) rows: Rows,
    pub(super) limit: Option<usize>,
    pub(super) after: Option<String>,
    pub(super) fields: Option<Vec<String>>,
    pub(super) meta: bool,
}

pub(super) async fn run(context: &mut Context, resource: &str, wanted: Wanted) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let mut options = partition_options(&wanted.rows)?;
    options.fields = wanted.fields;
    options.after = wanted.after;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let page_size = if printer.format == Format::Table { TABLE_PAGE } else { PAGE };
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let mut rows = printer.rows();
    let mut warned = false;
    let next = loop {
        let page = resource.list(&options.clone().limit(left.min(page_size))).await?;
        if !warned {
            page.warnings.iter().for_each(|w| printer.note(&format!("warning: {w}")));
            warned = true;
        }
        let values: Vec<Value> = page.items.iter().map(|r| shown(r, wanted.meta)).collect();
        rows.page(&values)?;
        left -= values.len();
        match page.next {
            Some(cursor) if left > 0 => options.after = Some(cursor),
            next => break next,
        }
    };
    rows.end()?;
    if let Some(cursor) = next {
        note(&format!("next: {cursor}"));
    }
    Ok(exit::DONE)
}
