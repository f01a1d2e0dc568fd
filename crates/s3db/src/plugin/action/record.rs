//! `insert`, `update` and `delete`: writing records of the same database.
//!
//! They may run again after a crash, so each says by itself when it was done already: an insert without
//! an id makes it from the action's token, one with an id finds its own record, an update merges the same
//! values again, a delete finds nothing left.

use serde_json::{Map, Value, json};

use super::{Fields, Situation, Template, id_from, object_of, text_of};
use crate::database::Database;
use crate::error::ErrorKind;

/// A record to be written.
#[derive(Debug)]
pub(crate) struct RecordAction {
    resource: Template,
    write: Write,
}

#[derive(Debug)]
enum Write {
    Insert(Template),
    Update { id: Template, set: Template },
    Delete(Template),
}

impl RecordAction {
    pub(crate) fn compile(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
        let known: &[&str] = match kind {
            "insert" => &["resource", "record"],
            "update" => &["resource", "id", "set"],
            _ => &["resource", "id"],
        };
        let resource = fields.only(known).text("resource");
        let write = match kind {
            "insert" => fields.object("record").map(Write::Insert),
            "update" => {
                let (id, set) = (fields.text("id"), fields.object("set"));
                id.zip(set).map(|(id, set)| Write::Update { id, set })
            }
            _ => fields.text("id").map(Write::Delete),
        };
        Some(Self { resource: resource?, write: write? })
    }

    pub(crate) async fn run(&self, db: &Database, situation: &Situation) -> Result<Value, String> {
        let variables = &situation.variables;
        let name = text_of(self.resource.render(variables)?, "'resource'")?;
        let told = |e: crate::Error| e.to_string();
        let resource = db.resource(&name).await.map_err(told)?;
        match &self.write {
            Write::Insert(record) => {
                let mut record = object_of(record.render(variables)?, "'record'")?;
                if record.get("id").is_none_or(Value::is_null) {
                    record.insert("id".into(), json!(id_from(&situation.token)));
                }
                match resource.insert(Value::Object(record.clone())).await {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                        let id = text_of(record.get("id").cloned().unwrap_or_default(), "'id'")?;
                        let found = resource.find(&id).await.map_err(told)?;
                        let is_ours = found.is_some_and(|found| holds(&found.attributes, &record));
                        if is_ours { Ok(()) } else { Err(e.to_string()) }
                    }
                    other => other.map(|_| ()).map_err(told),
                }?;
            }
            Write::Update { id, set } => {
                let id = text_of(id.render(variables)?, "'id'")?;
                let set = object_of(set.render(variables)?, "'set'")?;
                resource.update(&id, Value::Object(set)).await.map_err(told)?;
            }
            Write::Delete(id) => {
                let id = text_of(id.render(variables)?, "'id'")?;
                match resource.delete(&id).await {
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    other => other.map_err(told)?,
                }
            }
        }
        Ok(Value::Null)
    }
}

/// Whether a record has all members of another.
fn holds(found: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().filter(|(name, _)| *name != "id").all(|(name, value)| found.get(name) == Some(value))
}
