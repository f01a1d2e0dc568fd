//! Looking for what crashes and other programs left, and mending it.
//!
//! Nothing here disturbs running writers: what looks wrong is read again before it counts, keys are
//! removed only by the exact revision that was found and only when they are an hour old by the store's
//! time, and references are set by the same protocol that writers use.

mod keys;
mod leftovers;
mod records;
mod report;
mod versions;

use std::sync::Arc;

use crate::database::{Database, Inner};
use crate::error::Result;
use crate::resource::Resource;

pub(crate) use report::Findings;
pub use report::{Checked, DoctorReport, Finding, FindingKind};

/// What a check needs.
struct Doctor<'a> {
    inner: &'a Arc<Inner>,
    repair: bool,
    progress: &'a (dyn Fn(&str, usize) + Sync),
}

impl Database {
    /// Looks for what is wrong; with `repair` mends what can be mended.
    ///
    /// `progress` is told what is looked at and how much of it so far. Costs a LIST per thousand
    /// objects and a GET per record; each finding a few more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// let db = s3db::Database::connect("memory://doctor").await?;
    /// let report = db.doctor(false, &|_, _| ()).await?;
    /// assert!(report.is_healthy());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store cannot be read, or with `repair` not be written; what was mended stays.
    pub async fn doctor(&self, repair: bool, progress: &(dyn Fn(&str, usize) + Sync)) -> Result<DoctorReport> {
        self.may_all("look after the database")?;
        let doctor = Doctor { inner: &self.inner, repair, progress };
        let mut findings = Findings::default();
        if repair {
            self.inner.fresh_catalog().await?;
            self.inner.refuse_other_keeper()?;
            self.inner.ensure_sharing().await?;
        }
        doctor.check_versions(&mut findings).await?;
        let catalog = self.inner.fresh_catalog().await?;
        for (name, entry) in catalog.resources() {
            let resource = Resource::new(Arc::clone(&self.inner), name);
            let expected = doctor.check_records(&resource, entry, &mut findings).await?;
            doctor.check_keys(&resource, entry, expected, &mut findings).await?;
        }
        doctor.check_leftovers(&catalog, &mut findings).await?;
        let mut report = findings.report();
        report.findings.extend(self.check_plugins(repair).await?);
        Ok(report)
    }
}
