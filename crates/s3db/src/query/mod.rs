//! Queries: what is asked, and how it is answered.

pub(crate) mod duration;
pub(crate) mod filter;
pub(crate) mod order;
pub(crate) mod parse;
pub(crate) mod plan;
pub(crate) mod value;

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::error::Error;

/// What rows are wanted, in which order, and how much of them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
/// use s3db::{Database, OrderBy, Query, ResourceDefinition};
/// use serde_json::json;
/// let db = Database::connect("memory://queries").await?;
/// let users = db.create_resource(ResourceDefinition::new("users").attribute("age", "number")).await?;
/// for (id, age) in [("ana", 31), ("ben", 17), ("cleo", 52)] {
///     users.insert(json!({"id": id, "age": age})).await?;
/// }
/// let adults = Query::filter(json!({"age": {"$gte": 18}})).order_by(OrderBy::descending("age"));
/// let ids: Vec<String> = users.list(&adults).await?.items.into_iter().map(|user| user.id).collect();
/// assert_eq!(ids, ["cleo", "ana"]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Which rows: the part of MongoDB's language that `docs/queries.md` describes. `None` is all.
    pub filter: Option<Value>,
    /// The order; rows that are equal in it come in the order of their ids. Empty is by id.
    pub order_by: Vec<OrderBy>,
    /// At most this many rows; `None` is all.
    pub limit: Option<usize>,
    /// Leave out this many rows at the beginning.
    pub offset: usize,
    /// Only rows behind this cursor: the `next` of the page before.
    pub after: Option<String>,
    /// Only rows with these values of a partition's leading fields.
    pub partition: Option<(String, Map<String, Value>)>,
    /// Only these fields, as dotted paths; `None` is all.
    pub fields: Option<Vec<String>>,
    /// Leave secrets out; then no passphrase is needed.
    pub omit_secrets: bool,
    /// Read every row, also where the keys of a partition would answer.
    pub exact: bool,
}

impl Query {
    /// All rows.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The rows that a filter takes.
    #[must_use]
    pub fn filter(filter: Value) -> Self {
        Self { filter: Some(filter), ..Self::default() }
    }

    /// In this order; further calls order rows that are equal so far.
    #[must_use]
    pub fn order_by(mut self, by: OrderBy) -> Self {
        self.order_by.push(by);
        self
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Without so many rows at the beginning.
    #[must_use]
    pub fn offset(mut self, rows: usize) -> Self {
        self.offset = rows;
        self
    }

    /// Only rows behind this cursor.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// Only rows with these values of a partition.
    #[must_use]
    pub fn partition(mut self, name: impl Into<String>, values: Value) -> Self {
        let values = values.as_object().cloned().unwrap_or_default();
        self.partition = Some((name.into(), values));
        self
    }

    /// Only these fields.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fields = Some(fields.into_iter().map(Into::into).collect());
        self
    }

    /// Leaves secrets out.
    #[must_use]
    pub fn omit_secrets(mut self, omit: bool) -> Self {
        self.omit_secrets = omit;
        self
    }

    /// Reads every row, also where the keys of a partition would answer.
    #[must_use]
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }
}

/// A field to order rows by: null and missing first, then booleans, numbers, instants, texts by their
/// bytes, then lists and objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    /// The dotted path.
    pub field: String,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl OrderBy {
    /// The smallest first.
    pub fn ascending(field: impl Into<String>) -> Self {
        Self { field: field.into(), descending: false }
    }

    /// The greatest first.
    pub fn descending(field: impl Into<String>) -> Self {
        Self { field: field.into(), descending: true }
    }
}

impl std::fmt::Display for OrderBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = if self.descending { ":desc" } else { "" };
        write!(f, "{}{direction}", self.field)
    }
}

/// `age`, `age:asc`, `age:desc`.
impl FromStr for OrderBy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.rsplit_once(':') {
            None if !text.is_empty() => Ok(Self::ascending(text)),
            Some((field, "asc")) if !field.is_empty() => Ok(Self::ascending(field)),
            Some((field, "desc")) if !field.is_empty() => Ok(Self::descending(field)),
            _ => Err(Error::new(crate::ErrorKind::Invalid, format!("'{text}' is no order"))
                .guide("write FIELD, FIELD:asc or FIELD:desc")),
        }
    }
}
