//! Pausing what runs by itself: timers and actions of state machines, jobs.
//!
//! The pause stands in the catalog, so that it costs no request of its own. Processes see a change within a
//! minute.

use serde::Serialize;

use super::{Database, Inner};
use crate::error::Result;

/// Whether what runs by itself is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Since when, RFC 3339; nothing while it runs.
    pub since: Option<String>,
}

impl Database {
    /// Pauses timers, actions and jobs in every process that has this database. Events are still taken: their
    /// actions wait. Costs a GET and a PUT; other processes see it within a minute.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// let db = s3db::Database::connect("memory://pause").await?;
    /// assert!(db.pause().await? && !db.pause().await?);
    /// assert!(db.paused().await?.since.is_some());
    /// assert!(db.resume().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The catalog cannot be written.
    pub async fn pause(&self) -> Result<bool> {
        self.may_all("pause the database")?;
        let now = self.inner.now();
        let change = |catalog: &mut s3db_format::catalog::Catalog| {
            let runs = catalog.paused().is_none();
            if runs {
                catalog.set_paused(Some(&now));
            }
            Ok(runs.then_some(()))
        };
        Ok(self.inner.change_catalog(change).await?.is_some())
    }

    /// Lets timers, actions and jobs go on. `false`: they were not paused.
    ///
    /// # Errors
    /// The catalog cannot be written.
    pub async fn resume(&self) -> Result<bool> {
        self.may_all("let the database go on")?;
        let change = |catalog: &mut s3db_format::catalog::Catalog| {
            let paused = catalog.paused().is_some();
            catalog.set_paused(None);
            Ok(paused.then_some(()))
        };
        Ok(self.inner.change_catalog(change).await?.is_some())
    }

    /// Whether timers, actions and jobs are paused. Costs a GET.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn paused(&self) -> Result<Pause> {
        Ok(Pause { since: self.inner.fresh_catalog().await?.paused().map(str::to_owned) })
    }
}

impl Inner {
    /// Whether what runs by itself is paused, as far as this process knows.
    pub(crate) fn is_paused(&self) -> bool {
        self.catalog.cached().is_some_and(|catalog| catalog.paused().is_some())
    }
}
