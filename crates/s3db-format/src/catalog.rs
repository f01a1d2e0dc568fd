//! The catalog, `s3db.json`: which resources exist, in which versions.
//!
//! The file is kept as JSON with every field that we do not know, and changed in place, so that
//! nothing another program wrote is lost. Gaps in its structure are filled in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::{DefinitionError, FormatError};
use crate::limits;
use crate::partition::Partition;
use crate::resource::{Version, parse_partitions};

/// The catalog's format version that we know.
const FORMAT_VERSION: &str = "1";
/// Top-level member of our own writes; its absence says that s3db.js rewrote the file.
const REV: &str = "_rev";
const SHARED: &str = "_shared";
const PAUSED: &str = "_paused";

/// A parsed catalog.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    raw: Map<String, Value>,
    resources: BTreeMap<String, Arc<Resource>>,
}

/// One resource with all its versions.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its name.
    pub name: String,
    current: Arc<Version>,
    versions: Vec<Arc<Version>>,
    partitions: Vec<Partition>,
}

impl Resource {
    /// The version that is written.
    pub fn current(&self) -> &Arc<Version> {
        &self.current
    }

    /// The version with this name.
    pub fn version(&self, name: &str) -> Option<&Arc<Version>> {
        self.versions.iter().find(|v| v.name == name)
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> &[Arc<Version>] {
        &self.versions
    }

    /// The partitions that every writer keeps.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// A partition by name.
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.name == name)
    }

    /// The version since which a partition has been there as it is now.
    pub fn partition_since(&self, partition: &Partition) -> Option<&Arc<Version>> {
        self.versions.iter().rev().take_while(|v| v.partitions.contains(partition)).last()
    }

    /// The types that the fields of a partition have in any version, and in one that is to come.
    pub fn partition_types(&self, partition: &Partition, next: Option<&Version>) -> Vec<BTreeSet<String>> {
        let types = |path: &String| {
            let versions = self.versions.iter().map(Arc::as_ref).chain(next);
            versions.filter_map(|version| version.schema.type_of(path)).collect()
        };
        partition.fields().iter().map(|(path, _)| types(path)).collect()
    }

    /// Why the resource cannot be written: definitions that we do not understand.
    pub fn problems(&self) -> &[DefinitionError] {
        self.current.schema.problems()
    }
}

