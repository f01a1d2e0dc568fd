//! `s3db count`

use serde_json::json;

use super::query;
use crate::args::{Format, Rows};
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;

pub(super) async fn run(context: &mut Context, resource: &str, rows: &Rows, exact: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let query = query(rows)?.exact(exact);
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let count = resource.count_where(&query).await?;
    match printer.format {
        Format::Json | Format::Jsonl if printer.explicit => printer.one(&json!({ "count": count }))?,
        _ => printer.line(&count.to_string())?,
    }
    Ok(exit::DONE)
}
