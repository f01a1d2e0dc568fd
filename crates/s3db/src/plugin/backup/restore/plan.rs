//! What a restore will do: which objects of the backup are chosen, and the catalog that they need.

use std::collections::{BTreeMap, BTreeSet};

use s3db_format::catalog::Catalog;
use s3db_format::keys::{self, Owned};
use serde_json::Value;

use super::super::chain::{Chain, Lines, Merged};
use super::super::line::{IndexLine, Line};
use super::super::manifest::FileKind;
use super::super::scope::is_meta;
use super::{RestoreOptions, Selection};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::state_machine::STATES;

/// What a restore will do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) selection: Selection,
    /// The catalog of the backup, and its bytes.
    pub(super) catalog: Catalog,
    pub(super) catalog_line: Option<Line>,
    /// The resources that are restored, by their names in the backup.
    pub(super) resources: BTreeSet<String>,
    /// Objects that were chosen.
    pub(super) objects: u64,
    /// Records that were chosen, by the name of the resource in the target.
    pub(super) records: BTreeMap<String, u64>,
    /// Whether it is the whole database.
    pub(super) whole: bool,
    /// The backup.
    pub(super) id: String,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is no part of this restore.
    Left,
    /// It is a record.
    Record { resource: String, id: String, key: String },
    /// It is a reference of s3db.js to a record.
    Reference { record: String, key: String },
    /// It is another object of a resource.
    Plain { key: String },
    /// It is a definition of ours that is kept by what is in it, so that it is never written over.
    Immutable { key: String, rename: Option<(String, String)> },
    /// It is an object of ours that says what is current.
    Current { key: String },
    /// It is the id of the database.
    DatabaseId,
}

impl Plan {
    /// Chooses, and checks that everything that was asked for is there.
    pub(super) async fn make(chain: &Chain, options: &RestoreOptions) -> Result<Self> {
        let selection = options.selection.clone();
        let catalog_line = find_catalog(chain).await?;
        let catalog = match &catalog_line {
            Some(line) => Catalog::parse(&line.small_body()?)?,
            None => Catalog::default(),
        };
        let in_scope = scope_of(chain).await?;
        check_selection(&selection, &in_scope)?;
        check_mode(options)?;
        let resources = in_scope.iter().filter(|name| selection.takes(name)).cloned().collect();
        let tip = chain.0.last().map(|archive| &archive.manifest);
        let whole = selection.is_whole() && tip.is_some_and(|manifest| manifest.whole);
        let id = tip.map(|manifest| manifest.id.clone()).unwrap_or_default();
        let mut plan =
            Self { selection, catalog, catalog_line, resources, objects: 0, records: BTreeMap::new(), whole, id };
        plan.count(chain).await?;
        Ok(plan)
    }

