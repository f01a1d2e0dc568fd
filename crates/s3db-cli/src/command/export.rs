//! `s3db export`

use s3db::Query;
use serde_json::Value;

use crate::args::Format;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::Failure;
use crate::progress::Progress;

const PAGE: usize = 1000;

pub(super) async fn run(context: &mut Context, resource: &str, with_secrets: bool) -> Result<u8, Failure> {
    let mut printer = context.printer()?;
    // An export is read by programs: lines unless one JSON document was asked for.
    if printer.format == Format::Table {
        printer.format = Format::Jsonl;
    }
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let piped = !std::io::IsTerminal::is_terminal(&std::io::stdout());
    let progress = Progress::start("records", context.quiet() || !piped);
    let mut rows = printer.rows();
    let mut options = Query::all().limit(PAGE).omit_secrets(!with_secrets);
    let mut done = 0;
    loop {
        let page = resource.list(&options).await?;
        let values: Vec<Value> = page.items.iter().map(s3db::Record::to_json).collect();
        rows.page(&values)?;
        done += values.len();
        progress.set(done as u64);
        match page.next {
            Some(cursor) => options.after = Some(cursor),
            None => break,
        }
    }
    rows.end()?;
    Ok(exit::DONE)
}
