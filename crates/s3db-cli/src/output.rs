//! What is printed: data on stdout, everything else on stderr.

use std::io::{IsTerminal as _, Write as _};

use s3db::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::args::Format;
use crate::table;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library says so.
    Library(Box<Error>),
    /// The arguments are wrong; exit code 2.
    Usage { message: String, guidance: String },
    /// The input is not what it must be; exit code 5.
    Input { message: String, guidance: String },
    /// The library says so, of work that had begun; the exit code says how that ended.
    Ended { error: Box<Error>, code: u8 },
    /// Reading input or writing output failed; exit code 1.
    Io { message: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Library(Box::new(error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // The reader has seen enough: that is how `| head` ends.
            std::process::exit(0);
        }
        Failure::Io { message: error.to_string() }
    }
}

impl Failure {
    /// The same failure with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        match self {
            Failure::Library(error) => Failure::Ended { error, code },
            other => other,
        }
    }

    pub(crate) fn input(message: impl Into<String>, guidance: impl Into<String>) -> Self {
        Failure::Input { message: message.into(), guidance: guidance.into() }
    }

    pub(crate) fn usage(message: impl Into<String>, guidance: impl Into<String>) -> Self {
        Failure::Usage { message: message.into(), guidance: guidance.into() }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    /// Whether the format was asked for.
    pub(crate) explicit: bool,
    pub(crate) quiet: bool,
    pub(crate) color: bool,
}

impl Printer {
    pub(crate) fn new(asked: Option<Format>, quiet: bool, no_color: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let format = asked.unwrap_or(if terminal { Format::Table } else { Format::Jsonl });
        let color = terminal && !no_color && std::env::var_os("NO_COLOR").is_none();
        Self { format, explicit: asked.is_some(), quiet, color }
    }

    /// Prints one record or report.
    pub(crate) fn one(self, value: &Value) -> Result<(), Failure> {
        let text = match self.format {
            Format::Jsonl => value.to_string(),
            Format::Table | Format::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
        };
        self.line(&text)
    }

    /// Prints a list whole. Long lists are printed page by page with [`Printer::rows`].
    pub(crate) fn list(self, values: &[Value]) -> Result<(), Failure> {
        let mut rows = self.rows();
        rows.page(values)?;
        rows.end()
    }

    /// Begins a list that comes in pages.
    pub(crate) fn rows(self) -> RowPrinter {
        RowPrinter { printer: self, printed: 0 }
    }

    /// Prints a line of data.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(())
    }

    /// Prints a note for people on stderr.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }
}

/// A list that is printed page by page, so that memory stays flat.
pub(crate) struct RowPrinter {
    printer: Printer,
    printed: usize,
}

impl RowPrinter {
    pub(crate) fn page(&mut self, values: &[Value]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        match self.printer.format {
            Format::Table if !values.is_empty() => writeln!(stdout, "{}", table::of(values))?,
            Format::Table => {}
            Format::Jsonl => {
                for value in values {
                    writeln!(stdout, "{value}")?;
                }
            }
            Format::Json => {
                for (at, value) in values.iter().enumerate() {
                    let lead = if self.printed + at == 0 { "[\n  " } else { ",\n  " };
                    write!(stdout, "{lead}{value}")?;
                }
            }
        }
        self.printed += values.len();
        Ok(())
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        match (self.printer.format, self.printed) {
            (Format::Json, 0) => self.printer.line("[]"),
            (Format::Json, _) => self.printer.line("\n]"),
            (Format::Table, 0) => {
                self.printer.note("no rows");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Prints on stderr. If that is gone there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a failure and returns the exit code.
pub(crate) fn report(failure: &Failure, as_json: bool) -> u8 {
    let (code, value) = match failure {
        Failure::Library(error) => (code_of(error.kind()), error.to_json()),
        Failure::Ended { error, code } => (*code, error.to_json()),
        Failure::Usage { message, guidance } => {
            (2, json!({ "error": { "kind": "Usage", "message": message, "guidance": guidance } }))
        }
        Failure::Input { message, guidance } => {
            (5, json!({ "error": { "kind": "Invalid", "message": message, "guidance": guidance } }))
        }
        Failure::Io { message } => (1, json!({ "error": { "kind": "Internal", "message": message } })),
    };
    if as_json {
        note(&value.to_string());
        return code;
    }
    let text = |name: &str| value.pointer(&format!("/error/{name}")).and_then(Value::as_str);
    let message = text("message").unwrap_or_default();
    let fields = value.pointer("/error/details/fields").and_then(Value::as_array);
    match (message.split_once(" is invalid: "), fields) {
        (Some((what, _)), Some(fields)) if fields.len() > 1 => {
            note(&format!("error: {what} is invalid:"));
            for field in fields {
                note(&format!("  - {}", sentence(field)));
            }
        }
        _ => note(&format!("error: {message}")),
    }
    if let Some(guidance) = text("guidance") {
        note(&format!("  hint: {guidance}"));
    }
    code
}

/// Prints what clap says of the arguments: help and version on stdout, errors on stderr, as JSON where
/// JSON was asked for.
pub(crate) fn report_usage(error: &clap::Error) -> u8 {
    let asked_json = std::env::args()
        .any(|a| matches!(a.as_str(), "--json" | "json" | "jsonl" | "--output=json" | "--output=jsonl"));
    if error.use_stderr() && asked_json {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return report(&Failure::usage(message, "see `s3db --help`"), true);
    }
    // If stdout or stderr is gone there is nobody to tell.
    let _gone = error.print();
    if error.use_stderr() { 2 } else { 0 }
}

/// What is wrong with one field; a definition's problem names its place first.
fn sentence(field: &Value) -> String {
    let text = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("rule") {
        "definition" => format!("{}: {}", text("field"), text("message")),
        _ => text("message").to_owned(),
    }
}

/// The exit code of an error.
pub(crate) fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::Busy => 4,
        ErrorKind::Invalid | ErrorKind::Unsupported => 5,
        ErrorKind::InvalidEvent | ErrorKind::GuardRejected | ErrorKind::GuardError | ErrorKind::FinalState => 6,
        ErrorKind::Unavailable => 7,
        ErrorKind::Integrity => 8,
        _ => 1,
    }
}
