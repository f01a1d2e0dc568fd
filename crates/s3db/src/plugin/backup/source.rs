//! The database that is backed up: its id, its time, what it holds.

use std::collections::BTreeSet;

use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, Precondition};
use serde_json::{Value, json};

use crate::database::{Inner, json_object};
use crate::error::{Error, ErrorKind, Result};

impl Inner {
    /// The id of this database, made where there is none. Costs a GET, and a PUT once.
    pub(crate) async fn database_id(&self) -> Result<String> {
        if let Some(id) = self.known_database_id().await? {
            return Ok(id);
        }
        let id = self.ulid();
        let put = json_object(&json!({ "id": id, "createdAt": self.now() }));
        match self.store.put(keys::DATABASE_ID, put, Precondition::Absent).await {
            Ok(_) => Ok(id),
            // Another process made it, or an answer was lost.
            Err(error) if error.is_transient() || error.kind == StoreKind::Precondition => {
                self.known_database_id().await?.ok_or_else(|| Error::from(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The id of this database, if it has one.
    pub(crate) async fn known_database_id(&self) -> Result<Option<String>> {
        let Some(object) = self.read(keys::DATABASE_ID).await? else { return Ok(None) };
        let document: Value = serde_json::from_slice(&object.body).unwrap_or_default();
        let id = document.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        id.map(|id| Some(id.to_owned())).ok_or_else(|| {
            Error::new(ErrorKind::Integrity, format!("{} holds no id", keys::DATABASE_ID))
                .guide("restore that object from a backup, or delete it: then earlier backups count as those of another database")
        })
    }
}

/// The folders right under a database's prefix.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Resources that have objects.
    pub(super) resources: BTreeSet<String>,
    /// Folders that are not the database's.
    pub(super) foreign: Vec<String>,
}

/// Looks at the folders of a database. Costs a LIST.
pub(super) async fn folders(inner: &Inner) -> Result<Folders> {
    let mut found = Folders::default();
    for folder in inner.folders_under("").await? {
        match keys::resource_in(&folder) {
            Some(name) => {
                found.resources.insert(name.to_owned());
            }
            None if [keys::OWN, keys::CACHE].contains(&folder.as_str()) => {}
            None => found.foreign.push(folder),
        }
    }
    Ok(found)
}
