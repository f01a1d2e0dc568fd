//! Planning: which keys to look at, and whether rows must be read.

use std::sync::Arc;

use s3db_format::catalog;
use s3db_format::partition::Partition;
use s3db_format::rule::Kind;
use s3db_format::schema::Attribute;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Query;
use super::filter::{Field, Filter, Node, Test};
use super::order::{Order, Position, parse_cursor};
use super::parse::Parser;
use super::value::{Operand, Texts};
use crate::database::Inner;
use crate::error::Result;
use crate::resource::{Source, check_field, check_readable_id, named_partition};

/// Prefixes of one partition that are looked at for `$in`.
const MAX_PREFIXES: usize = 64;

/// How a query is answered.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) resource: Arc<catalog::Resource>,
    pub(crate) source: Source,
    /// Rows must have one of these values of the partition, whatever key led to them.
    pub(crate) within: Option<(Partition, Vec<String>)>,
    /// Rows must pass it.
    pub(crate) filter: Option<Filter>,
    pub(crate) order: Order,
    pub(crate) after: Option<Position>,
    /// Whether the keys say by themselves which rows there are.
    pub(crate) keys_suffice: bool,
    pub(crate) warnings: Vec<String>,
    pub(crate) considered: Vec<Considered>,
}

/// A partition that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Its name.
    pub partition: String,
    /// Whether it is used.
    pub used: bool,
    /// Why, or why not.
    pub reason: String,
}

/// A partition that the filter fixes.
struct Candidate<'a> {
    partition: &'a Partition,
    prefixes: Vec<Vec<String>>,
    /// Whether its keys alone say which rows the filter takes.
    covers: bool,
}

impl Plan {
    /// Plans a query. Costs a GET per partition that is looked at, once a minute.
    ///
    /// # Errors
    /// `Invalid` for a filter, field, order or cursor that cannot be.
    pub(crate) async fn of(inner: &Inner, name: &str, query: &Query) -> Result<Self> {
        let resource = inner.resource(name).await?;
        for field in query.fields.iter().flatten() {
            check_field(&resource, field)?;
        }
        let parser = Parser { resource: &resource, now_ms: inner.store.now_ms() };
        let filter = query.filter.as_ref().map(|filter| parser.filter(filter)).transpose()?;
        let order = Order::of(&query.order_by, &resource)?;
        let after = query.after.as_ref().map(|cursor| parse_cursor(&query.order_by, cursor)).transpose()?;
        let mut plan = Self {
            resource: Arc::clone(&resource),
            source: Source::Records,
            within: None,
            keys_suffice: filter.as_ref().is_none_or(|f| takes_all(&f.root)),
            filter,
            order,
            after,
            warnings: Vec::new(),
            considered: Vec::new(),
        };
        match &query.partition {
            Some((name, values)) => plan.use_named(inner, name, values).await?,
            None => plan.choose(inner).await?,
        }
        Ok(plan)
    }

    /// The partition that the caller names.
    async fn use_named(&mut self, inner: &Inner, name: &str, values: &Map<String, Value>) -> Result<()> {
        let (partition, values) = named_partition(&self.resource, name, values)?;
        let partition = partition.clone();
        if inner.is_indexed(&self.resource, &partition).await? {
            self.consider(&partition, true, "named by the caller".into());
            self.source = Source::Index { partition: partition.clone(), prefixes: vec![values.clone()] };
        } else {
            self.consider(&partition, false, "named by the caller, but its index is not complete".into());
            self.keys_suffice = false;
            self.warn_of_scan(&partition);
        }
        self.within = Some((partition, values));
        Ok(())
    }

