//! What commands read: JSON in an argument, in a file, or on standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};

use serde_json::Value;

use crate::output::Failure;

/// Bytes of one JSON argument or file that is read whole.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The text behind `JSON`, `@FILE` or `-`.
pub(crate) fn text(argument: &str) -> Result<String, Failure> {
    let mut text = String::new();
    match argument.strip_prefix('@') {
        None if argument != "-" => return Ok(argument.to_owned()),
        None => std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)?,
        Some(path) => open(path)?.take(MAX_BYTES).read_to_string(&mut text)?,
    };
    Ok(text)
}

/// The JSON behind `JSON`, `@FILE` or `-`.
pub(crate) fn json(argument: &str, what: &str) -> Result<Value, Failure> {
    let text = text(argument)?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::input(format!("{what} is not JSON: {e}"), "quote it as '{\"name\": \"Ana\"}', or write @FILE")
    })
}

fn open(path: &str) -> Result<File, Failure> {
    File::open(path).map_err(|e| Failure::usage(format!("cannot read the file {path}: {e}"), "check the path"))
}

/// Records one after another, each with its line, or its place in an array.
pub(crate) enum Records {
    /// One object: the command treats it as a single record.
    One(Value),
    /// Several.
    Many(Box<dyn Iterator<Item = Result<Row, Failure>>>),
}

/// A row of a bulk input.
pub(crate) struct Row {
    pub(crate) line: usize,
    /// The record, or why the line is none.
    pub(crate) record: Result<Value, String>,
}

/// Reads records from `JSON`, `@FILE` or `-`: one object, an array, or JSON lines.
pub(crate) fn records(argument: &str) -> Result<Records, Failure> {
    if argument == "-" {
        return lines_or_array(Box::new(BufReader::new(std::io::stdin())), true);
    }
    if let Some(path) = argument.strip_prefix('@') {
        return lines_or_array(Box::new(BufReader::new(open(path)?)), true);
    }
    lines_or_array(Box::new(std::io::Cursor::new(argument.to_owned().into_bytes())), true)
}

/// Reads the records of a file, or of standard input for `-`.
pub(crate) fn file(path: &str) -> Result<Records, Failure> {
    lines_or_array(reader(path)?, false)
}

/// A file, or standard input for `-`.
pub(crate) fn reader(path: &str) -> Result<Box<dyn BufRead>, Failure> {
    Ok(match path {
        "-" => Box::new(BufReader::new(std::io::stdin())),
        path => Box::new(BufReader::new(open(path)?)),
    })
}

/// Looks at the first byte: an array is read whole, lines are streamed. A text that is one JSON
/// object over several lines is one record where `single` allows it.
fn lines_or_array(mut reader: Box<dyn BufRead>, single: bool) -> Result<Records, Failure> {
    let first = loop {
        let buffer = reader.fill_buf()?;
        let blanks = buffer.iter().take_while(|b| b.is_ascii_whitespace() && **b != b'\n').count();
        match buffer.get(blanks) {
            None if buffer.is_empty() => return Ok(Records::Many(Box::new(std::iter::empty()))),
            Some(b) => break *b,
            None => reader.consume(blanks),
        }
    };
    if first == b'[' {
        let mut text = String::new();
        reader.take(MAX_BYTES).read_to_string(&mut text)?;
        let items: Vec<Value> = serde_json::from_str(&text)
            .map_err(|e| Failure::input(format!("the array is not JSON: {e}"), "nothing was written"))?;
        let rows = items.into_iter().enumerate().map(|(at, record)| Ok(Row { line: at + 1, record: Ok(record) }));
        return Ok(Records::Many(Box::new(rows)));
    }
    if single {
        return one_or_lines(reader);
    }
    Ok(Records::Many(Box::new(Lines { reader, line: 0 })))
}

/// Reads the first line: if it is no whole object the text may be one object over several lines.
fn one_or_lines(mut reader: Box<dyn BufRead>) -> Result<Records, Failure> {
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let more = !reader.fill_buf()?.is_empty();
    match (serde_json::from_str::<Value>(&head), more) {
        (Ok(value), false) => Ok(Records::One(value)),
        (Err(error), _) if error.is_eof() || !more => {
            reader.take(MAX_BYTES).read_to_string(&mut head)?;
            let value = serde_json::from_str(&head).map_err(|e| {
                Failure::input(
                    format!("the record is not JSON: {e}"),
                    "quote it as '{\"name\": \"Ana\"}', or write @FILE",
                )
            })?;
            Ok(Records::One(value))
        }
        _ => {
            let rest = Lines { reader, line: 1 };
            let first = parse_line(&head, 1).map(Ok);
            Ok(Records::Many(Box::new(first.into_iter().chain(rest))))
        }
    }
}

struct Lines {
    reader: Box<dyn BufRead>,
    line: usize,
}

impl Iterator for Lines {
    type Item = Result<Row, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut bytes = Vec::new();
            match self.reader.read_until(b'\n', &mut bytes) {
                Ok(0) => return None,
                Ok(_) => self.line += 1,
                Err(error) => return Some(Err(error.into())),
            }
            let row = match std::str::from_utf8(&bytes) {
                Ok(text) => parse_line(text, self.line),
                Err(_) => Some(Row { line: self.line, record: Err("the line is not UTF-8".into()) }),
            };
            if let Some(row) = row {
                return Some(Ok(row));
            }
        }
    }
}

/// A line's record; `None` for an empty line.
fn parse_line(text: &str, line: usize) -> Option<Row> {
    let text = text.trim().trim_start_matches('\u{feff}');
    if text.is_empty() {
        return None;
    }
    let record = serde_json::from_str(text).map_err(|e| format!("the line is not JSON: {e}"));
    Some(Row { line, record })
}