    /// Counts what was chosen, and that the backup holds what its manifest says.
    async fn count(&mut self, chain: &Chain) -> Result<()> {
        let mut merged: Merged<IndexLine> = Merged::of(chain);
        let mut total = 0;
        let mut missing = self.selection.ids.clone();
        for name in &self.resources {
            self.records.insert(self.selection.name(name).to_owned(), 0);
        }
        while let Some((_, line)) = merged.next().await? {
            total += 1;
            match self.fate(&line.key) {
                Fate::Left => {}
                Fate::Record { resource, id, .. } => {
                    self.objects += 1;
                    missing.remove(&id);
                    *self.records.entry(self.selection.name(&resource).to_owned()).or_default() += 1;
                }
                _ => self.objects += 1,
            }
        }
        let Some(tip) = chain.0.last() else { return Ok(()) };
        if total != tip.manifest.counts.objects {
            let why = format!("it counts {} objects, the index has {total}", tip.manifest.counts.objects);
            return Err(tip.damaged(super::super::manifest::MANIFEST, &why));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<String> = missing.into_iter().collect();
        Err(Error::new(ErrorKind::NotFound, format!("the backup has no record {}", missing.join(", ")))
            .guide("nothing was written; see the ids, and the resources that they are in"))
    }

    /// What becomes of an object.
    pub(super) fn fate(&self, key: &str) -> Fate {
        if let Some((resource, what)) = keys::owned(key) {
            return self.fate_of_owned(key, resource, what);
        }
        if !is_meta(key) {
            return Fate::Left;
        }
        if key == keys::DATABASE_ID {
            return if self.selection.is_whole() { Fate::DatabaseId } else { Fate::Left };
        }
        if let Some((resource, version, hash)) = keys::parse_version_copy(key) {
            if !self.resources.contains(&resource) {
                // Of a resource that was dropped, whose numbers are never used again, or of the rows about backups.
                return if self.whole { Fate::Immutable { key: key.to_owned(), rename: None } } else { Fate::Left };
            }
            let name = self.selection.name(&resource);
            let rename = (name != resource).then(|| (resource.clone(), name.to_owned()));
            return Fate::Immutable { key: keys::version_copy(name, version, hash), rename };
        }
        if !self.selection.ids.is_empty() {
            return Fate::Left;
        }
        let machines = self.whole || self.resources.contains(STATES);
        match key.strip_prefix(keys::MACHINES) {
            Some(_) if !machines => Fate::Left,
            Some(file) if !file.ends_with("/versions.json") => Fate::Immutable { key: key.to_owned(), rename: None },
            Some(_) => Fate::Current { key: key.to_owned() },
            // A job's record that is there knows which instants have run: they must not run again.
            None if self.whole && (key.starts_with(keys::VERSIONS) || key.starts_with(keys::JOBS)) => {
                Fate::Immutable { key: key.to_owned(), rename: None }
            }
            None if self.whole => Fate::Current { key: key.to_owned() },
            None => Fate::Left,
        }
    }

    fn fate_of_owned(&self, key: &str, resource: &str, what: Owned<'_>) -> Fate {
        if !self.resources.contains(resource) {
            return Fate::Left;
        }
        let name = self.selection.name(resource);
        let Some(target) = keys::renamed(key, name) else { return Fate::Left };
        let ids = &self.selection.ids;
        match what {
            Owned::Record(id) if ids.is_empty() || ids.contains(id) => {
                Fate::Record { resource: resource.to_owned(), id: id.to_owned(), key: target }
            }
            Owned::Reference(id) if ids.is_empty() || ids.contains(id) => {
                Fate::Reference { record: keys::record(name, id), key: target }
            }
            Owned::Other if ids.is_empty() => Fate::Plain { key: target },
            _ => Fate::Left,
        }
    }
}

/// The resources that a backup was asked for, whether they have objects or not.
async fn scope_of(chain: &Chain) -> Result<BTreeSet<String>> {
    let Some(tip) = chain.0.last() else { return Ok(BTreeSet::new()) };
    let Some(file) = tip.manifest.of_kind(FileKind::Contents).next().cloned() else {
        return Err(tip.damaged("contents.json", "the manifest does not list it"));
    };
    let document: Value =
        serde_json::from_slice(&tip.read(&file).await?).map_err(|e| tip.damaged(&file.path, &e.to_string()))?;
    let names = document.get("resources").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
    Ok(names.filter(|name| !name.is_empty()).cloned().collect())
}

/// Reads the catalog of a backup: its line says in which segment it is.
async fn find_catalog(chain: &Chain) -> Result<Option<Line>> {
    let mut merged: Merged<IndexLine> = Merged::of(chain);
    while let Some((number, found)) = merged.next().await? {
        if found.key != keys::CATALOG {
            continue;
        }
        let Some(archive) = chain.0.get(number) else { return Ok(None) };
        let mut lines: Lines<Line> = Lines::of_segment(archive, found.segment);
        while let Some(line) = lines.take().await? {
            if line.key == keys::CATALOG {
                return Ok(Some(line));
            }
        }
        return Err(archive.damaged("index", "the catalog is not in the segment that it names"));
    }
    Ok(None)
}

fn check_selection(selection: &Selection, there: &BTreeSet<String>) -> Result<()> {
    let asked = selection.resources.iter().chain(selection.rename.keys());
    for name in asked {
        if there.contains(name) {
            continue;
        }
        let names: Vec<&str> = there.iter().map(String::as_str).collect();
        let hint = s3db_format::error::did_you_mean(name, names.iter().copied());
        return Err(Error::new(ErrorKind::NotFound, format!("the backup has no resource '{name}'"))
            .guide(hint.unwrap_or_else(|| format!("it has {}; nothing was written", names.join(", ")))));
    }
    let mut targets = BTreeSet::new();
    for name in there.iter().filter(|name| selection.takes(name)) {
        let target = selection.name(name);
        if selection.rename.contains_key(name) {
            keys::check_name("resource", target)?;
        }
        if !targets.insert(target) {
            return Err(Error::new(ErrorKind::Invalid, format!("two resources would both be called '{target}'"))
                .guide("give each another name by --rename; nothing was written"));
        }
    }
    for name in selection.rename.keys() {
        if !selection.takes(name) {
            return Err(Error::new(ErrorKind::Invalid, format!("'{name}' is renamed, and not restored"))
                .guide(format!("add --resource {name}, or leave the new name out")));
        }
    }
    Ok(())
}

fn check_mode(options: &RestoreOptions) -> Result<()> {
    if options.mode == super::Mode::Replace && !options.selection.ids.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the mode replace would delete every record but the named ones")
            .guide("use overwrite to bring records back by their ids; nothing was written"));
    }
    Ok(())
}
