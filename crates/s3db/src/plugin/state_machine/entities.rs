//! Entities by state, by age, and counts of them, from the keys of the index.
//!
//! A key of the index ends in the revision under which it was put, whose time is when the entity came into
//! the state; so those that are too young are passed over without reading them. Where the index is not known
//! to be complete all rows are read instead. Entities that are returned were read; counts are from keys alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db_format::catalog;
use s3db_format::partition::IndexEntry;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::entity::Entity;
use super::machine::Machine;
use super::resources::BY_STATE;
use super::{Core, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// How far the clocks of writers may be apart: keys that are younger by less are looked at.
const CLOCKS_MS: i64 = 60_000;

/// Lists that run side by side.
const LISTS: usize = 16;

/// An entity in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntitySummary {
    /// The entity.
    pub entity: String,
    /// Its state.
    pub state: String,
    /// Transitions so far.
    pub version: u64,
    /// When it came into its state, RFC 3339.
    pub updated_at: String,
    /// How long it has been there, in milliseconds.
    pub age_ms: i64,
    /// Whether its state is final.
    pub done: bool,
    /// The hash of the definition that it runs on.
    pub definition: Option<String>,
}

/// Which entities of a machine are looked for.
struct Wanted {
    /// Only those in these states; `None` is in any, also in one that no definition has.
    states: Option<BTreeSet<String>>,
    /// Only those that came into their state at this instant or before.
    since_ms: Option<i64>,
}

impl StateMachinePlugin {
    /// The entities that are in a state, only those that have been there for `older_than` where that is given.
    /// In the order of their ids. Costs a LIST per thousand entities in the state, and a GET for each that is
    /// returned.
    ///
    /// # Errors
    /// `NotFound` for the machine, or a state that none of its definitions has.
    pub async fn entities_in(
        &self,
        machine: &str,
        state: &str,
        older_than: Option<Duration>,
    ) -> Result<Vec<EntitySummary>> {
        let core = &self.core;
        let knows = |machines: &[std::sync::Arc<Machine>]| machines.iter().any(|m| m.state(state).is_some());
        let mut machines = core.definitions_of(machine).await?;
        if !knows(&machines) {
            // Another process may have defined it just now.
            core.forget_versions(machine);
            machines = core.definitions_of(machine).await?;
        }
        if !knows(&machines) {
            return Err(machines
                .last()
                .map_or_else(|| Error::not_found("state", state), |current| unknown_state(current, state)));
        }
        let since_ms = older_than.map(|age| core.instant_before(age));
        core.find(machine, Wanted { states: Some(BTreeSet::from([state.to_owned()])), since_ms }).await
    }

    /// All entities of a machine, in the order of their ids. Costs a LIST per thousand entities of all
    /// machines, and a GET for each that is returned.
    ///
    /// # Errors
    /// `NotFound` for the machine.
    pub async fn entities(&self, machine: &str, older_than: Option<Duration>) -> Result<Vec<EntitySummary>> {
        self.core.versions(machine).await?;
        let since_ms = older_than.map(|age| self.core.instant_before(age));
        self.core.find(machine, Wanted { states: None, since_ms }).await
    }

    /// The entities that have been in one state for `older_than` and are not done, the oldest first. Costs a
    /// LIST for each state that is not final, or per thousand entities in it, and a GET for each that is
    /// returned.
    ///
    /// # Errors
    /// `NotFound` for the machine.
    pub async fn stuck(&self, machine: &str, older_than: Duration) -> Result<Vec<EntitySummary>> {
        let core = &self.core;
        let since_ms = Some(core.instant_before(older_than));
        let machines = core.definitions_of(machine).await?;
        let states = Some(states_not_final(&machines));
        let mut found = core.find(machine, Wanted { states, since_ms }).await?;
        found.retain(|entity| !entity.done);
        found.sort_by_key(|entity| std::cmp::Reverse(entity.age_ms));
        Ok(found)
    }

    /// How many entities are in each state; states without any are there, too. Costs a LIST per thousand
    /// entities of all machines.
    ///
    /// It is from the keys of the index, which may still name an entity whose beginning or move a crash cut
    /// off, until `doctor --repair` removes the key; `exact` reads every entity instead, a GET each.
    ///
    /// # Errors
    /// `NotFound` for the machine.
    pub async fn counts(&self, machine: &str, exact: bool) -> Result<BTreeMap<String, usize>> {
        let core = &self.core;
        let mut counts = BTreeMap::new();
        let current = core.current(machine).await?;
        counts.extend(current.definition.states.iter().map(|state| (state.name.clone(), 0)));
        let states = match exact {
            true => core.all_entities(machine).await?.into_iter().map(|entity| entity.state).collect(),
            false => core.states_of_all(machine).await?,
        };
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
        Ok(counts)
    }
}

