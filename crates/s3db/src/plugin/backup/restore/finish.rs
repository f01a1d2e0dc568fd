//! What comes after the objects: markers, deletes, what is due, the comparison.

use s3db_format::keys::{self, Owned};
use s3db_store::Entry;

use super::super::chain::Merged;
use super::super::line::IndexLine;
use super::super::walk::Walk;
use super::plan::Fate;
use super::write::Restore;
use super::{Mode, RestoreReport};
use crate::error::{ErrorKind, Result};
use crate::plugin::Plugin as _;
use crate::plugin::state_machine::{STATES, StateMachinePlugin};

impl Restore<'_> {
    pub(super) async fn finish(&self, report: &mut RestoreReport) -> Result<()> {
        self.mark_indexes().await?;
        if self.options.mode == Mode::Replace {
            report.deleted = self.delete_others().await?;
        }
        self.find_what_is_due(report).await?;
        if !self.options.skip_comparison {
            self.compare(report).await?;
        }
        Ok(())
    }

    /// The index of a resource that the target did not have is complete: every record brought its keys.
    async fn mark_indexes(&self) -> Result<()> {
        let inner = &self.into.db.inner;
        let catalog = inner.fresh_catalog().await?;
        for resource in &self.plan.resources {
            let name = self.plan.selection.name(resource);
            let Some(entry) = catalog.resource(name).filter(|_| !self.into.existing.contains(name)) else { continue };
            for partition in entry.partitions() {
                inner.mark_indexed(entry, partition).await?;
            }
        }
        Ok(())
    }

    /// Deletes the records of the target that the backup does not have.
    async fn delete_others(&self) -> Result<u64> {
        self.tracker.phase("deleting");
        let mut deleted = 0;
        let names: Vec<&str> = self.plan.resources.iter().map(|name| self.plan.selection.name(name)).collect();
        for name in names {
            let mut backed_up: Merged<IndexLine> = Merged::of(self.chain);
            let mut next = self.next_of(&mut backed_up, name).await?;
            let prefix = keys::records(name);
            let all = |_: &str| true;
            let mut walk = Walk::new(&self.into.db.inner, &prefix, &all);
            while let Some(page) = walk.next().await? {
                for Entry { key, .. } in page {
                    while next.as_ref().is_some_and(|next| *next < key) {
                        next = self.next_of(&mut backed_up, name).await?;
                    }
                    if next.as_ref() != Some(&key) {
                        deleted += self.delete_record(name, &key).await?;
                        self.tracker.add(1, 0);
                    }
                }
            }
        }
        Ok(deleted)
    }

    /// The key in the target of the next record of a resource that the backup has.
    async fn next_of(&self, backed_up: &mut Merged<IndexLine>, name: &str) -> Result<Option<String>> {
        while let Some((_, line)) = backed_up.next().await? {
            match self.plan.fate(&line.key) {
                Fate::Record { resource, key, .. } if self.plan.selection.name(&resource) == name => {
                    return Ok(Some(key));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    async fn delete_record(&self, name: &str, key: &str) -> Result<u64> {
        let Some((_, Owned::Record(id))) = keys::owned(key) else { return Ok(0) };
        match self.into.db.resource(name).await?.delete(id).await {
            Ok(()) => Ok(1),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            // One that cannot be read has no keys that could be found out.
            Err(error) if error.kind() == ErrorKind::Integrity => {
                self.into.db.inner.delete_plain(&[key.to_owned()]).await?;
                Ok(1)
            }
            Err(error) => Err(error),
        }
    }

    /// Timers and actions are found by keys that are no part of a backup: they are made anew.
    async fn find_what_is_due(&self, report: &mut RestoreReport) -> Result<()> {
        let db = self.into.db;
        let own = db.plugin::<StateMachinePlugin>();
        let states = own.as_ref().map_or_else(|_| STATES.to_owned(), |machines| machines.resource_names().0);
        if report.resources.get(&states).copied().unwrap_or_default() == 0 {
            return Ok(());
        }
        if let Ok(machines) = own {
            machines.check(true).await?;
            return Ok(());
        }
        let machines = StateMachinePlugin::builder().build()?;
        machines.setup(db.clone()).await?;
        machines.check(true).await.map(drop)
    }
}
