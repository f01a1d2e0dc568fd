//! The catalog beside the copies of its versions.

use s3db_format::keys;

use super::Doctor;
use super::report::{FindingKind, Findings};
use crate::error::Result;

impl Doctor<'_> {
    pub(super) async fn check_versions(&self, findings: &mut Findings) -> Result<()> {
        (self.progress)("versions", 0);
        let lost = self.inner.lost_versions().await?;
        if self.repair && !lost.is_empty() {
            self.inner.restore_versions().await?;
        }
        for version in &lost {
            findings.add(FindingKind::LostVersion, Some(&version.resource), version.version.clone(), self.repair);
        }
        for (name, resource) in self.inner.fresh_catalog().await?.resources() {
            for version in resource.versions() {
                let key = keys::version_copy(name, &version.name, &version.hash);
                if self.inner.head(&key).await?.is_some() {
                    continue;
                }
                if self.repair {
                    self.inner.keep_version_copy(name, version).await?;
                }
                findings.add(FindingKind::MissingCopy, Some(name), version.name.clone(), self.repair);
            }
        }
        Ok(())
    }
}
