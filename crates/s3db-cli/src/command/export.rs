//! `s3db export`

use std::io::IsTerminal as _;

use s3db::{CsvColumns, Query, Records};

use crate::args::{FileFormat, Format};
use crate::context::{Context, Missing};
use crate::csv::CsvWriter;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::progress::Progress;

pub(super) async fn run(
    context: &mut Context,
    resource: &str,
    query: Query,
    format: FileFormat,
    with_secrets: bool,
) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let piped = !std::io::stdout().is_terminal();
    let progress = Progress::start("records", context.quiet() || !piped);
    let mut records = resource.stream(&query.omit_secrets(!with_secrets)).await?;
    records.warnings().iter().for_each(|w| printer.note(&format!("warning: {w}")));
    match format {
        FileFormat::Csv => {
            let columns = CsvColumns::of(&*resource.catalog_entry().await?, with_secrets);
            to_csv(&mut records, columns, &progress).await?;
        }
        FileFormat::Jsonl => to_json(&mut records, printer, &progress).await?,
    }
    Ok(exit::DONE)
}

async fn to_csv(records: &mut Records, columns: CsvColumns, progress: &Progress) -> Result<(), Failure> {
    let mut writer = CsvWriter::new(columns, std::io::stdout())?;
    let mut done = 0;
    while let Some(record) = records.next().await? {
        writer.write(&record)?;
        done += 1;
        progress.set(done);
    }
    writer.end()
}

/// JSON lines, unless one JSON document was asked for.
async fn to_json(records: &mut Records, mut printer: Printer, progress: &Progress) -> Result<(), Failure> {
    if printer.format == Format::Table {
        printer.format = Format::Jsonl;
    }
    let mut rows = printer.rows();
    let mut done = 0;
    while let Some(record) = records.next().await? {
        rows.page(&[record.to_json()])?;
        done += 1;
        progress.set(done);
    }
    rows.end()
}
