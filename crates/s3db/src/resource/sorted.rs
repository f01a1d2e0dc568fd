//! Rows in the order of their fields: all are read before the first is known.
//!
//! With a limit the first rows are kept. Without one the sort values of all rows are, and the rows
//! themselves as far as they fit; the rest is read again when its turn comes, and compared again.

use std::cmp::Ordering;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};

use super::ids::Entry;
use super::rows::{Reading, Row, Rows};
use crate::error::Result;
use crate::query::Query;
use crate::query::order::Position;

/// Bytes of rows that are kept while the others are read.
const HELD_BYTES: u64 = 64 << 20;

/// The rows of a query, sorted.
pub(super) struct Sorted {
    rows: BoxStream<'static, Result<Option<Row>>>,
    more: bool,
}

/// A row that was read.
enum Kept {
    Whole(Box<Row>),
    /// Its place in the order alone.
    Place(Position),
}

impl Kept {
    fn position(&self) -> &Position {
        match self {
            Kept::Whole(row) => &row.position,
            Kept::Place(position) => position,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Kept::Whole(row) => row.record.meta.size,
            Kept::Place(_) => 0,
        }
    }
}

impl Sorted {
    /// Reads every row and sorts.
    pub(super) async fn collect(reading: Arc<Reading>, query: &Query) -> Result<Self> {
        let wanted = query.limit.map_or(usize::MAX, |limit| limit.saturating_add(query.offset));
        // One more than is wanted says whether there is a next page.
        let mut kept = collect(&reading, wanted.saturating_add(1)).await?;
        let more = kept.len() > wanted;
        kept.truncate(wanted);
        kept.drain(..query.offset.min(kept.len()));
        let parallel = reading.parallel();
        let rows = stream::iter(kept).map(move |kept| {
            let reading = Arc::clone(&reading);
            async move {
                match kept {
                    Kept::Whole(row) => Ok(Some(*row)),
                    Kept::Place(at) => reading.row(Entry { id: at.id, values: Vec::new() }).await,
                }
            }
        });
        Ok(Self { rows: rows.buffered(parallel).boxed(), more })
    }

    /// The next row. One that was changed meanwhile, so that it is not asked for any more, is left out.
    pub(super) async fn next(&mut self) -> Result<Option<Row>> {
        while let Some(row) = self.rows.next().await {
            if let Some(row) = row? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    pub(super) fn has_more(&self) -> bool {
        self.more
    }
}

/// The first rows in order behind the cursor, at most so many.
async fn collect(reading: &Arc<Reading>, most: usize) -> Result<Vec<Kept>> {
    let order = &reading.plan.order;
    let by_order = |a: &Kept, b: &Kept| order.compare(a.position(), b.position());
    let mut rows = Rows::new(Arc::clone(reading), None, usize::MAX).await?;
    let (mut kept, mut held): (Vec<Kept>, u64) = (Vec::new(), 0);
    while let Some(row) = rows.next().await? {
        let after = reading.plan.after.as_ref();
        if after.is_some_and(|after| order.compare(&row.position, after) != Ordering::Greater) {
            continue;
        }
        let size = row.record.meta.size;
        if held + size <= HELD_BYTES {
            held += size;
            kept.push(Kept::Whole(Box::new(row)));
        } else {
            kept.push(Kept::Place(row.position));
        }
        if kept.len() >= most.saturating_mul(2).max(1_000) {
            kept.sort_by(by_order);
            kept.truncate(most);
            held = kept.iter().map(Kept::size).sum();
        }
    }
    kept.sort_by(by_order);
    kept.truncate(most);
    Ok(kept)
}
