//! Stored definitions: each by its hash, for ever, and one object that says which is current.
//!
//! Requests of `define`: GET of the versions; PUT of the definition; PUT of the versions, `If-Match`. A
//! crash after the first PUT leaves a definition that nothing names. An equal definition costs the GET.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, Precondition};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Core;
use super::definition::{MachineDefinition, Problem, invalid};
use super::machine::{Machine, not_registered};
use crate::database::json_object;
use crate::error::{Error, ErrorKind, Result};

/// How long a process believes which definition is current.
const FRESH: Duration = Duration::from_secs(60);
/// Definitions that are kept; beyond that all are read again.
const MOST_MACHINES: usize = 1_000;
/// Times that a change of the versions is made again after losing.
const MERGES: u32 = 16;

/// A machine, and its definitions from the first to the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineVersions {
    /// Its name.
    pub machine: String,
    /// The hash of the definition that new entities run on.
    pub current: String,
    /// All of them, the first one first.
    pub versions: Vec<MachineVersion>,
}

/// One definition of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineVersion {
    /// Its number, from 1.
    pub version: u64,
    /// Its hash.
    pub hash: String,
    /// When it was first stored, RFC 3339.
    pub defined_at: String,
}

/// What became of a definition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Defined {
    /// The machine.
    pub machine: String,
    /// The number of the definition.
    pub version: u64,
    /// Its hash.
    pub hash: String,
    /// Whether anything was stored; `false` for a definition that was current already.
    pub changed: bool,
    /// What is strange about it.
    pub warnings: Vec<Problem>,
}

/// A stored definition with its number and hash.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMachine {
    /// The definition.
    pub definition: MachineDefinition,
    /// Its number, from 1.
    pub version: u64,
    /// Its hash.
    pub hash: String,
    /// Functions that it names and this process has not registered: it cannot send there.
    pub missing: Vec<String>,
}

impl MachineVersions {
    /// The number of a definition.
    pub fn number(&self, hash: &str) -> Option<u64> {
        self.versions.iter().find(|v| v.hash == hash).map(|v| v.version)
    }

    /// The definition that a number, a hash, or the beginning of one names.
    ///
    /// # Errors
    /// `NotFound`, naming the versions that there are.
    pub fn named(&self, text: &str) -> Result<&MachineVersion> {
        let number = text.strip_prefix('v').unwrap_or(text).parse::<u64>().ok();
        let short = |hash: &str| text.len() >= 4 && hash.trim_start_matches("sha256:").starts_with(text);
        let fits = |v: &&MachineVersion| Some(v.version) == number || v.hash == text || short(&v.hash);
        self.versions.iter().find(fits).ok_or_else(|| {
            let known: Vec<String> = self.versions.iter().map(|v| v.version.to_string()).collect();
            Error::new(ErrorKind::NotFound, format!("machine '{}' has no version '{text}'", self.machine))
                .guide(format!("versions: {}", known.join(", ")))
        })
    }
}

/// Definitions that this process has read.
#[derive(Debug, Default)]
pub(super) struct Library(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    /// By machine and hash; these never change.
    machines: HashMap<(String, String), Arc<Machine>>,
    versions: HashMap<String, (Arc<MachineVersions>, Duration)>,
}