    /// Looks for the fewest keys by itself: ids that the filter names, else the partition of which it
    /// fixes the most fields.
    async fn choose(&mut self, inner: &Inner) -> Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        if let Some(ids) = fixed_ids(filter) {
            self.source = Source::Ids(ids);
            self.keys_suffice = false;
            return Ok(());
        }
        if inner.is_shared() || inner.is_shared_by_others() {
            return Ok(());
        }
        let resource = Arc::clone(&self.resource);
        let mut candidates = Vec::new();
        let mut considered = Vec::new();
        for partition in resource.partitions() {
            match candidate(&resource, partition, filter) {
                Ok(found) => candidates.push(found),
                Err(reason) => considered.push(Considered { partition: partition.name.clone(), used: false, reason }),
            }
        }
        candidates.sort_by_key(|c| (std::cmp::Reverse(c.partition.fields().len()), c.prefixes.len()));
        self.considered = considered;
        for Candidate { partition, prefixes, covers } in candidates {
            if !matches!(self.source, Source::Records) {
                self.consider(partition, false, "another one has as many fields".into());
                continue;
            }
            if !inner.is_indexed(&resource, partition).await? {
                self.consider(partition, false, "its index is not complete".into());
                self.warn_of_scan(partition);
                continue;
            }
            self.consider(partition, true, "the filter fixes its fields".into());
            self.source = Source::Index { partition: partition.clone(), prefixes };
            self.keys_suffice = covers;
            self.warnings.clear();
        }
        Ok(())
    }

    fn consider(&mut self, partition: &Partition, used: bool, reason: String) {
        self.considered.push(Considered { partition: partition.name.clone(), used, reason });
    }

    fn warn_of_scan(&mut self, partition: &Partition) {
        let warning = format!(
            "partition '{}' has no complete index, so all rows are read; build it with `s3db resource reindex {}`",
            partition.name, self.resource.name
        );
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }

    /// Whether ids and counts from the keys are exact: those of the whole resource.
    pub(crate) fn keys_are_exact(&self) -> bool {
        matches!(self.source, Source::Records)
    }

    /// Whether an answer from the keys, or from rows, is exact: rows are always looked at.
    pub(crate) fn is_exact(&self, from_keys: bool) -> bool {
        !from_keys || self.keys_are_exact()
    }

    /// Whether the keys answer a query for ids or a count.
    pub(crate) fn ids_from_keys(&self, query: &Query) -> bool {
        let natural = !matches!(self.order, Order::Fields(_));
        self.keys_suffice && natural && (self.keys_are_exact() || !query.exact)
    }

    /// Whether the keys answer a query for rows: only fields are wanted that they hold, or none at all.
    pub(crate) fn rows_from_keys(&self, query: &Query) -> bool {
        let held = |field: &String| match &self.source {
            _ if field == "id" => true,
            Source::Index { partition, .. } => value_kind(&self.resource, partition, field).is_some(),
            Source::Records | Source::Ids(_) => false,
        };
        let answers = |fields: &Vec<String>| fields.is_empty() || !query.exact && fields.iter().all(held);
        self.ids_from_keys(query) && query.fields.as_ref().is_some_and(answers)
    }

    /// The fields that the keys hold, as values.
    pub(crate) fn values_of(&self, texts: &[String], wanted: &[String]) -> Map<String, Value> {
        let mut attributes = Map::new();
        let Source::Index { partition, .. } = &self.source else { return attributes };
        for ((path, _), text) in partition.fields().iter().zip(texts) {
            if wanted.contains(path)
                && let Some(kind) = value_kind(&self.resource, partition, path)
            {
                s3db_format::record::set_path(&mut attributes, path, kind.value(text));
            }
        }
        attributes
    }
}

/// Whether a filter takes every row, so that nothing needs to be read for it.
fn takes_all(node: &Node) -> bool {
    matches!(node, Node::All(parts) if parts.iter().all(takes_all))
}

/// The ids that a filter names, in order.
fn fixed_ids(filter: &Filter) -> Option<Vec<String>> {
    let required = filter.required();
    if required.iter().any(|field| field.tests.iter().any(|t| matches!(t, Test::In(list) if list.is_empty()))) {
        return Some(Vec::new());
    }
    let operands = required.iter().filter(|f| f.path == "id").find_map(|f| fixed(f))?;
    let mut ids: Vec<String> = operands
        .iter()
        .filter_map(|operand| match operand {
            // Others cannot exist.
            Operand::Json(Value::String(id)) if check_readable_id(id).is_ok() => Some(id.clone()),
            _ => None,
        })
        .collect();
    // An id that reads as an instant equals every other spelling of it.
    if operands.iter().any(|o| o.is_instant(Texts::Plain)) {
        return None;
    }
    ids.sort();
    ids.dedup();
    Some(ids)
}

/// The values that a field's tests leave.
fn fixed(field: &Field) -> Option<&[Operand]> {
    field.tests.iter().find_map(|test| match test {
        Test::Equal(operand) => Some(std::slice::from_ref(operand)),
        Test::In(operands) => Some(operands.as_slice()),
        _ => None,
    })
}

/// What the filter fixes of a partition, or why it is of no use. It must fix every field: a row in which
/// one is missing has no place in the partition.
fn candidate<'a>(
    resource: &catalog::Resource,
    partition: &'a Partition,
    filter: &Filter,
) -> std::result::Result<Candidate<'a>, String> {
    let required = filter.required();
    let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
    for (path, rule) in partition.fields() {
        let texts = segments(resource, path, rule, &required)?;
        if prefixes.len() * texts.len() > MAX_PREFIXES {
            return Err(format!("more than {MAX_PREFIXES} of its values are asked for"));
        }
        let longer = prefixes
            .iter()
            .flat_map(|prefix| texts.iter().map(|t| [prefix.as_slice(), std::slice::from_ref(t)].concat()));
        prefixes = longer.collect();
    }
    if partition.fields().is_empty() {
        return Err("it has no fields".into());
    }
    let covers = covers(resource, partition, filter, &required);
    Ok(Candidate { partition, prefixes, covers })
}