impl Catalog {
    /// Reads the catalog.
    ///
    /// # Errors
    /// Bytes that are no JSON object, or a format version that we do not know. The file must not be
    /// written after an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > limits::CATALOG_BYTES {
            return Err(FormatError::Unsupported(format!("s3db.json is larger than {} bytes", limits::CATALOG_BYTES)));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let raw: Value = serde_json::from_slice(text)
            .map_err(|e| FormatError::Corrupt(format!("s3db.json is not JSON ({e}); nothing was changed")))?;
        let Value::Object(raw) = raw else {
            return Err(FormatError::Corrupt("s3db.json is no JSON object; nothing was changed".into()));
        };
        if let Some(version) = raw.get("version").and_then(Value::as_str).filter(|v| *v != FORMAT_VERSION) {
            return Err(FormatError::Unsupported(format!(
                "s3db.json has format version '{version}', this program knows version '{FORMAT_VERSION}'; use a newer s3db"
            )));
        }
        let stored = raw.get("resources").and_then(Value::as_object).cloned().unwrap_or_default();
        let resources =
            stored.iter().filter_map(|(name, r)| Some((name.clone(), Arc::new(parse_resource(name, r)?)))).collect();
        Ok(Self { raw, resources })
    }

    /// The token of the last write of ours, `None` if another program wrote last.
    pub fn rev(&self) -> Option<&str> {
        self.raw.get(REV).and_then(Value::as_str)
    }

    /// Whether s3db.js works on this database too, so that its references are kept.
    pub fn is_shared(&self) -> bool {
        self.raw.get(SHARED) == Some(&Value::Bool(true))
    }

    /// Says whether s3db.js works on this database too.
    pub fn set_shared(&mut self, shared: bool) {
        if shared {
            self.raw.insert(SHARED.into(), json!(true));
        } else {
            self.raw.shift_remove(SHARED);
        }
    }

    /// Since when what runs by itself is paused: timers, actions, jobs.
    pub fn paused(&self) -> Option<&str> {
        self.raw.get(PAUSED).and_then(Value::as_str)
    }

    /// Pauses what runs by itself, or lets it go on.
    pub fn set_paused(&mut self, since: Option<&str>) {
        match since {
            Some(since) => {
                self.raw.insert(PAUSED.into(), json!(since));
            }
            None => {
                self.raw.shift_remove(PAUSED);
            }
        }
    }

    /// The entry of a resource as it stands in the file.
    pub fn raw_entry(&self, name: &str) -> Option<&Value> {
        self.raw.get("resources")?.get(name)
    }

    /// Puts a whole entry, in place of one that is there.
    pub fn put_entry(&mut self, name: &str, entry: Value) {
        object_at(&mut self.raw, "resources").insert(name.to_owned(), entry);
        self.resources.remove(name);
        self.reparse(name);
    }

    /// The resources by name.
    pub fn resources(&self) -> &BTreeMap<String, Arc<Resource>> {
        &self.resources
    }

    /// A resource by name.
    pub fn resource(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// Names of entries that are no usable resource: without versions or attributes, or of a
    /// behaviour that we do not know.
    pub fn unusable(&self) -> Vec<&str> {
        let stored = self.raw.get("resources").and_then(Value::as_object);
        let names = stored.into_iter().flat_map(Map::keys);
        names.filter(|n| !self.resources.contains_key(*n)).map(String::as_str).collect()
    }

    /// Adds a version to a resource, creating the resource where it is new, and makes it current.
    /// `floor` is the smallest number that was never used.
    ///
    /// Returns the version with its number.
    pub fn add_version(&mut self, name: &str, version: &Version, floor: u64, created_at: &str) -> Arc<Version> {
        let existing = self.resource(name).map(|r| r.versions.iter().filter_map(|v| v.number()).max());
        let number = match existing.flatten() {
            Some(max) => floor.max(max + 1),
            None => floor,
        };
        let mut version = version.clone();
        version.name = format!("v{number}");
        let entry = object_at(object_at(&mut self.raw, "resources"), name);
        entry.insert("currentVersion".into(), json!(version.name));
        entry.insert("partitions".into(), json!(version.partitions_json));
        object_at(entry, "versions").insert(version.name.clone(), version.to_json(created_at));
        self.reparse(name);
        Arc::new(version)
    }

    /// Puts back a version that another program dropped; `false` if its number is there.
    pub fn restore_version(&mut self, name: &str, version: &str, definition: &Value) -> bool {
        let known = self.resource(name).is_some_and(|r| r.version(version).is_some());
        if known || !definition.is_object() {
            return false;
        }
        let is_new = self.resource(name).is_none();
        let number = |v: &str| v.trim_start_matches('v').parse::<u64>().unwrap_or_default();
        let newest = self.resource(name).map_or(0, |r| number(&r.current.name));
        let entry = object_at(object_at(&mut self.raw, "resources"), name);
        object_at(entry, "versions").insert(version.to_owned(), definition.clone());
        if is_new || number(version) > newest {
            entry.insert("currentVersion".into(), json!(version));
            let partitions = definition.get("partitions").cloned().unwrap_or_else(|| json!({}));
            entry.insert("partitions".into(), partitions);
        }
        self.reparse(name);
        true
    }

    /// Removes a resource.
    pub fn remove(&mut self, name: &str) -> bool {
        let removed = object_at(&mut self.raw, "resources").shift_remove(name).is_some();
        self.resources.remove(name);
        removed
    }

    /// The bytes of the file, with two-space indentation as s3db.js writes it.
    pub fn to_bytes(&self, rev: &str, last_updated: &str) -> Vec<u8> {
        let mut file = Map::new();
        file.insert("version".into(), json!(FORMAT_VERSION));
        file.insert("s3dbVersion".into(), self.raw.get("s3dbVersion").cloned().unwrap_or_else(|| json!("latest")));
        file.insert("lastUpdated".into(), json!(last_updated));
        file.insert("resources".into(), self.raw.get("resources").cloned().unwrap_or_else(|| json!({})));
        for (name, value) in &self.raw {
            file.entry(name.clone()).or_insert_with(|| value.clone());
        }
        file.insert(REV.into(), json!(rev));
        serde_json::to_vec_pretty(&Value::Object(file)).unwrap_or_default()
    }

    fn reparse(&mut self, name: &str) {
        let stored = self.raw.get("resources").and_then(|r| r.get(name));
        if let Some(resource) = stored.and_then(|r| parse_resource(name, r)) {
            self.resources.insert(name.to_owned(), Arc::new(resource));
        }
    }
}

/// The object at a key, put there if it is missing or something else.
fn object_at<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("the value was made an object on the line above")
}

fn parse_resource(name: &str, stored: &Value) -> Option<Resource> {
    let entries = stored.get("versions")?.as_object()?;
    let mut versions: Vec<Arc<Version>> =
        entries.iter().filter_map(|(v, stored)| Version::from_json(v, stored).map(Arc::new)).collect();
    versions.sort_by_key(|v| v.number());
    let wanted = stored.get("currentVersion").and_then(Value::as_str).unwrap_or("v0");
    let current = versions.iter().find(|v| v.name == wanted).or_else(|| versions.first())?;
    let partitions = match stored.get("partitions").and_then(Value::as_object) {
        Some(partitions) => parse_partitions(partitions),
        None => current.partitions.clone(),
    };
    Some(Resource { name: name.to_owned(), current: Arc::clone(current), versions: versions.clone(), partitions })
}
