//! The order of rows, and the cursors that say how far a reader has come in it.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3db_format::catalog;
use s3db_format::partition::get_path;
use serde_json::{Map, Value, json};

use super::OrderBy;
use super::parse::texts_of;
use super::value::{Rank, Texts};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::check_field;

/// The order of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// As the keys lie.
    Id,
    /// The other way round.
    IdDescending,
    /// By fields, then by id.
    Fields(Vec<Key>),
}

/// A field of an order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    by: OrderBy,
    texts: Texts,
}

/// Where a row stands in an order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Position {
    pub(crate) ranks: Vec<Rank>,
    pub(crate) id: String,
}

impl Order {
    /// The order that a query asks for.
    ///
    /// # Errors
    /// `Invalid` for a field that is not there, or a secret one.
    pub(crate) fn of(order_by: &[OrderBy], resource: &catalog::Resource) -> Result<Self> {
        for by in order_by {
            check_field(resource, &by.field).map_err(|e| e.context("orderBy"))?;
            if resource.versions().iter().any(|v| v.schema.secrets().any(|s| s == by.field)) {
                return Err(Error::new(ErrorKind::Invalid, format!("orderBy: '{}' is a secret", by.field))
                    .guide("order by another field: cursors would show its values"));
            }
        }
        match order_by {
            [] => Ok(Order::Id),
            [first, ..] if first.field == "id" => Ok(if first.descending { Order::IdDescending } else { Order::Id }),
            several => Ok(Order::Fields(
                several.iter().map(|by| Key { by: by.clone(), texts: texts_of(resource, &by.field) }).collect(),
            )),
        }
    }

    /// Where a row stands.
    pub(crate) fn position(&self, id: &str, attributes: &Map<String, Value>) -> Position {
        let rank = |key: &Key| match key.by.field.as_str() {
            "id" => Rank::Text(id.to_owned()),
            path => Rank::of(get_path(attributes, path), key.texts),
        };
        let ranks = match self {
            Order::Fields(keys) => keys.iter().map(rank).collect(),
            Order::Id | Order::IdDescending => Vec::new(),
        };
        Position { ranks, id: id.to_owned() }
    }

    pub(crate) fn compare(&self, a: &Position, b: &Position) -> Ordering {
        let keys = match self {
            Order::Id => return a.id.cmp(&b.id),
            Order::IdDescending => return b.id.cmp(&a.id),
            Order::Fields(keys) => keys,
        };
        let ranks = keys.iter().zip(a.ranks.iter().zip(&b.ranks));
        let by_rank = ranks.map(|(key, (a, b))| if key.by.descending { b.compare(a) } else { a.compare(b) });
        by_rank.fold(Ordering::Equal, Ordering::then).then_with(|| a.id.cmp(&b.id))
    }
}

/// The cursor behind a row: its id where no order was asked for, else an opaque text.
pub(crate) fn cursor(order_by: &[OrderBy], position: &Position) -> String {
    if order_by.is_empty() {
        return position.id.clone();
    }
    let ranks: Vec<Value> = position.ranks.iter().map(Rank::to_json).collect();
    BASE64.encode(json!([spelling(order_by), ranks, position.id]).to_string())
}

/// The position that a cursor names.
///
/// # Errors
/// `Invalid` for a text that is no cursor, or one of another order.
pub(crate) fn parse_cursor(order_by: &[OrderBy], cursor: &str) -> Result<Position> {
    if order_by.is_empty() {
        return Ok(Position { ranks: Vec::new(), id: cursor.to_owned() });
    }
    let decoded = BASE64.decode(cursor).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let parts = decoded.as_ref().and_then(Value::as_array).map(Vec::as_slice);
    let invalid = |message: &str| {
        Error::new(ErrorKind::Invalid, format!("after: {message}"))
            .guide("give the cursor that the page before returned, with the same order")
    };
    let Some([Value::String(order), Value::Array(ranks), Value::String(id)]) = parts else {
        return Err(invalid(&format!("'{cursor}' is no cursor")));
    };
    if *order != spelling(order_by) {
        return Err(invalid(&format!("this cursor belongs to the order '{order}'")));
    }
    let ranks: Option<Vec<Rank>> = ranks.iter().map(Rank::from_json).collect();
    let fits = |ranks: &Vec<Rank>| ranks.is_empty() || ranks.len() == order_by.len();
    let ranks = ranks.filter(fits).ok_or_else(|| invalid("this cursor is damaged"))?;
    Ok(Position { ranks, id: id.clone() })
}

fn spelling(order_by: &[OrderBy]) -> String {
    order_by.iter().map(OrderBy::to_string).collect::<Vec<_>>().join(",")
}
