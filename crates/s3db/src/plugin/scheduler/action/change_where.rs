//! `update_where` and `delete_where`: the records that a filter takes.

use serde_json::{Map, Value, json};

use crate::database::Database;
use crate::plugin::action::{Fields, Situation, Template, object_of, text_of};
use crate::query::Query;

/// Records to be changed or deleted.
#[derive(Debug)]
pub(in super::super) struct ChangeWhere {
    resource: Template,
    filter: Template,
    /// `None` deletes.
    set: Option<Template>,
    all: bool,
}

impl ChangeWhere {
    pub(super) fn compile_update(fields: &mut Fields<'_>) -> Option<Self> {
        let set = fields.only(&["resource", "where", "set", "all"]).object("set");
        Self::compile(fields, Some(set?))
    }

    pub(super) fn compile_delete(fields: &mut Fields<'_>) -> Option<Self> {
        fields.only(&["resource", "where", "all"]);
        Self::compile(fields, None)
    }

    fn compile(fields: &mut Fields<'_>, set: Option<Template>) -> Option<Self> {
        let resource = fields.text("resource");
        let all = match fields.get("all") {
            None => false,
            Some(Value::Bool(all)) => *all,
            Some(_) => {
                fields.problem("all", "must be true or false");
                false
            }
        };
        match fields.get("where") {
            None => {
                fields.problem("where", "is missing: a filter such as {\"expiresAt\": {\"$lt\": \"$now\"}}");
                return None;
            }
            Some(Value::Object(filter)) if filter.is_empty() && !all => {
                fields.problem("where", "takes every record; say so with 'all': true");
                return None;
            }
            Some(_) => {}
        }
        let filter = fields.object("where");
        Some(Self { resource: resource?, filter: filter?, set, all })
    }

    pub(super) async fn run(&self, db: &Database, situation: &Situation) -> Result<Value, String> {
        let told = |e: crate::Error| e.to_string();
        let variables = &situation.variables;
        let resource = db.resource(&text_of(self.resource.render(variables)?, "'resource'")?).await.map_err(told)?;
        let filter: Map<String, Value> = object_of(self.filter.render(variables)?, "'where'")?;
        if filter.is_empty() && !self.all {
            return Err("'where' takes every record; say so with 'all': true".into());
        }
        let query = Query { filter: Some(Value::Object(filter)), ..Query::all() };
        let (word, report) = match &self.set {
            Some(set) => {
                let set = Value::Object(object_of(set.render(variables)?, "'set'")?);
                ("updated", resource.update_where(&query, set, &|_| ()).await.map_err(told)?)
            }
            None => ("deleted", resource.delete_where(&query, &|_| ()).await.map_err(told)?),
        };
        match report.failed.first() {
            None => Ok(json!({ word: report.changed })),
            Some(first) => Err(format!(
                "{} of the records could not be {word}, {} were: '{}': {}",
                report.failures, report.changed, first.id, first.error
            )),
        }
    }
}
