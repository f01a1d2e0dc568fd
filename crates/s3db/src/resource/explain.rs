//! Saying how a query would be answered, and what that would cost.

use s3db_store::List;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Resource;
use super::ids::{Ids, Source};
use crate::access::Verb;
use crate::error::Result;
use crate::query::Query;
use crate::query::order::Order;
use crate::query::plan::{Considered, Plan};

/// Keys that are counted; beyond, costs are "at least".
const COUNTED: usize = 10_000;

/// How a query would be answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Which keys are looked at: `records`, `partition`, or `ids` that the filter names.
    pub source: &'static str,
    /// The partition, where that is the source.
    pub partition: Option<String>,
    /// The leading values of the partition, as they stand in keys.
    pub values: Vec<Map<String, Value>>,
    /// Keys that are looked at; counted up to 10,000.
    pub keys: usize,
    /// Whether there are more keys than were counted, so that all figures are lower bounds.
    pub more_keys: bool,
    /// What answers: `rows`, or `keys` alone.
    pub answer: &'static str,
    /// Whether the filter is compared with every row that is read.
    pub filters_rows: bool,
    /// Whether a row that moves meanwhile, or that a crash left, can be in the answer.
    pub exact: bool,
    /// `id`, `id:desc`, or the fields; the latter read all rows before the first is returned.
    pub order: String,
    /// Requests, at most.
    pub requests: Requests,
    /// The partitions that were looked at, and why they are used or not.
    pub considered: Vec<Considered>,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Requests of a query, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// LISTs, of a thousand keys each.
    pub list: usize,
    /// GETs, one a row.
    pub get: usize,
    /// Requests on the longest path.
    pub rounds: usize,
}

impl Resource {
    /// Says how a query would be answered, without reading a row. Costs a LIST per thousand keys that
    /// would be looked at, ten at most.
    ///
    /// # Errors
    /// As [`Resource::list`].
    pub async fn explain(&self, query: &Query) -> Result<Explanation> {
        self.may(Verb::Read)?;
        let plan = Plan::of(&self.inner, &self.name, query).await?;
        let (keys, more_keys) = self.count_keys(&plan).await?;
        let from_keys = plan.rows_from_keys(query);
        let exact = plan.is_exact(from_keys);
        let by_id = plan.order == Order::Id;
        let stops_early = plan.filter.is_none() && by_id;
        let wanted = query.limit.map_or(usize::MAX, |limit| limit.saturating_add(query.offset));
        let looked_at = if stops_early { keys.min(wanted.saturating_add(1)) } else { keys };
        let get = if from_keys { 0 } else { looked_at.min(if stops_early { wanted } else { usize::MAX }) };
        let list = match &plan.source {
            Source::Ids(_) => 0,
            Source::Records => looked_at.div_ceil(List::MAX_KEYS).max(1),
            Source::Index { prefixes, .. } => looked_at.div_ceil(List::MAX_KEYS).max(prefixes.len()),
        };
        let rounds = list + get.div_ceil(self.inner.parallel());
        let (source, partition, values) = match &plan.source {
            Source::Records => ("records", None, Vec::new()),
            Source::Ids(_) => ("ids", None, Vec::new()),
            Source::Index { partition, prefixes } => {
                let named = |texts: &Vec<String>| {
                    partition.fields().iter().zip(texts).map(|((path, _), text)| (path.clone(), json!(text))).collect()
                };
                ("partition", Some(partition.name.clone()), prefixes.iter().map(named).collect())
            }
        };
        let order = match query.order_by.as_slice() {
            [] => "id".to_owned(),
            several => several.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        Ok(Explanation {
            source,
            partition,
            values,
            keys,
            more_keys,
            answer: if from_keys { "keys" } else { "rows" },
            filters_rows: plan.filter.is_some() && !from_keys,
            exact,
            order,
            requests: Requests { list, get, rounds },
            considered: plan.considered,
            warnings: plan.warnings,
        })
    }

    async fn count_keys(&self, plan: &Plan) -> Result<(usize, bool)> {
        if let Source::Ids(ids) = &plan.source {
            return Ok((ids.len(), false));
        }
        let mut ids = Ids::new(self, plan.source.clone(), None);
        let mut keys = 0;
        while keys < COUNTED {
            match ids.next_batch(usize::MAX).await?.len() {
                0 => return Ok((keys, false)),
                found => keys += found,
            }
        }
        Ok((keys, ids.has_more()))
    }
}
