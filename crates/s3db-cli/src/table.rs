//! Tables for people.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use serde_json::Value;

const MAX_CELL: usize = 60;
/// A line under the heading and nothing else: easy to read and to copy from.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table of JSON objects: a column per member, in the order in which members first appear.
pub(crate) fn of(rows: &[Value]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        for name in row.keys() {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
    }
    let cells = rows.iter().map(|row| columns.iter().map(|c| cell(row.get(c))).collect::<Vec<String>>());
    grid(&columns, cells)
}

/// A table with these headings.
pub(crate) fn grid(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_header(columns.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.chars().count() <= MAX_CELL {
        return shown;
    }
    let cut: String = shown.chars().take(MAX_CELL - 1).collect();
    format!("{cut}…")
}
