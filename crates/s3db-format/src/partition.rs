//! Partitions: which rows share a value, and the keys that say so.
//!
//! Two kinds of keys exist. *References* are those of s3db.js
//! (`resource=R/partition=P/field=value/id=ID`); *index keys* are ours
//! (`s3db/tmp/index/R/P/field=value/ID!REV`), which carry a revision so that a late delete can never
//! hurt a newer key.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::collation;
use crate::date;
use crate::error::DefinitionError;
use crate::js;
use crate::rule::Rule;

/// Characters that stand for themselves in a segment of an index key.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A partition's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    fields: Vec<(String, String)>,
}

impl Partition {
    /// A partition over `fields` (dotted path, rule), in the order that keys use.
    pub fn new(name: &str, fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut fields: Vec<(String, String)> = fields.into_iter().collect();
        fields.sort_by_cached_key(|(path, _)| collation::sort_key(path));
        Self { name: name.to_owned(), fields }
    }

    /// Reads a partition from the catalog; members that are no text are left out.
    pub fn from_json(name: &str, definition: &Value) -> Self {
        let fields = definition.get("fields").and_then(Value::as_object).cloned().unwrap_or_default();
        let texts = fields.into_iter().filter_map(|(path, rule)| Some((path, rule.as_str()?.to_owned())));
        Self::new(name, texts)
    }

    /// The fields with their rules, in key order.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The texts that a record has for this partition's fields; `None` if it has no place in it
    /// because a field is missing or null.
    pub fn values(&self, record: &Map<String, Value>, version: &str) -> Option<Vec<String>> {
        if self.fields.is_empty() {
            return None;
        }
        self.fields
            .iter()
            .map(|(path, rule)| match path.as_str() {
                "_v" => Some(version.to_owned()),
                _ => field_text(get_path(record, path)?, rule),
            })
            .collect()
    }

    /// The texts that a caller's values stand for, as many leading fields as are given.
    ///
    /// # Errors
    /// The name of the first field that is missing before one that is given, or that is unknown.
    pub fn given_values(&self, given: &Map<String, Value>) -> Result<Vec<String>, String> {
        if let Some(unknown) = given.keys().find(|k| !self.fields.iter().any(|(path, _)| path == *k)) {
            return Err(unknown.clone());
        }
        let mut texts = Vec::new();
        for (path, rule) in &self.fields {
            match given.get(path).and_then(|value| field_text(value, rule)) {
                Some(text) => texts.push(text),
                None if texts.len() == given.len() => break,
                None => return Err(path.clone()),
            }
        }
        Ok(texts)
    }

    /// s3db.js's reference key of a row, without the database's prefix.
    pub fn reference_key(&self, resource: &str, values: &[String], id: &str) -> String {
        let mut key = format!("resource={resource}/partition={}/", self.name);
        for ((path, _), value) in self.fields.iter().zip(values) {
            key.push_str(&format!("{path}={value}/"));
        }
        key.push_str(&format!("id={id}"));
        posix_normalise(&key)
    }

    /// The prefix of s3db.js's references under which rows with these leading values lie; with all
    /// values the id follows it.
    pub fn reference_prefix(&self, resource: &str, values: &[String]) -> String {
        if values.len() == self.fields.len() {
            return format!("{}id=", self.reference_key(resource, values, "x").trim_end_matches("id=x"));
        }
        let mut key = format!("resource={resource}/partition={}/", self.name);
        for ((path, _), value) in self.fields.iter().zip(values) {
            key.push_str(&format!("{path}={value}/"));
        }
        format!("{}/", posix_normalise(&key))
    }

    /// The id behind a reference: what follows the last field's value. Ids and values are not escaped
    /// in references, so this is a guess where they hold `/id=`; the row decides.
    pub fn parse_reference(&self, resource: &str, key: &str) -> Option<String> {
        let rest = key.strip_prefix(&format!("resource={resource}/partition={}/", self.name))?;
        let (last, _) = self.fields.last()?;
        let field = format!("{last}=");
        let at = if rest.starts_with(&field) { 0 } else { rest.find(&format!("/{field}"))? + 1 };
        let (_, id) = rest.get(at..)?.split_once("/id=")?;
        Some(id.to_owned())
    }

    /// The prefix of our index keys under which rows with these leading values lie.
    pub fn index_prefix(&self, resource: &str, values: &[String]) -> String {
        let mut key = format!("{}{}/{}/", crate::keys::INDEX, segment(resource), segment(&self.name));
        for ((path, _), value) in self.fields.iter().zip(values) {
            key.push_str(&format!("{}={}/", segment(path), segment(value)));
        }
        key
    }

