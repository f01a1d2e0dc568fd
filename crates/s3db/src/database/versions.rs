//! The immutable copies of every version's definition.
//!
//! They keep version numbers from being used twice, also after a drop, and they bring back what
//! s3db.js loses when it rewrites the catalog from what it had in memory.

use s3db_format::catalog;
use s3db_format::keys;
use s3db_format::resource::Version;
use s3db_store::{ErrorKind as StoreKind, Precondition};
use serde_json::{Value, json};

use super::{Inner, json_object};
use crate::error::{Error, ErrorKind, Result};

/// A version that has a copy and is not in the catalog.
#[derive(Debug, Clone)]
pub(crate) struct LostVersion {
    pub(crate) resource: String,
    pub(crate) version: String,
    definition: Value,
}

impl Inner {
    /// The smallest version number that was never used, also not before a drop.
    pub(super) async fn version_floor(&self, name: &str) -> Result<u64> {
        let prefix = keys::versions_of(name);
        let mut floor = 0;
        self.keys_under(&prefix, |found| {
            for key in found {
                let number = key
                    .strip_prefix(&prefix)
                    .and_then(|rest| rest.strip_prefix('v')?.split('-').next()?.parse::<u64>().ok());
                floor = floor.max(number.map_or(0, |n| n + 1));
            }
        })
        .await?;
        Ok(floor)
    }

    /// Stores the immutable copy of a version, once.
    pub(crate) async fn keep_version_copy(&self, name: &str, version: &Version) -> Result<()> {
        let body = json!({ "resource": name, "version": version.name, "definition": version.to_json(&self.now()) });
        let put = json_object(&body);
        match self.store.put(&keys::version_copy(name, &version.name, &version.hash), put, Precondition::Absent).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreKind::Precondition => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that a resource was dropped, so that its versions are not taken for lost ones.
    pub(super) async fn keep_drop(&self, resource: &catalog::Resource) -> Result<()> {
        let newest = resource.versions().iter().filter_map(|v| v.number()).max().unwrap_or_default();
        let body = json!({ "resource": resource.name, "upTo": newest, "droppedAt": self.now() });
        let put = json_object(&body);
        self.put_plain(&keys::dropped(&resource.name), put).await
    }

    /// The versions that another program dropped from the catalog. Costs a LIST, and a GET for each
    /// version that is not in the catalog.
    ///
    /// # Errors
    /// `Integrity` if a version's number has two definitions.
    pub(crate) async fn lost_versions(&self) -> Result<Vec<LostVersion>> {
        let catalog = self.fresh_catalog().await?;
        let mut copies = Vec::new();
        self.keys_under(keys::VERSIONS, |found| copies.extend(found)).await?;
        let mut lost = Vec::new();
        for key in &copies {
            let Some((resource, version, hash)) = keys::parse_version_copy(key) else { continue };
            let known = catalog.resource(&resource).and_then(|r| r.version(version));
            if let Some(known) = known {
                if known.hash.trim_start_matches("sha256:") != hash {
                    return Err(two_definitions(&resource, version));
                }
                continue;
            }
            if self.was_dropped(&copies, &resource, version).await? {
                continue;
            }
            if let Some(object) = self.read(key).await? {
                let copy: Value = serde_json::from_slice(&object.body).unwrap_or_default();
                let definition = copy.get("definition").cloned().unwrap_or_default();
                lost.push(LostVersion { resource, version: version.to_owned(), definition });
            }
        }
        lost.sort_by_key(|l| (l.resource.clone(), number(&l.version)));
        Ok(lost)
    }

    /// Puts back the versions that another program dropped from the catalog.
    pub(crate) async fn restore_versions(&self) -> Result<usize> {
        let lost = self.lost_versions().await?;
        if lost.is_empty() {
            return Ok(0);
        }
        self.change_catalog(|catalog| {
            let mut changed = false;
            for version in &lost {
                changed |= catalog.restore_version(&version.resource, &version.version, &version.definition);
            }
            Ok(changed.then_some(()))
        })
        .await?;
        Ok(lost.len())
    }

    async fn was_dropped(&self, copies: &[String], resource: &str, version: &str) -> Result<bool> {
        let key = keys::dropped(resource);
        if !copies.contains(&key) {
            return Ok(false);
        }
        let Some(object) = self.read(&key).await? else { return Ok(false) };
        let note: Value = serde_json::from_slice(&object.body).unwrap_or_default();
        Ok(note.get("upTo").and_then(Value::as_u64).is_some_and(|up_to| number(version) <= up_to))
    }
}

fn number(version: &str) -> u64 {
    version.strip_prefix('v').and_then(|n| n.parse().ok()).unwrap_or_default()
}

fn two_definitions(resource: &str, version: &str) -> Error {
    Error::new(
        ErrorKind::Integrity,
        format!("version {version} of resource '{resource}' has another definition in the catalog than in its copy"),
    )
    .guide("another program wrote this number for a different definition; its records cannot be told apart. Restore s3db.json from a backup")
}