impl StateMachinePlugin {
    /// What to know about lists and counts where the index of states is not complete: that all rows are read
    /// for them, and what builds it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn index_warning(&self) -> Result<Option<String>> {
        let Some(states) = self.core.states().await? else { return Ok(None) };
        if self.core.indexed(&states).await?.is_some() {
            return Ok(None);
        }
        let name = states.name();
        if self.core.db()?.inner.is_shared() {
            return Ok(Some(format!("the database is shared with s3db.js, so all rows of '{name}' are read")));
        }
        Ok(Some(match states.catalog_entry().await?.partition(BY_STATE) {
            Some(_) => format!(
                "the index of '{name}' is not complete, so all its rows are read; `s3db resource reindex {name}` builds it"
            ),
            None => format!("'{name}' keeps no index of states, so all its rows are read"),
        }))
    }
}

/// The states that are not final in one of the definitions.
fn states_not_final(machines: &[std::sync::Arc<Machine>]) -> BTreeSet<String> {
    let states = machines.iter().flat_map(|m| m.definition.states.iter());
    states.filter(|state| !state.is_final).map(|state| state.name.clone()).collect()
}

pub(super) fn unknown_state(machine: &Machine, state: &str) -> Error {
    let names = machine.definition.states.iter().map(|s| s.name.as_str());
    let hint = s3db_format::error::did_you_mean(state, names.clone())
        .unwrap_or_else(|| format!("states: {}", names.take(20).collect::<Vec<_>>().join(", ")));
    Error::new(ErrorKind::NotFound, format!("machine '{}' has no state '{state}'", machine.name())).guide(hint)
}

impl Core {
    pub(super) fn instant_before(&self, age: Duration) -> i64 {
        self.now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    }

    /// Every definition of a machine, the current one last.
    pub(super) async fn definitions_of(&self, name: &str) -> Result<Vec<std::sync::Arc<Machine>>> {
        let versions = self.versions(name).await?;
        let mut machines = Vec::new();
        for version in versions.versions.iter().filter(|v| v.hash != versions.current) {
            machines.push(self.machine(name, &version.hash).await?);
        }
        machines.push(self.machine(name, &versions.current).await?);
        Ok(machines)
    }

    /// How many entities are in a state, whatever definition knows it.
    pub(super) async fn entities_in_state(&self, machine: &str, state: &str) -> Result<usize> {
        let states = Some(BTreeSet::from([state.to_owned()]));
        Ok(self.find(machine, Wanted { states, since_ms: None }).await?.len())
    }

    /// All entities of a machine.
    pub(super) async fn all_entities(&self, machine: &str) -> Result<Vec<EntitySummary>> {
        self.find(machine, Wanted { states: None, since_ms: None }).await
    }

    async fn find(&self, machine: &str, wanted: Wanted) -> Result<Vec<EntitySummary>> {
        let Some(states) = self.states().await? else { return Ok(Vec::new()) };
        let ids = match self.indexed(&states).await? {
            Some(entry) => Some(self.ids_from_keys(&entry, machine, &wanted).await?),
            None => None,
        };
        let rows = match ids {
            Some(ids) => self.read_all(&states, ids).await?,
            None => {
                let mut filter = Map::from_iter([("machineId".to_owned(), json!(machine))]);
                if let Some(states) = &wanted.states {
                    filter.insert("currentState".into(), json!({ "$in": states }));
                }
                let found = states.query(Value::Object(filter)).await?;
                found.iter().map(|record| Entity::read(&record.id, &record.attributes)).collect::<Result<_>>()?
            }
        };
        let now_ms = self.now_ms();
        let mut found = Vec::new();
        for row in rows {
            let since_ms = since(&row);
            let fits = row.machine == machine
                && wanted.states.as_ref().is_none_or(|states| states.contains(&row.state))
                && wanted.since_ms.is_none_or(|wanted| since_ms.is_some_and(|since| since <= wanted));
            if fits {
                let view = self.view(&row).await?;
                found.push(EntitySummary {
                    age_ms: since_ms.map_or(0, |since| now_ms.saturating_sub(since)),
                    entity: view.entity,
                    state: view.state,
                    version: view.version,
                    updated_at: view.updated_at,
                    done: view.done,
                    definition: view.definition,
                });
            }
        }
        found.sort_by(|a, b| a.entity.cmp(&b.entity));
        Ok(found)
    }

