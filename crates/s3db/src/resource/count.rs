//! Counting records.

use super::Resource;
use crate::access::Verb;
use crate::error::Result;
use crate::query::Query;

impl Resource {
    /// Counts all records, exactly. Costs max(1, ⌈N/1000⌉) requests.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count(&self) -> Result<usize> {
        self.may(Verb::Read)?;
        self.count_where(&Query::all()).await
    }

    /// Counts the records that a query asks for; its limit, offset and order say nothing here.
    ///
    /// Those of a partition are counted from its index alone, at a LIST per thousand keys, which may
    /// include a move in flight or one that a crash left; an exact query, and any other filter, reads
    /// the rows.
    ///
    /// # Errors
    /// As [`Resource::list`].
    pub async fn count_where(&self, query: &Query) -> Result<usize> {
        self.may(Verb::Read)?;
        let all = Query { limit: None, offset: 0, after: None, order_by: Vec::new(), ..query.clone() };
        let mut records = self.stream(&Query { fields: Some(Vec::new()), ..all }).await?;
        let mut count = 0;
        while records.next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
