//! Which rows a filter takes.
//!
//! The language is the part of MongoDB's that people know. A path through a list means its elements:
//! a test holds if it holds for the list itself or for one of them, and a negation if it holds for
//! none. A value that is missing is null.

use std::cmp::Ordering;

use s3db_format::pattern::Pattern;
use serde_json::{Map, Value};

use super::value::{Operand, Texts};
use crate::error::{Error, ErrorKind, Result};

/// A filter, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) root: Node,
}

/// A part of a filter.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// `$and`, and the members of an object.
    All(Vec<Node>),
    /// `$or`.
    Any(Vec<Node>),
    /// `$nor`.
    None(Vec<Node>),
    /// A field's tests, all of which must hold.
    Field(Field),
}

/// A field's tests.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) path: String,
    pub(crate) texts: Texts,
    pub(crate) tests: Vec<Test>,
}

/// A test of a field.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Equal(Operand),
    NotEqual(Operand),
    Greater(Operand),
    GreaterOrEqual(Operand),
    Less(Operand),
    LessOrEqual(Operand),
    In(Vec<Operand>),
    NotIn(Vec<Operand>),
    Exists(bool),
    Matches(Box<Pattern>),
    Contains(Operand),
    StartsWith(String),
    Not(Vec<Test>),
}

/// A row that a filter is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) id: &'a Value,
    pub(crate) attributes: &'a Map<String, Value>,
}

impl Filter {
    /// Whether it takes a row.
    ///
    /// # Errors
    /// A pattern that takes too many steps on one of the row's texts.
    pub(crate) fn takes(&self, row: Row<'_>) -> Result<bool> {
        self.root.holds(row)
    }

    /// Every path that it names.
    pub(crate) fn paths(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        self.root.collect_paths(&mut paths);
        paths
    }

    /// The fields whose tests must hold for every row that is taken.
    pub(crate) fn required(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        self.root.collect_required(&mut fields);
        fields
    }
}

impl Node {
    fn holds(&self, row: Row<'_>) -> Result<bool> {
        match self {
            Node::All(parts) => all(parts, |part| part.holds(row)),
            Node::Any(parts) => any(parts, |part| part.holds(row)),
            Node::None(parts) => Ok(!any(parts, |part| part.holds(row))?),
            Node::Field(field) => {
                let found = found(row, &field.path);
                all(&field.tests, |test| test.holds(&found, field))
            }
        }
    }

    fn collect_paths<'a>(&'a self, paths: &mut Vec<&'a str>) {
        match self {
            Node::All(parts) | Node::Any(parts) | Node::None(parts) => {
                parts.iter().for_each(|part| part.collect_paths(paths));
            }
            Node::Field(field) => paths.push(&field.path),
        }
    }

    fn collect_required<'a>(&'a self, fields: &mut Vec<&'a Field>) {
        match self {
            Node::All(parts) => parts.iter().for_each(|part| part.collect_required(fields)),
            Node::Field(field) => fields.push(field),
            Node::Any(_) | Node::None(_) => {}
        }
    }
}

impl Test {
    fn holds(&self, found: &[Option<&Value>], field: &Field) -> Result<bool> {
        let texts = field.texts;
        let equals = |operand: &Operand| spread(found).any(|value| operand.equals(value, texts));
        let compares = |operand: &Operand, wanted: &[Ordering]| {
            spread(found).any(|value| operand.compare(value, texts).is_some_and(|o| wanted.contains(&o)))
        };
        Ok(match self {
            Test::Equal(operand) => equals(operand),
            Test::NotEqual(operand) => !equals(operand),
            Test::In(operands) => operands.iter().any(equals),
            Test::NotIn(operands) => !operands.iter().any(equals),
            Test::Greater(operand) => compares(operand, &[Ordering::Greater]),
            Test::GreaterOrEqual(operand) => compares(operand, &[Ordering::Greater, Ordering::Equal]),
            Test::Less(operand) => compares(operand, &[Ordering::Less]),
            Test::LessOrEqual(operand) => compares(operand, &[Ordering::Less, Ordering::Equal]),
            Test::Exists(wanted) => found.iter().any(Option::is_some) == *wanted,
            Test::StartsWith(start) => texts_of(found).any(|text| text.starts_with(start)),
            Test::Contains(operand) => contains(found, operand, texts),
            Test::Matches(pattern) => any(texts_of(found), |text| matches(pattern, text, &field.path))?,
            Test::Not(tests) => !all(tests, |test| test.holds(found, field))?,
        })
    }
}

/// A text holds a text; a list holds a value.
fn contains(found: &[Option<&Value>], operand: &Operand, texts: Texts) -> bool {
    let in_text = match operand {
        Operand::Json(Value::String(wanted)) => texts_of(found).any(|text| text.contains(wanted)),
        _ => false,
    };
    let in_list = |value: &&Value| match value {
        Value::Array(items) => items.iter().any(|item| operand.equals(Some(item), texts)),
        _ => false,
    };
    in_text || found.iter().flatten().any(in_list)
}

fn matches(pattern: &Pattern, text: &str, path: &str) -> Result<bool> {
    pattern.is_match(text).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("the pattern of '{path}' takes too many steps on one of its texts"))
            .guide("write it without look-around, back-references and nested repetitions")
    })
}

/// What is at a path: one value, or one for each element of the lists on the way; a missing one is
/// `None`.
fn found<'a>(row: Row<'a>, path: &str) -> Vec<Option<&'a Value>> {
    if path == "id" {
        return vec![Some(row.id)];
    }
    let mut values = Vec::new();
    walk(row.attributes, path, &mut values);
    if values.is_empty() {
        values.push(None);
    }
    values
}

fn walk<'a>(members: &'a Map<String, Value>, path: &str, values: &mut Vec<Option<&'a Value>>) {
    if let Some(value) = members.get(path) {
        values.push(Some(value));
        return;
    }
    match path.split_once('.') {
        Some((head, rest)) => walk_into(members.get(head), rest, values),
        None => values.push(None),
    }
}

fn walk_into<'a>(value: Option<&'a Value>, path: &str, values: &mut Vec<Option<&'a Value>>) {
    match value {
        Some(Value::Object(members)) => walk(members, path, values),
        Some(Value::Array(items)) => walk_list(items, path, values),
        _ => values.push(None),
    }
}

/// A number picks one element; anything else is looked for in each that is an object.
fn walk_list<'a>(items: &'a [Value], path: &str, values: &mut Vec<Option<&'a Value>>) {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    if let Ok(at) = head.parse::<usize>() {
        match rest {
            Some(rest) => walk_into(items.get(at), rest, values),
            None => values.push(items.get(at)),
        }
        return;
    }
    items.iter().filter_map(Value::as_object).for_each(|members| walk(members, path, values));
}

/// The values themselves, and the elements of those that are lists.
fn spread<'a>(found: &'a [Option<&'a Value>]) -> impl Iterator<Item = Option<&'a Value>> {
    found.iter().flat_map(|value| {
        let elements = value.and_then(Value::as_array).into_iter().flatten().map(Some);
        std::iter::once(*value).chain(elements)
    })
}

fn texts_of<'a>(found: &'a [Option<&'a Value>]) -> impl Iterator<Item = &'a str> {
    spread(found).filter_map(|value| value?.as_str())
}

fn all<T>(parts: impl IntoIterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool>) -> Result<bool> {
    for part in parts {
        if !holds(part)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any<T>(parts: impl IntoIterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool>) -> Result<bool> {
    for part in parts {
        if holds(part)? {
            return Ok(true);
        }
    }
    Ok(false)
}