    async fn read_all(&self, states: &Resource, ids: BTreeSet<String>) -> Result<Vec<Entity>> {
        let reads = stream::iter(ids).map(|id| async move { states.find(&id).await });
        let records: Vec<_> = reads.buffered(self.db()?.inner.parallel()).try_collect().await?;
        records.into_iter().flatten().map(|record| Entity::read(&record.id, &record.attributes)).collect()
    }

    /// The catalog's entry of the resource, if its index of states is known to be complete.
    async fn indexed(&self, states: &Resource) -> Result<Option<std::sync::Arc<catalog::Resource>>> {
        let inner = &self.db()?.inner;
        let entry = states.catalog_entry().await?;
        let Some(partition) = entry.partition(BY_STATE) else { return Ok(None) };
        if inner.is_shared() || !inner.is_indexed(&entry, partition).await? {
            return Ok(None);
        }
        Ok(Some(entry))
    }

    /// The ids that the keys of a machine name, without those that are too young.
    async fn ids_from_keys(
        &self,
        entry: &catalog::Resource,
        machine: &str,
        wanted: &Wanted,
    ) -> Result<BTreeSet<String>> {
        let youngest = wanted.since_ms.map(|since| crate::entropy::earliest_ulid(since.saturating_add(CLOCKS_MS)));
        let keys = self.keys_of(entry, machine, wanted.states.as_ref()).await?;
        let too_young = |key: &IndexEntry| {
            // A key that `reindex` put says nothing of time.
            let is_time = key.revision.len() == crate::entropy::earliest_ulid(0).len();
            youngest.as_ref().is_some_and(|youngest| is_time && key.revision > *youngest)
        };
        Ok(keys.into_iter().filter(|key| !too_young(key)).map(|key| key.id).collect())
    }

    /// The keys of a machine's entities: in some states, or in all.
    async fn keys_of(
        &self,
        entry: &catalog::Resource,
        machine: &str,
        states: Option<&BTreeSet<String>>,
    ) -> Result<Vec<IndexEntry>> {
        let Some(partition) = entry.partition(BY_STATE) else { return Ok(Vec::new()) };
        let place = partition.fields().iter().position(|(path, _)| path == "machineId").unwrap_or_default();
        let prefixes: Vec<String> = match states {
            None => vec![partition.index_prefix(&entry.name, &[])],
            Some(states) => {
                let row = |state: &String| {
                    Map::from_iter([
                        ("machineId".to_owned(), json!(machine)),
                        ("currentState".to_owned(), json!(state)),
                    ])
                };
                let values = states.iter().filter_map(|state| partition.values(&row(state), &entry.current().name));
                values.map(|values| partition.index_prefix(&entry.name, &values)).collect()
            }
        };
        let lists = stream::iter(prefixes).map(|prefix| async move {
            let mut keys = Vec::new();
            let inner = &self.db()?.inner;
            inner.keys_under(&prefix, |found| keys.extend(found)).await?;
            Ok::<_, Error>(keys)
        });
        let keys: Vec<Vec<String>> = lists.buffer_unordered(LISTS).try_collect().await?;
        let entries = keys.iter().flatten().filter_map(|key| partition.parse_index_key(&entry.name, key));
        Ok(entries.filter(|key| key.values.get(place).is_some_and(|value| value == machine)).collect())
    }

    /// The state of each entity of a machine. One whose move is under way has two keys, and is read.
    async fn states_of_all(&self, machine: &str) -> Result<Vec<String>> {
        let Some(states) = self.states().await? else { return Ok(Vec::new()) };
        let Some(entry) = self.indexed(&states).await? else {
            let rows = states.query(json!({ "machineId": machine })).await?;
            return Ok(rows.iter().filter_map(|row| super::record_text(&row.attributes, "currentState")).collect());
        };
        let partition = entry.partition(BY_STATE);
        let place = partition.and_then(|p| p.fields().iter().position(|(path, _)| path == "currentState"));
        let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in self.keys_of(&entry, machine, None).await? {
            let state = place.and_then(|place| key.values.into_iter().nth(place)).unwrap_or_default();
            by_id.entry(key.id).or_default().push(state);
        }
        let mut found = Vec::new();
        let mut doubtful = BTreeSet::new();
        for (id, states) in by_id {
            match <[String; 1]>::try_from(states) {
                Ok([state]) => found.push(state),
                Err(_) => drop(doubtful.insert(id)),
            }
        }
        found.extend(self.read_all(&states, doubtful).await?.into_iter().map(|entity| entity.state));
        Ok(found)
    }
}

/// When an entity came into its state.
fn since(entity: &Entity) -> Option<i64> {
    s3db_format::date::instant(&entity.updated_at)
}
