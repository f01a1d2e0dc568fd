//! The schema of one version of a resource: which short key each attribute has, how its value is
//! encoded, and what rule it must keep.
//!
//! Keys come from the order of the attributes, so the order is data and is never changed.

use serde_json::{Map, Value};

use crate::base62;
use crate::error::DefinitionError;
use crate::js;
use crate::limits;
use crate::rule::{Kind, Rule};
use crate::value::Codec;

/// A version's schema.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Vec<(String, Attribute)>,
    paths: Vec<MappedPath>,
    problems: Vec<DefinitionError>,
}

/// An attribute of the definition tree.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// A rule.
    Leaf(Rule),
    /// Any of several rules.
    OneOf(Vec<Rule>),
    /// A nested object with attributes of its own.
    Nested(Nested),
    /// A definition that we cannot take; values are read, never written.
    Broken,
}

/// A nested object.
#[derive(Debug, Clone)]
pub struct Nested {
    /// Whether it must be there.
    pub required: bool,
    /// Its attributes in property order.
    pub children: Vec<(String, Attribute)>,
}

/// An attribute that has a short key.
#[derive(Debug, Clone)]
pub struct MappedPath {
    /// The dotted path.
    pub path: String,
    /// The short key in base 62.
    pub key: String,
    /// How its value is stored.
    pub codec: Codec,
    /// Whether this is a nested object itself, which is stored only when empty or null.
    pub container: bool,
}

impl Schema {
    /// Builds the schema of `attributes` as they stand in the catalog. What cannot be taken is kept
    /// in [`Schema::problems`], so that the rest of the resource stays readable.
    pub fn new(attributes: &Map<String, Value>, all_nested_optional: bool) -> Self {
        let mut problems = Vec::new();
        let root = build(attributes, "", all_nested_optional, 1, &mut problems);
        Self { root, paths: map_paths(attributes), problems }
    }

    /// The definitions that we cannot take; a resource that has any is read-only.
    pub fn problems(&self) -> &[DefinitionError] {
        &self.problems
    }

    /// The attributes in property order.
    pub fn root(&self) -> &[(String, Attribute)] {
        &self.root
    }

    /// Every attribute with a key, in key order.
    pub fn paths(&self) -> &[MappedPath] {
        &self.paths
    }

    /// The attribute with this dotted path.
    pub fn mapped(&self, path: &str) -> Option<&MappedPath> {
        self.paths.iter().find(|m| m.path == path)
    }

    /// The attribute with this short key, case-sensitively.
    pub fn by_key(&self, key: &str) -> Option<&MappedPath> {
        self.paths.iter().find(|m| m.key == key)
    }

    /// The definition at a dotted path.
    pub fn attribute(&self, path: &str) -> Option<&Attribute> {
        find(&self.root, path)
    }

    /// The type of an attribute as one text; several alternatives are one type.
    pub fn type_of(&self, path: &str) -> Option<String> {
        Some(match self.attribute(path)? {
            Attribute::Leaf(rule) => rule.kind.word().to_owned(),
            Attribute::OneOf(rules) => rules.iter().map(|rule| rule.kind.word()).collect::<Vec<_>>().join(","),
            Attribute::Nested(_) => "object".to_owned(),
            Attribute::Broken => "unknown".to_owned(),
        })
    }

    /// Whether the dotted path may hold a value: declared itself, or inside a value kept whole.
    pub fn admits(&self, path: &str) -> bool {
        self.attribute(path).is_some() || self.free_ancestor(path)
    }

    fn free_ancestor(&self, path: &str) -> bool {
        path.rmatch_indices('.').any(|(at, _)| {
            let parent = path.get(..at).unwrap_or_default();
            matches!(self.attribute(parent), Some(Attribute::Leaf(rule)) if holds_anything(rule.kind))
        })
    }

    /// Dotted paths of the secret attributes.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().filter(|m| m.codec.is_secret()).map(|m| m.path.as_str())
    }

    /// Attribute names that equal a short key in use: 9.2.0 moves their values to other attributes.
    pub fn names_that_equal_keys(&self) -> Vec<&str> {
        self.root
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| self.by_key(name).is_some_and(|m| m.path != *name))
            .collect()
    }
}

/// Whether a value of this kind may hold members that no definition names.
pub(crate) fn holds_anything(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Json | Kind::Any | Kind::Object | Kind::Record | Kind::Custom | Kind::Tuple | Kind::Array | Kind::Equal
    )
}