/// The texts in keys of every row that the filter takes, for one field.
fn segments(
    resource: &catalog::Resource,
    path: &str,
    rule: &str,
    required: &[&Field],
) -> std::result::Result<Vec<String>, String> {
    let field = required.iter().find(|f| f.path == path && fixed(f).is_some());
    let Some((field, operands)) = field.and_then(|f| Some((f, fixed(f)?))) else {
        return Err(format!("the filter does not fix '{path}'"));
    };
    let kind = scalar(resource, path).ok_or_else(|| format!("'{path}' may hold lists, or values of several types"))?;
    let mut texts = Vec::new();
    for operand in operands {
        texts.push(
            segment(kind, rule, operand, field.texts)
                .ok_or_else(|| format!("rows whose '{path}' equals what is asked for may lie under several keys"))?,
        );
    }
    texts.sort();
    texts.dedup();
    Ok(texts)
}

/// The one text in keys of all values that equal an operand.
fn segment(kind: Scalar, rule: &str, operand: &Operand, texts: Texts) -> Option<String> {
    let Operand::Json(value) = operand else { return None };
    let by_day = rule.contains("date");
    let fits = match (kind, value) {
        (Scalar::Text, Value::String(_)) => by_day && !rule.contains("maxlength") || !operand.is_instant(texts),
        (Scalar::Number, Value::Number(n)) => s3db_format::js::as_f64(n).abs() <= s3db_format::js::MAX_SAFE_INTEGER,
        (Scalar::Boolean, Value::Bool(_)) => true,
        _ => false,
    };
    fits.then(|| s3db_format::partition::field_text(value, rule))?
}

/// Whether the keys alone say which rows the filter takes: it asks for nothing but values of the
/// fields that it fixes, and the keys hold those whole.
fn covers(resource: &catalog::Resource, partition: &Partition, filter: &Filter, required: &[&Field]) -> bool {
    let fixed_by_key = |field: &&Field| {
        let at = partition.fields().iter().any(|(path, _)| *path == field.path);
        at && field.tests.len() == 1 && fixed(field).is_some() && value_kind(resource, partition, &field.path).is_some()
    };
    is_conjunction(&filter.root) && required.len() == partition.fields().len() && required.iter().all(fixed_by_key)
}

fn is_conjunction(node: &Node) -> bool {
    match node {
        Node::All(parts) => parts.iter().all(is_conjunction),
        Node::Field(_) => true,
        Node::Any(_) | Node::None(_) => false,
    }
}

/// A type whose values have one text in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text,
    Number,
    Boolean,
}

impl Scalar {
    fn value(self, text: &str) -> Value {
        let number = || text.parse::<f64>().ok().and_then(s3db_format::js::to_number);
        match self {
            Scalar::Number => number().map_or_else(|| Value::String(text.to_owned()), Value::Number),
            Scalar::Boolean => Value::Bool(text == "true"),
            Scalar::Text => Value::String(text.to_owned()),
        }
    }
}

/// The type of a field, if it has the same in all versions.
fn scalar(resource: &catalog::Resource, path: &str) -> Option<Scalar> {
    let of = |attribute: &Attribute| match attribute {
        Attribute::Leaf(rule) => match rule.kind {
            Kind::String | Kind::Email | Kind::Url | Kind::Uuid | Kind::Mac | Kind::Luhn | Kind::Currency => {
                Some(Scalar::Text)
            }
            Kind::Date => Some(Scalar::Text),
            Kind::Number => Some(Scalar::Number),
            Kind::Boolean => Some(Scalar::Boolean),
            _ => None,
        },
        _ => None,
    };
    let mut kinds = resource.versions().iter().filter_map(|v| v.schema.attribute(path)).map(of);
    let first = kinds.next()??;
    kinds.all(|kind| kind == Some(first)).then_some(first)
}

/// The type of a field whose values a partition's keys hold whole.
fn value_kind(resource: &catalog::Resource, partition: &Partition, path: &str) -> Option<Scalar> {
    let (_, rule) = partition.fields().iter().find(|(field, _)| field == path)?;
    let whole = !rule.contains("date") && !rule.contains("maxlength");
    scalar(resource, path).filter(|_| whole)
}
