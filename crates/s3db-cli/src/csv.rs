//! CSV files: read and written a row at a time. What a cell means is the library's matter.

use std::io::Write;

use csv::{ReaderBuilder, StringRecord, Writer, WriterBuilder};
use s3db::{CatalogEntry, CsvColumns, Record};

use crate::input::{self, Row};
use crate::output::Failure;

/// Reads the rows of a file, or of standard input for `-`. The heading is checked at once.
pub(crate) fn rows(
    path: &str,
    resource: &CatalogEntry,
) -> Result<impl Iterator<Item = Result<Row, Failure>> + use<>, Failure> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(input::reader(path)?);
    let heading = reader.headers().map_err(|e| unreadable(&e))?.clone();
    let columns = CsvColumns::from_heading(resource, &heading)?;
    let rows = reader.into_records().map(move |row| match row {
        Ok(row) => {
            let cells: Vec<&str> = row.iter().collect();
            Ok(Row { line: line_of(&row), record: columns.record(&cells) })
        }
        Err(error) => match error.kind() {
            csv::ErrorKind::Utf8 { pos, .. } => {
                let line = pos.as_ref().map_or(0, |pos| usize::try_from(pos.line()).unwrap_or_default());
                Ok(Row { line, record: Err("the row is not UTF-8".into()) })
            }
            _ => Err(unreadable(&error)),
        },
    });
    Ok(rows)
}

fn line_of(row: &StringRecord) -> usize {
    row.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or_default())
}

fn unreadable(error: &csv::Error) -> Failure {
    Failure::input(format!("the CSV file cannot be read: {error}"), "rows before it were written, if any were read")
}

/// Writes records as rows.
pub(crate) struct CsvWriter<W: Write> {
    columns: CsvColumns,
    writer: Writer<W>,
}

impl<W: Write> CsvWriter<W> {
    pub(crate) fn new(columns: CsvColumns, output: W) -> Result<Self, Failure> {
        let mut writer = WriterBuilder::new().from_writer(output);
        writer.write_record(columns.names()).map_err(unwritten)?;
        Ok(Self { columns, writer })
    }

    pub(crate) fn write(&mut self, record: &Record) -> Result<(), Failure> {
        self.writer.write_record(self.columns.row(record)).map_err(unwritten)
    }

    pub(crate) fn end(mut self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }
}

fn unwritten(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::Io { message: format!("{other:?}") },
    }
}
