//! The database that is restored into: what stands in the way, and what is known of an earlier attempt.

use std::collections::BTreeSet;

use s3db_format::catalog::Catalog;
use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, List, Precondition};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::sealed::sha256;
use super::super::turn::{self, LEASE};
use super::plan::Plan;
use super::{Mode, RestoreOptions};
use crate::database::{Database, json_object};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Lease, LeaseOptions};

/// What the owner of a restore's lease begins with.
const RESTORE_OWNER: &str = "restore of";
/// Names that an error lists.
const NAMED: usize = 10;

/// The database that is restored into.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) db: &'a Database,
    /// Whether it has no resource yet: then the catalog is written last.
    pub(super) is_empty: bool,
    /// The ETag of its catalog, where there is one.
    pub(super) catalog_etag: Option<String>,
    /// The catalog that it will have.
    pub(super) catalog: Catalog,
    /// Resources that it has already, by their names here.
    pub(super) existing: BTreeSet<String>,
    pub(super) resumed: bool,
    pub(super) pause: bool,
    /// Whether it is another place than the database that the plugin belongs to.
    pub(super) elsewhere: bool,
    note: Note,
}

/// What became of an object that must not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Created,
    /// It is there, and is the same.
    Same,
    /// Another one is there.
    Other,
}

/// What is under way, for the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    backup: String,
    /// The digest of what is restored, and how.
    plan: String,
    begun_at: String,
    /// Resources that the target had before.
    existing: BTreeSet<String>,
}

impl<'a> Target<'a> {
    /// Looks at the target, and refuses what would do harm. Writes nothing.
    pub(super) async fn look(db: &'a Database, plan: &Plan, options: &RestoreOptions, elsewhere: bool) -> Result<Self> {
        let inner = &db.inner;
        let found = inner.read(keys::CATALOG).await?;
        let catalog_etag = found.as_ref().map(|object| object.meta.etag.clone());
        let there = match &found {
            Some(object) => Catalog::parse(&object.body)?,
            None => Catalog::default(),
        };
        inner.fresh_catalog().await?;
        inner.refuse_other_keeper()?;
        let is_empty = there.resources().is_empty() && there.unusable().is_empty();
        let name = |resource: &String| plan.selection.name(resource).to_owned();
        let existing: BTreeSet<String> =
            plan.resources.iter().map(name).filter(|name| there.resource(name).is_some()).collect();
        let digest = sha256(json!([plan.selection, options.mode]).to_string().as_bytes());
        let note = Note { backup: plan.id.clone(), plan: digest, begun_at: inner.now(), existing: existing.clone() };
        let mut target = Self {
            db,
            is_empty,
            catalog_etag,
            catalog: Catalog::default(),
            existing,
            resumed: false,
            pause: options.pause.unwrap_or(elsewhere),
            elsewhere,
            note,
        };
        target.find_note(options).await?;
        if !options.force {
            target.refuse_leases().await?;
        }
        target.refuse_other_versions(plan, &there).await?;
        if options.mode == Mode::Fail && !target.resumed {
            target.refuse_records(plan).await?;
        }
        target.catalog = target.catalog_after(plan, there)?;
        Ok(target)
    }

    /// Whether an earlier attempt of the same restore is to go on.
    async fn find_note(&mut self, options: &RestoreOptions) -> Result<()> {
        let Some(object) = self.db.inner.read(keys::RESTORE).await? else { return Ok(()) };
        let Ok(found) = serde_json::from_slice::<Note>(&object.body) else {
            return self.other_restore("another restore", options);
        };
        if (&found.backup, &found.plan) == (&self.note.backup, &self.note.plan) {
            self.resumed = true;
            // What the first attempt brought is not what was there.
            self.existing.clone_from(&found.existing);
            self.note = found;
            return Ok(());
        }
        self.other_restore(&format!("a restore of {}, begun at {},", found.backup, found.begun_at), options)
    }

