//! Reading an entity's row, and changing it by compare-and-swap.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::MutexGuard;

use super::Core;
use super::entity::Entity;
use super::ids::Names;
use super::machine::Machine;
use super::warm::{Seen, Slot, kept};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// Times that a change is made again after losing.
pub(super) const ATTEMPTS: u32 = 64;

/// How long a change waits for a sender of the same process.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a resource was made by s3db.js: its first version knows nothing of versions of entities.
pub(super) async fn is_foreign(resource: &Resource) -> Result<bool> {
    let entry = resource.catalog_entry().await?;
    Ok(entry.versions().iter().any(|version| version.schema.attribute("version").is_none()))
}

/// What is to be done about an entity.
pub(super) enum Change<T> {
    /// Write it as it was changed.
    Write(T),
    /// Leave it.
    Keep(T),
}

impl Core {
    /// The ids under which an entity's row may stand, the likely one first.
    pub(super) async fn rows(&self, states: &Resource, names: &Names) -> Result<Vec<String>> {
        let own = names.row();
        if !is_foreign(states).await? {
            return Ok(vec![own]);
        }
        // s3db.js names them all alike, so that a row may be of another entity.
        let mut rows = vec![names.plain(), own, names.escaped()];
        rows.dedup();
        rows.retain(|id| s3db_format::keys::check_id(id).is_ok());
        Ok(rows)
    }

    /// Reads an entity; `None` if there is none.
    pub(super) async fn load(&self, names: &Names) -> Result<Option<Seen>> {
        let Some(states) = self.states().await? else { return Ok(None) };
        for id in self.rows(&states, names).await? {
            let Some(snapshot) = states.snapshot(&id).await? else { continue };
            let entity = Entity::read(&id, snapshot.attributes())?;
            if entity.machine == names.machine && entity.entity == names.entity {
                return Ok(Some(Seen { snapshot, entity, logged: 0 }));
            }
        }
        Ok(None)
    }

    /// Reads an entity that must be there.
    pub(super) async fn load_known(&self, names: &Names) -> Result<Seen> {
        match self.load(names).await? {
            Some(seen) => Ok(seen),
            None => Err(self.no_entity(names).await),
        }
    }

    /// The error of an entity that is not there, or of a machine that is not.
    pub(super) async fn no_entity(&self, names: &Names) -> Error {
        // Whoever misspells the machine wants to hear of that.
        if let Err(error) = self.versions(&names.machine).await {
            return error;
        }
        let Names { machine, entity } = names;
        Error::new(ErrorKind::NotFound, format!("machine '{machine}' has no entity '{entity}'"))
            .guide(format!("make it with `s3db machine init {machine} {entity}`, or initialize_entity"))
    }

    /// The definition that an entity runs on; the current one for a row of s3db.js.
    pub(super) async fn machine_of(&self, entity: &Entity) -> Result<Arc<Machine>> {
        match &entity.definition {
            Some(hash) => self.machine(&entity.machine, hash).await,
            None => self.current(&entity.machine).await,
        }
    }

    /// The number of an entity's state in the definition that it runs on.
    pub(super) fn state_of(&self, machine: &Machine, entity: &Entity) -> Result<usize> {
        machine.state(&entity.state).ok_or_else(|| {
            Error::new(
                ErrorKind::Integrity,
                format!("{} is in state '{}', which its definition does not have", entity.what(), entity.state),
            )
            .guide(format!(
                "define a machine that has it, then `s3db machine migrate {} --to VERSION --map '{{\"{}\": \"…\"}}'`",
                entity.machine, entity.state
            ))
        })
    }

    /// Refuses a machine whose functions this process does not have.
    pub(super) fn check_runnable(&self, machine: &Machine) -> Result<()> {
        if machine.missing.is_empty() {
            return Ok(());
        }
        let (leave, functions): (Vec<&String>, Vec<&String>) =
            machine.missing.iter().partition(|missing| missing.starts_with("leave "));
        let hint = match functions.is_empty() {
            true => "set allowExec = true in s3db.toml, or send from a process that may; nothing was changed",
            false => "send from the program that registers it, or define it in the machine's file; nothing was changed",
        };
        let missing: Vec<&str> = functions.into_iter().chain(leave).map(String::as_str).collect();
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("this process lacks what machine '{}' needs: {}", machine.name(), missing.join(", ")),
        )
        .guide(hint))
    }

    /// Changes an entity by compare-and-swap until nobody was faster. `change` says what to write, or `None`
    /// if there is nothing to be done any more.
    pub(super) async fn mutate<T>(
        &self,
        names: &Names,
        change: impl Fn(&mut Entity) -> Option<T>,
    ) -> Result<Option<(T, Entity)>> {
        self.mutate_unless(names, |entity| change(entity).map(Change::Write)).await
    }

    /// As [`Core::mutate`], where `change` may also have an answer without a change.
    pub(super) async fn mutate_unless<T>(
        &self,
        names: &Names,
        change: impl Fn(&mut Entity) -> Option<Change<T>>,
    ) -> Result<Option<(T, Entity)>> {
        let slot = self.warm.slot(names);
        for attempt in 0..ATTEMPTS {
            let mut place = self.place_within(&slot).await;
            let known = place.as_mut().and_then(|place| place.take());
            let was_known = known.is_some();
            let Some(seen) = (match known {
                Some(seen) => Some(seen),
                None => self.load(names).await?,
            }) else {
                return Ok(None);
            };
            let states = self.states_to_write().await?;
            let mut entity = seen.entity.clone();
            match change(&mut entity) {
                Some(Change::Write(result)) => {
                    let row = entity.write(seen.snapshot.attributes().clone());
                    if let Some(snapshot) = states.swap(&seen.snapshot, row).await? {
                        if let Some(place) = &mut place {
                            **place = kept(Seen { snapshot, entity: entity.clone(), logged: seen.logged });
                        }
                        return Ok(Some((result, entity)));
                    }
                }
                // What was decided on a row that is only remembered is looked at again.
                _ if was_known => continue,
                Some(Change::Keep(result)) => return Ok(Some((result, entity))),
                None => return Ok(None),
            }
            drop(place);
            self.db()?.inner.back_off(attempt.min(3)).await;
        }
        Err(self.too_often(names))
    }

    /// Something of an entity as this process last saw it, or as it is.
    pub(super) async fn glance<T>(&self, names: &Names, take: impl Fn(&Seen) -> T) -> Result<T> {
        let slot = self.warm.slot(names);
        if let Some(place) = self.place_within(&slot).await
            && let Some(seen) = place.as_ref()
        {
            return Ok(take(seen));
        }
        Ok(take(&self.load_known(names).await?))
    }

    /// The place of an entity in this process, unless a sender has it for long: guards may take their time,
    /// and what actions came to must not wait for them. Without it the row is read, and decides.
    async fn place_within<'a>(&self, slot: &'a Slot) -> Option<MutexGuard<'a, Option<Seen>>> {
        let clock = Arc::clone(&self.db().ok()?.inner.clock);
        let place = std::pin::pin!(slot.lock());
        match select(place, clock.sleep(PATIENCE)).await {
            Either::Left((place, _)) => Some(place),
            Either::Right(_) => None,
        }
    }

    pub(super) fn too_often(&self, names: &Names) -> Error {
        Error::new(ErrorKind::Conflict, format!("{} was changed by others {ATTEMPTS} times in a row", names.what()))
            .guide("try again")
    }
}