    /// Our index key of a row under one revision.
    pub fn index_key(&self, resource: &str, values: &[String], id: &str, revision: &str) -> String {
        format!("{}{}!{revision}", self.index_prefix(resource, values), id_segment(id))
    }

    /// The values, id and revision behind an index key of this partition, given what follows the
    /// partition's own prefix. `None` if it is no such key.
    pub fn parse_index_key(&self, resource: &str, key: &str) -> Option<IndexEntry> {
        let rest = key.strip_prefix(&self.index_prefix(resource, &[]))?;
        let segments: Vec<&str> = rest.split('/').collect();
        let (fields, tail) = segments.split_at_checked(self.fields.len())?;
        let [row] = tail else { return None };
        let (id, revision) = row.split_once('!')?;
        let values = fields
            .iter()
            .zip(&self.fields)
            .map(|(text, (path, _))| decode(text.strip_prefix(&format!("{}=", segment(path)))?))
            .collect::<Option<Vec<String>>>()?;
        Some(IndexEntry { values, id: decode(id)?, revision: revision.to_owned() })
    }
}

/// What an index key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The texts of the partition's fields.
    pub values: Vec<String>,
    /// The row's id.
    pub id: String,
    /// The revision under which the key was put.
    pub revision: String,
}

/// One segment of an index key. A segment of dots alone is encoded, so that no path walks upwards.
pub(crate) fn segment(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b == b'.') {
        return "%2E".repeat(text.len());
    }
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Whether index keys hold this character of an id escaped. All of them but `%` and `/` come before every
/// character that stands for itself, and so does the `!` behind an id: under one prefix, keys of ids
/// without such characters are in the order of the ids.
pub fn is_escaped_in_ids(c: char) -> bool {
    c <= '%' || c == '/' || c == '\u{7f}'
}

/// An id in an index key.
pub fn id_segment(id: &str) -> String {
    let mut segment = String::with_capacity(id.len());
    for c in id.chars() {
        if is_escaped_in_ids(c) {
            segment.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            segment.push(c);
        }
    }
    segment
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The value at a dotted path; a member whose own name holds the dots is found too.
pub fn get_path<'a>(record: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = record.get(path) {
        return Some(value);
    }
    let (head, rest) = path.split_once('.')?;
    get_path(record.get(head)?.as_object()?, rest)
}

/// A field's text after its rule: cut to `maxlength` first, then, for a `date`, its UTC day.
pub fn field_text(value: &Value, rule: &str) -> Option<String> {
    let mut value = match value {
        Value::Null => return None,
        Value::String(text) => text.as_str(),
        other => return Some(js::to_text(other)),
    };
    if let Some(units) = max_length(rule) {
        value = js::utf16_prefix(value, units);
    }
    if rule.contains("date") {
        return Some(day_text(value));
    }
    Some(value.to_owned())
}

/// Checks the rule of a field: a type, and `maxlength:N` or the options of the type's own rules, which
/// say nothing here.
pub(crate) fn check_rule(rule: &str) -> Result<(), DefinitionError> {
    let length = rule.split('|').map(str::trim).filter_map(|word| word.strip_prefix("maxlength:"));
    if let Some(wrong) = length.clone().find(|digits| !digits.bytes().all(|b| b.is_ascii_digit()) || digits.is_empty())
    {
        return Err(DefinitionError::new(format!("'maxlength:{wrong}' needs a number, as in 'string|maxlength:10'")));
    }
    if rule.split('|').all(|word| word.trim().starts_with("maxlength:")) {
        return Ok(());
    }
    Rule::parse(&rule.split('|').filter(|word| !word.trim().starts_with("maxlength:")).collect::<Vec<_>>().join("|"))
        .map(|_| ())
}

fn max_length(rule: &str) -> Option<usize> {
    let (_, rest) = rule.split_once("maxlength:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn day_text(text: &str) -> String {
    if text.contains('T') && text.contains('Z') {
        return text.split('T').next().unwrap_or_default().to_owned();
    }
    date::js_day(text).unwrap_or_else(|| text.to_owned())
}

/// Node's `path.posix.join` for a relative path: `//` collapses, `.` and `..` segments are resolved.
fn posix_normalise(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if out.last().is_some_and(|last| *last != "..") => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out.join("/")
}