    fn other_restore(&self, what: &str, options: &RestoreOptions) -> Result<()> {
        if options.force {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, format!("{what} into {} was not finished", self.db.location()))
            .guide("run that one again, and it goes on; or give --force to forget it"))
    }

    /// The lease of backups, while records are written; none where the store cannot hold one.
    pub(super) async fn lease(&self, id: &str) -> Result<Option<Lease>> {
        if !self.db.inner.store.capabilities().compare_and_swap {
            return Ok(None);
        }
        let owner = LeaseOptions::new(turn::owner(&format!("{RESTORE_OWNER} {id}")));
        self.db.lease(LEASE, &owner).await.map(Some)
    }

    async fn refuse_leases(&self) -> Result<()> {
        let now_ms = self.db.inner.store.now_ms();
        for (name, lease) in self.db.leases().await? {
            let young = lease.is_young(now_ms);
            // That of another restore is waited for: its process has died, or it renews it.
            let own = name == LEASE && lease.owner.as_ref().is_some_and(|o| o.starts_with(RESTORE_OWNER));
            if let Some(owner) = lease.owner.filter(|_| young && !own) {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{} is in use: '{name}' is held by {owner}", self.db.location()),
                )
                .guide("stop that process first, or give --force; nothing was written"));
            }
        }
        Ok(())
    }

    /// A version number that means another definition in the target would make records unreadable.
    async fn refuse_other_versions(&self, plan: &Plan, there: &Catalog) -> Result<()> {
        for resource in &plan.resources {
            let Some(entry) = plan.catalog.resource(resource) else { continue };
            let name = plan.selection.name(resource);
            let mut known: Vec<(String, String)> = Vec::new();
            if let Some(there) = there.resource(name) {
                known.extend(there.versions().iter().map(|v| (v.name.clone(), v.hash.clone())));
            }
            self.db
                .inner
                .keys_under(&keys::versions_of(name), |found| {
                    let copies = found.iter().filter_map(|key| keys::parse_version_copy(key));
                    known.extend(copies.map(|(_, version, hash)| (version.to_owned(), format!("sha256:{hash}"))));
                })
                .await?;
            for version in entry.versions() {
                let other = known.iter().find(|(v, hash)| *v == version.name && *hash != version.hash);
                if other.is_some() {
                    return Err(Error::new(
                        ErrorKind::Integrity,
                        format!(
                            "version {} of resource '{name}' has another definition in {}",
                            version.name,
                            self.db.location()
                        ),
                    )
                    .guide("restore it under another name by --rename, or into another place; nothing was written"));
                }
            }
        }
        Ok(())
    }

    /// Refuses to restore over records.
    async fn refuse_records(&self, plan: &Plan) -> Result<()> {
        let mut found = Vec::new();
        for resource in &plan.resources {
            let name = plan.selection.name(resource);
            if plan.selection.ids.is_empty() {
                let list = List { max_keys: 1, ..List::prefix(keys::records(name)) };
                let page = self.db.inner.list(list).await?;
                found.extend(page.entries.first().map(|_| name.to_owned()));
            } else {
                for id in &plan.selection.ids {
                    if self.db.inner.head(&keys::record(name, id)).await?.is_some() {
                        found.push(format!("{name}/{id}"));
                    }
                }
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let more = if found.len() > NAMED { format!(" and {} more", found.len() - NAMED) } else { String::new() };
        found.truncate(NAMED);
        Err(Error::new(ErrorKind::AlreadyExists, format!("{} already has records: {}{more}", self.db.location(), found.join(", ")))
            .guide("restore --into another place, or choose what becomes of them: --mode skip, overwrite or replace; nothing was written")
            .detail(json!({ "existing": found })))
    }

    /// The catalog that the target will have.
    fn catalog_after(&self, plan: &Plan, there: Catalog) -> Result<Catalog> {
        let mut after = if self.is_empty && plan.whole { plan.catalog.clone() } else { there };
        if !(self.is_empty && plan.whole) {
            merge(plan, &mut after);
        }
        after.set_shared(self.db.inner.is_shared());
        if self.pause {
            let now = self.db.inner.now();
            let since = after.paused().map_or(now, str::to_owned);
            after.set_paused(Some(&since));
        }
        Ok(after)
    }

    /// Notes in the target what is under way.
    pub(super) async fn begin(&self) -> Result<()> {
        self.db.inner.put_plain(keys::RESTORE, json_object(&json!(self.note))).await
    }

    /// It is done.
    pub(super) async fn end(&self) -> Result<()> {
        self.db.inner.delete_plain(&[keys::RESTORE.to_owned()]).await
    }

    /// Whether nothing of the catalog changes, so that its bytes can stay as they were.
    pub(super) fn keeps_catalog_bytes(&self, plan: &Plan) -> bool {
        self.is_empty && plan.whole && !self.pause && plan.catalog.is_shared() == self.db.inner.is_shared()
    }

    /// Writes an object if there is none.
    pub(super) async fn put_absent(&self, key: &str, put: s3db_store::Put) -> Result<Put> {
        let inner = &self.db.inner;
        let mut last = None;
        for attempt in inner.attempts() {
            match inner.store.put(key, put.clone(), Precondition::Absent).await {
                Ok(_) => return Ok(Put::Created),
                // It may be ours: an answer was lost, or a proxy sent it twice.
                Err(error) if error.kind == StoreKind::Precondition => {
                    let there = inner.read(key).await?;
                    let same = there.is_some_and(|there| there.body == put.body && there.meta.headers == put.headers);
                    return Ok(if same { Put::Same } else { Put::Other });
                }
                Err(error) if error.is_transient() => {
                    inner.slow_down(&error);
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
            inner.back_off(attempt).await;
        }
        let error = last.map_or_else(|| Error::new(ErrorKind::Unavailable, "no attempt was made"), Error::from);
        Err(error.context(key))
    }
}

/// Puts the chosen resources of a backup into a catalog, with every version, and takes nothing out of it.
pub(super) fn merge(plan: &Plan, catalog: &mut Catalog) {
    // With everything come the definitions of the rows about backups too, though not the rows.
    let all = plan.catalog.resources().keys().filter(|name| plan.whole && !plan.resources.contains(*name));
    for resource in plan.resources.iter().chain(all) {
        let Some(entry) = plan.catalog.raw_entry(resource) else { continue };
        let name = plan.selection.name(resource);
        if catalog.resource(name).is_none() {
            catalog.put_entry(name, entry.clone());
            continue;
        }
        let versions = entry.get("versions").and_then(serde_json::Value::as_object);
        for (version, definition) in versions.into_iter().flatten() {
            catalog.restore_version(name, version, definition);
        }
    }
}
