//! Records as rows of a CSV file, and back, so that every value comes back equal.
//!
//! A column holds an attribute, a nested one by its dotted path. A cell holds text as it is, numbers
//! and booleans in their usual form, lists and free objects as JSON. Empty is missing, `null` is null;
//! a text that would be taken for one of these, or that begins with a quotation mark, is written as a
//! JSON text. What no column holds (an empty nested object, say, or an attribute that only old records
//! have) stands in the last column, `_json`, as an object that is merged into the row.

use s3db_format::catalog;
use s3db_format::rule::Kind;
use s3db_format::schema::Attribute;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The column of what no other holds.
const REST: &str = "_json";
const ID: &str = "id";

/// The columns of a CSV file.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
/// # use s3db::{CsvColumns, Database, ResourceDefinition};
/// # use serde_json::json;
/// let db = Database::connect("memory://csv").await?;
/// let users = db.create_resource(ResourceDefinition::new("users").attribute("name", "string")).await?;
/// let entry = users.catalog_entry().await?;
/// let columns = CsvColumns::of(&entry, false);
/// assert_eq!(columns.names(), ["id", "name", "_json"]);
/// let ana = users.insert(json!({"id": "ana", "name": "Ana, the first"})).await?;
/// assert_eq!(columns.row(&ana), ["ana", "Ana, the first", ""]);
/// assert_eq!(columns.record(&["ana", "Ana, the first", ""]), Ok(ana.to_json()));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct CsvColumns(Vec<Column>);

#[derive(Debug, Clone)]
struct Column {
    path: Vec<String>,
    name: String,
    form: Form,
}

/// What the cells of a column look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Text as it is.
    Text,
    /// A JSON value; a text that is none is itself.
    Json,
}

impl CsvColumns {
    /// The columns of a resource: id, the attributes of all versions, and what no other holds.
    pub fn of(resource: &catalog::Resource, with_secrets: bool) -> Self {
        let mut columns = vec![Column::new(ID, Form::Text)];
        let newest_first = resource.versions().iter().rev();
        for version in std::iter::once(resource.current()).chain(newest_first) {
            collect(version.schema.root(), &[], with_secrets, &mut columns);
        }
        columns.push(Column::new(REST, Form::Json));
        Self(columns)
    }

    /// The columns that the heading of a file names.
    ///
    /// # Errors
    /// `Invalid` for a column that the resource does not have, with what was meant, and for one that is
    /// there twice.
    pub fn from_heading<'a>(resource: &catalog::Resource, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let known = Self::of(resource, true).0;
        let mut columns: Vec<Column> = Vec::new();
        for name in names {
            let column = known.iter().find(|c| c.name == name).cloned();
            let column = column.or_else(|| parent(&known, name)).ok_or_else(|| unknown(resource, &known, name))?;
            if columns.iter().any(|c| c.name == name) {
                return Err(Error::new(ErrorKind::Invalid, format!("the column '{name}' is there twice"))
                    .guide("remove one of them; nothing was written"));
            }
            columns.push(column);
        }
        Ok(Self(columns))
    }

    /// The names of the columns.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|column| column.name.as_str()).collect()
    }

    /// A record's cells.
    pub fn row(&self, record: &crate::Record) -> Vec<String> {
        let mut rest = record.attributes.clone();
        let mut cells = Vec::with_capacity(self.0.len());
        for column in &self.0 {
            cells.push(match column.name.as_str() {
                ID => Form::Text.cell(&Value::String(record.id.clone())).unwrap_or_default(),
                REST if rest.is_empty() => String::new(),
                REST => Value::Object(std::mem::take(&mut rest)).to_string(),
                _ => take(&mut rest, &column.path, column.form).unwrap_or_default(),
            });
        }
        cells
    }

    /// The record in a row of cells.
    ///
    /// # Errors
    /// Why the row is none.
    pub fn record(&self, cells: &[impl AsRef<str>]) -> std::result::Result<Value, String> {
        if cells.len() != self.0.len() {
            return Err(format!("the row has {} cells, the heading {}", cells.len(), self.0.len()));
        }
        let mut record = Map::new();
        for (column, cell) in self.0.iter().zip(cells) {
            let Some(value) = column.form.value(cell.as_ref()) else { continue };
            match (column.name.as_str(), value) {
                (REST, Value::Object(rest)) => merge(&mut record, rest),
                (REST, _) => return Err(format!("the cell of '{REST}' is no JSON object")),
                (_, value) => put(&mut record, &column.path, value),
            }
        }
        Ok(Value::Object(record))
    }
}