impl Library {
    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Stores a definition as the current one, if it is not.
    pub(super) async fn define(&self, definition: MachineDefinition) -> Result<Defined> {
        let name = definition.name.clone();
        let (machine, warnings) = self.compile(definition)?;
        let hash = machine.hash.clone();
        let mut changed = false;
        let mut last = None;
        for attempt in 0..MERGES {
            let (stored, etag) = self.read_versions(&name).await?.map_or((None, None), |(v, e)| (Some(v), Some(e)));
            let before = stored.clone();
            let mut versions = stored.unwrap_or_else(|| MachineVersions {
                machine: name.clone(),
                current: String::new(),
                versions: Vec::new(),
            });
            let version = versions.number(&hash).unwrap_or_else(|| {
                let next = versions.versions.iter().map(|v| v.version).max().unwrap_or_default() + 1;
                let defined_at = s3db_format::date::rfc3339(self.now_ms());
                versions.versions.push(MachineVersion { version: next, hash: hash.clone(), defined_at });
                next
            });
            versions.current.clone_from(&hash);
            if before.as_ref() == Some(&versions) {
                self.keep(&machine, versions);
                return Ok(Defined { machine: name, version, hash, changed, warnings });
            }
            // From here on it may be stored, whatever the answer says.
            changed = true;
            let inner = &self.db()?.inner;
            let body = json!({ "machine": name, "hash": hash, "definition": machine.definition.to_json() });
            inner.put_plain(&keys::machine_definition(&name, &hash), json_object(&body)).await?;
            let precondition = etag.map_or(Precondition::Absent, Precondition::Matches);
            let put = json_object(&json!(versions));
            match inner.store.put(&keys::machine_versions(&name), put, precondition).await {
                Ok(_) => {
                    self.keep(&machine, versions);
                    return Ok(Defined { machine: name, version, hash, changed, warnings });
                }
                // Lost, or not known: what is stored says whether it is there already.
                Err(e) if e.is_transient() || matches!(e.kind, StoreKind::Precondition | StoreKind::NotFound) => {
                    last = Some(e);
                }
                Err(error) => return Err(error.into()),
            }
            inner.back_off(attempt).await;
        }
        Err(match last {
            Some(e) if e.kind == StoreKind::Unknown => {
                Error::undecided(&format!("the definition of machine '{name}'"), Some(e))
            }
            Some(e) if e.kind != StoreKind::Precondition => Error::from(e),
            _ => Error::new(
                ErrorKind::Conflict,
                format!("machine '{name}' was defined by others {MERGES} times in a row"),
            )
            .guide("try again"),
        })
    }

    /// Compiles a definition that is to be stored: functions that are missing are errors there.
    pub(super) fn compile(&self, definition: MachineDefinition) -> Result<(Arc<Machine>, Vec<Problem>)> {
        let what = format!("machine '{}'", definition.name);
        let (machine, warnings) =
            Machine::compile(definition, &self.functions).map_err(|problems| invalid(&what, &problems))?;
        if machine.missing.is_empty() {
            return Ok((Arc::new(machine), warnings));
        }
        let problems: Vec<Problem> = machine.missing.iter().map(|m| not_registered(machine.name(), m)).collect();
        Err(invalid(&what, &problems).guide(
            "add it to 'guards' or 'actions' of the file, or define the machine from the program that registers it; nothing was stored",
        ))
    }

    fn keep(&self, machine: &Arc<Machine>, versions: MachineVersions) {
        let Ok(db) = self.db() else { return };
        let read_at = db.inner.clock.monotonic();
        let mut shelf = self.library.shelf();
        let key = (machine.name().to_owned(), machine.hash.clone());
        shelf.machines.insert(key, Arc::clone(machine));
        shelf.versions.insert(machine.name().to_owned(), (Arc::new(versions), read_at));
    }

    async fn read_versions(&self, name: &str) -> Result<Option<(MachineVersions, String)>> {
        keys::check_name("machine", name)?;
        let Some(object) = self.db()?.inner.read(&keys::machine_versions(name)).await? else { return Ok(None) };
        let versions = serde_json::from_slice(&object.body).map_err(|e| damaged(name, &e.to_string()))?;
        Ok(Some((versions, object.meta.etag)))
    }

    /// The definitions of a machine, read again after a minute.
    pub(super) async fn versions(&self, name: &str) -> Result<Arc<MachineVersions>> {
        let now = self.db()?.inner.clock.monotonic();
        let known = self.library.shelf().versions.get(name).cloned();
        if let Some((versions, read_at)) = known
            && now.saturating_sub(read_at) < FRESH
        {
            return Ok(versions);
        }
        let Some((versions, _)) = self.read_versions(name).await? else {
            return Err(self.unknown_machine(name).await?);
        };
        let versions = Arc::new(versions);
        self.library.shelf().versions.insert(name.to_owned(), (Arc::clone(&versions), now));
        Ok(versions)
    }

