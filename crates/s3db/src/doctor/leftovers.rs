//! Objects that belong to nothing.

use s3db_format::catalog::Catalog;
use s3db_format::keys;
use s3db_store::List;

use super::Doctor;
use super::report::{FindingKind, Findings};
use crate::error::{ErrorKind, Result};

/// Younger objects may belong to something that is being made.
const OLD_MS: i64 = 3_600_000;

impl Doctor<'_> {
    pub(super) async fn check_leftovers(&self, catalog: &Catalog, findings: &mut Findings) -> Result<()> {
        (self.progress)("leftovers", 0);
        for prefix in self.inner.folders_under("").await? {
            let Some(name) = keys::resource_in(&prefix) else { continue };
            let known = catalog.resource(name).is_some() || catalog.unusable().contains(&name);
            if !known && self.has_old(&prefix).await? {
                findings.add(FindingKind::LeftOverResource, Some(name), prefix.clone(), false);
            }
        }
        for place in [keys::INDEX, keys::PARTITION_MARKERS] {
            for prefix in self.inner.folders_under(place).await? {
                let name = keys::decoded_folder(place, &prefix).unwrap_or_default();
                if catalog.resource(&name).is_none() && !catalog.unusable().contains(&name.as_str()) {
                    self.sweep(&prefix, findings).await?;
                }
            }
        }
        for prefix in self.inner.folders_under(keys::PROBE).await? {
            self.sweep(&prefix, findings).await?;
        }
        self.check_leases(findings).await
    }

    async fn check_leases(&self, findings: &mut Findings) -> Result<()> {
        let mut names = Vec::new();
        self.inner
            .keys_under(keys::LEASES, |found| names.extend(found.iter().filter_map(|key| keys::lease_name(key))))
            .await?;
        for name in names {
            match self.inner.read_lease(&name).await {
                Err(error) if error.kind() == ErrorKind::Integrity => {
                    findings.add(FindingKind::DamagedLease, None, keys::lease(&name), false);
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    async fn has_old(&self, prefix: &str) -> Result<bool> {
        let page = self.inner.list(List::prefix(prefix)).await?;
        let now = self.inner.store.now_ms();
        Ok(page.entries.iter().any(|e| now - e.modified_ms > OLD_MS))
    }

    /// Removes disposable objects that are old.
    pub(super) async fn sweep(&self, prefix: &str, findings: &mut Findings) -> Result<()> {
        let mut token = None;
        loop {
            let page = self.inner.list(List { token, ..List::prefix(prefix) }).await?;
            let now = self.inner.store.now_ms();
            let old = page.entries.into_iter().filter(|e| now - e.modified_ms > OLD_MS).map(|e| e.key);
            let old: Vec<String> = old.collect();
            if self.repair {
                self.inner.delete_plain(&old).await?;
            }
            for key in old {
                findings.add(FindingKind::LeftOver, None, key, self.repair);
            }
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}