fn find<'a>(level: &'a [(String, Attribute)], path: &str) -> Option<&'a Attribute> {
    if let Some((_, attribute)) = level.iter().find(|(name, _)| name == path) {
        return Some(attribute);
    }
    let (head, rest) = path.split_once('.')?;
    match level.iter().find(|(name, _)| name == head) {
        Some((_, Attribute::Nested(nested))) => find(&nested.children, rest),
        _ => None,
    }
}

fn build(
    attributes: &Map<String, Value>,
    prefix: &str,
    all_optional: bool,
    depth: usize,
    problems: &mut Vec<DefinitionError>,
) -> Vec<(String, Attribute)> {
    let mut level = Vec::new();
    for (name, definition) in js::property_order(attributes) {
        if name.contains("$$") {
            continue;
        }
        let path = join(prefix, name);
        level.push((name.clone(), attribute(definition, &path, all_optional, depth, problems)));
    }
    level
}

fn attribute(
    definition: &Value,
    path: &str,
    all_optional: bool,
    depth: usize,
    problems: &mut Vec<DefinitionError>,
) -> Attribute {
    let parsed = match definition {
        Value::String(text) => Rule::parse(text).map(Attribute::Leaf),
        Value::Array(rules) => one_of(rules),
        Value::Object(children) if depth < limits::DEPTH => {
            let own_type = children.get("$$type").and_then(Value::as_str);
            let required = match own_type {
                Some(text) if all_optional => text.contains("required"),
                None if all_optional => false,
                text => !text.is_some_and(|t| t.contains("optional")),
            };
            let children = build(children, path, all_optional, depth + 1, problems);
            return Attribute::Nested(Nested { required, children });
        }
        Value::Object(_) => {
            Err(DefinitionError::new(format!("attributes are nested deeper than {} levels", limits::DEPTH)))
        }
        other => Err(DefinitionError::new(format!(
            "{other} is no definition; use a rule such as \"string|min:2\" or a nested object"
        ))),
    };
    parsed.unwrap_or_else(|error| {
        problems.push(error.at(path));
        Attribute::Broken
    })
}

fn one_of(rules: &[Value]) -> Result<Attribute, DefinitionError> {
    let parse = |rule: &Value| match rule {
        Value::String(text) => Rule::parse(text),
        other => Err(DefinitionError::new(format!("{other} is no rule text"))),
    };
    rules.iter().map(parse).collect::<Result<Vec<_>, _>>().map(Attribute::OneOf)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// Flattened leaves first, then the containers; see FORMAT.md section 5.1.
fn map_paths(attributes: &Map<String, Value>) -> Vec<MappedPath> {
    let mut found: Vec<(String, Codec, bool)> = Vec::new();
    leaves(attributes, "", 1, &mut found);
    containers(attributes, "", 1, &mut found);
    let mut paths: Vec<MappedPath> = Vec::with_capacity(found.len());
    let mut seen = std::collections::HashSet::new();
    for (path, codec, container) in found {
        if seen.insert(path.clone()) {
            let key = base62::encode_integer(paths.len() as f64);
            paths.push(MappedPath { path, key, codec, container });
        }
    }
    paths
}

fn leaves(attributes: &Map<String, Value>, prefix: &str, depth: usize, found: &mut Vec<(String, Codec, bool)>) {
    for (name, definition) in js::property_order(attributes) {
        let path = join(prefix, name);
        match definition {
            Value::Object(children) if !children.is_empty() && depth <= limits::DEPTH * 2 => {
                leaves(children, &path, depth + 1, found);
            }
            _ if path.contains("$$") => {}
            other => found.push((path, Codec::of(other), false)),
        }
    }
}

fn containers(attributes: &Map<String, Value>, prefix: &str, depth: usize, found: &mut Vec<(String, Codec, bool)>) {
    for (name, definition) in js::property_order(attributes) {
        let Value::Object(children) = definition else { continue };
        if name.starts_with("$$") || depth > limits::DEPTH * 2 {
            continue;
        }
        let path = join(prefix, name);
        found.push((path.clone(), Codec::Whole, true));
        if children.get("$$type").and_then(Value::as_str) == Some("object") {
            containers(children, &path, depth + 1, found);
        }
    }
}