impl Column {
    fn new(name: &str, form: Form) -> Self {
        Self { path: vec![name.to_owned()], name: name.to_owned(), form }
    }
}

impl Form {
    fn of(attribute: &Attribute) -> Self {
        let text = |kind: Kind| {
            use Kind::{Currency, Date, Email, Luhn, Mac, Secret, SecretAny, String, Url, Uuid};
            matches!(kind, String | Email | Url | Uuid | Mac | Luhn | Currency | Date | Secret | SecretAny)
        };
        match attribute {
            Attribute::Leaf(rule) if text(rule.kind) => Form::Text,
            _ => Form::Json,
        }
    }

    /// The cell of a value; `None` if it has none of this form.
    fn cell(self, value: &Value) -> Option<String> {
        match (self, value) {
            (_, Value::Null) => Some("null".to_owned()),
            (_, Value::String(text)) if self.value(text).as_ref() == Some(value) => Some(text.clone()),
            (_, Value::String(_)) => Some(value.to_string()),
            (Form::Json, other) => Some(other.to_string()),
            (Form::Text, _) => None,
        }
    }

    /// The value in a cell; `None` if it is missing.
    fn value(self, cell: &str) -> Option<Value> {
        let parsed = || serde_json::from_str(cell).ok();
        let itself = || Value::String(cell.to_owned());
        let value = match self {
            _ if cell.is_empty() => return None,
            _ if cell == "null" => Value::Null,
            Form::Text if cell.starts_with('"') => parsed().filter(Value::is_string).unwrap_or_else(itself),
            Form::Text => itself(),
            // As spreadsheets write them.
            Form::Json if cell == "TRUE" => Value::Bool(true),
            Form::Json if cell == "FALSE" => Value::Bool(false),
            Form::Json => parsed().unwrap_or_else(itself),
        };
        Some(value)
    }
}

/// A column for each leaf that has none yet.
fn collect(level: &[(String, Attribute)], above: &[String], with_secrets: bool, columns: &mut Vec<Column>) {
    for (name, attribute) in level {
        let path = [above, std::slice::from_ref(name)].concat();
        match attribute {
            Attribute::Nested(nested) => collect(&nested.children, &path, with_secrets, columns),
            Attribute::Leaf(rule) if rule.kind.is_secret() && !with_secrets => {}
            attribute => {
                let name = path.join(".");
                if !columns.iter().any(|column| column.name == name) {
                    columns.push(Column { path, name, form: Form::of(attribute) });
                }
            }
        }
    }
}

/// A whole nested object may be a column too, as JSON.
fn parent(known: &[Column], name: &str) -> Option<Column> {
    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
    let is_parent = known.iter().any(|column| column.path.len() > path.len() && column.path.starts_with(&path));
    is_parent.then(|| Column { path, name: name.to_owned(), form: Form::Json })
}

fn unknown(resource: &catalog::Resource, known: &[Column], name: &str) -> Error {
    let names = known.iter().map(|column| column.name.as_str());
    let hint = s3db_format::error::did_you_mean(name, names.clone())
        .unwrap_or_else(|| format!("columns: {}", names.collect::<Vec<_>>().join(", ")));
    Error::new(ErrorKind::Invalid, format!("resource '{}' has no field for the column '{name}'", resource.name))
        .guide(format!("{hint}; the first line is the heading, with commas between; nothing was written"))
}

/// Takes the value at a path out, with the objects that this leaves empty, if a cell can hold it.
fn take(members: &mut Map<String, Value>, path: &[String], form: Form) -> Option<String> {
    let (head, rest) = path.split_first()?;
    if rest.is_empty() {
        let cell = form.cell(members.get(head)?)?;
        members.shift_remove(head);
        return Some(cell);
    }
    let inner = members.get_mut(head)?.as_object_mut()?;
    let cell = take(inner, rest, form)?;
    if inner.is_empty() {
        members.shift_remove(head);
    }
    Some(cell)
}

fn put(members: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((head, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        members.insert(head.clone(), value);
        return;
    }
    let inner = members.entry(head.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}

fn merge(members: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (members.get_mut(&name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => {
                members.insert(name, value);
            }
        }
    }
}