    /// Reads a machine's versions again the next time.
    pub(super) fn forget_versions(&self, name: &str) {
        self.library.shelf().versions.remove(name);
    }

    /// The definition of a machine that a number or hash names; the current one where nothing is named. One
    /// that is not known is a reason to read the versions again, once.
    pub(super) async fn hash_of(&self, name: &str, version: Option<&str>) -> Result<String> {
        let versions = self.versions(name).await?;
        let Some(text) = version else { return Ok(versions.current.clone()) };
        if let Ok(found) = versions.named(text) {
            return Ok(found.hash.clone());
        }
        self.forget_versions(name);
        Ok(self.versions(name).await?.named(text)?.hash.clone())
    }

    async fn unknown_machine(&self, name: &str) -> Result<Error> {
        let names = self.machine_names().await?;
        let hint = s3db_format::error::did_you_mean(name, names.iter().map(String::as_str)).unwrap_or_else(|| {
            match names.as_slice() {
                [] => "there are no machines yet; define one with `s3db machine define FILE`".to_owned(),
                names => format!("machines: {}", names.join(", ")),
            }
        });
        Ok(Error::not_found("machine", name).guide(hint))
    }

    /// The names of all machines, in order. Costs a LIST.
    pub(super) async fn machine_names(&self) -> Result<Vec<String>> {
        let folders = self.db()?.inner.folders_under(keys::MACHINES).await?;
        let mut names: Vec<_> =
            folders.iter().filter_map(|folder| keys::decoded_folder(keys::MACHINES, folder)).collect();
        names.sort();
        Ok(names)
    }

    /// The current definition of a machine, ready to run.
    pub(super) async fn current(&self, name: &str) -> Result<Arc<Machine>> {
        let versions = self.versions(name).await?;
        self.machine(name, &versions.current).await
    }

    /// A definition by its hash, ready to run; read once.
    pub(super) async fn machine(&self, name: &str, hash: &str) -> Result<Arc<Machine>> {
        let key = (name.to_owned(), hash.to_owned());
        if let Some(known) = self.library.shelf().machines.get(&key) {
            return Ok(Arc::clone(known));
        }
        let object = self.db()?.inner.read(&keys::machine_definition(name, hash)).await?;
        let object = object.ok_or_else(|| damaged(name, &format!("the definition {hash} is gone")))?;
        let stored: Value = serde_json::from_slice(&object.body).map_err(|e| damaged(name, &e.to_string()))?;
        let definition = MachineDefinition::from_json(name, stored.get("definition").unwrap_or(&Value::Null))
            .map_err(|e| damaged(name, &e.to_string()))?;
        let compiled = Machine::compile(definition, &self.functions);
        let (machine, _) = compiled.map_err(|problems| {
            invalid(&format!("the stored definition of machine '{name}'"), &problems)
                .guide("this process cannot run it: see what it says, or use the program that defined it")
        })?;
        let machine = Arc::new(machine);
        let mut shelf = self.library.shelf();
        if shelf.machines.len() >= MOST_MACHINES {
            shelf.machines.clear();
        }
        shelf.machines.insert(key, Arc::clone(&machine));
        drop(shelf);
        Ok(machine)
    }

    /// A stored definition, the current one where no version is named.
    pub(super) async fn stored(&self, name: &str, version: Option<&str>) -> Result<StoredMachine> {
        let hash = self.hash_of(name, version).await?;
        let machine = self.machine(name, &hash).await?;
        let version = self.versions(name).await?.number(&hash).unwrap_or_default();
        Ok(StoredMachine { definition: machine.definition.clone(), version, hash, missing: machine.missing.clone() })
    }
}

fn damaged(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Integrity, format!("the stored definition of machine '{name}' is damaged: {why}"))
        .guide("restore s3db/meta/machines/ from a backup")
}
