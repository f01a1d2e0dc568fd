//! Counting records.

use super::list::{Ids, Source};
use super::{ListOptions, Resource};
use crate::error::Result;

impl Resource {
    /// Counts all records, exactly. Costs max(1, ⌈N/1000⌉) requests.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count(&self) -> Result<usize> {
        self.count_with(&ListOptions::default(), false).await
    }

    /// Counts the records of a partition.
    ///
    /// From its index alone, which may include a move in flight or one that a crash left, at a LIST
    /// per thousand keys; with `exact` the rows are read too.
    ///
    /// # Errors
    /// As [`Resource::list`].
    pub async fn count_with(&self, options: &ListOptions, exact: bool) -> Result<usize> {
        let options = ListOptions { limit: None, after: None, ..options.clone() };
        let (source, _) = self.source(&options).await?;
        let scanned = matches!(source, Source::Scan(..));
        if scanned || exact && options.partition.is_some() {
            let fields = Some(Vec::new());
            return Ok(self.list(&ListOptions { fields, ..options }).await?.items.len());
        }
        let mut ids = Ids::new(self, source, None);
        let mut count = 0;
        loop {
            match ids.next_batch(usize::MAX).await?.len() {
                0 => return Ok(count),
                found => count += found,
            }
        }
    }
}
