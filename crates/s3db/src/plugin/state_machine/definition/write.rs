//! Writing definitions: one text for each meaning, so that equal machines have equal hashes.

use serde_json::{Map, Value, json};

use super::{ActionRef, Guard, GuardRef, MachineDefinition, State, Target};

impl MachineDefinition {
    /// The definition as JSON, in the form that it is read from.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("initialState".into(), json!(self.initial_state));
        let states = self.states.iter().map(|state| (state.name.clone(), state.to_json())).collect();
        members.insert("states".into(), Value::Object(states));
        put_text(&mut members, self.description.as_ref());
        put_object(&mut members, "meta", self.meta.clone());
        if !self.track_states {
            members.insert("trackStates".into(), json!(false));
        }
        let rules = self.authorize.iter().map(|(event, rule)| (event.clone(), rule.to_json())).collect();
        put_object(&mut members, "authorize", rules);
        put_object(&mut members, "guards", self.guards.iter().map(|(n, g)| (n.clone(), g.to_json())).collect());
        let actions = self.actions.iter().map(|(n, a)| (n.clone(), Value::Object(a.0.clone()))).collect();
        put_object(&mut members, "actions", actions);
        Value::Object(members)
    }

    /// The hash by which entities are pinned to this definition.
    pub fn hash(&self) -> String {
        s3db_format::resource::hash_json(&self.to_json())
    }
}

impl State {
    fn to_json(&self) -> Value {
        let mut members = Map::new();
        if self.is_final {
            members.insert("type".into(), json!("final"));
        }
        put_object(&mut members, "on", targets(&self.on));
        let guards =
            self.guards.iter().map(|(event, g)| (event.clone(), list(g.iter().map(GuardRef::to_json)))).collect();
        put_object(&mut members, "guards", guards);
        put_object(&mut members, "after", targets(&self.after));
        for (key, actions) in [("entry", &self.entry), ("exit", &self.exit)] {
            if !actions.is_empty() {
                members.insert(key.into(), list(actions.iter().map(ActionRef::to_json)));
            }
        }
        put_text(&mut members, self.description.as_ref());
        put_object(&mut members, "meta", self.meta.clone());
        Value::Object(members)
    }
}

impl Target {
    fn to_json(&self) -> Value {
        if self.guards.is_empty() && self.actions.is_empty() {
            return json!(self.target);
        }
        let mut members = Map::from_iter([("target".to_owned(), json!(self.target))]);
        if !self.guards.is_empty() {
            members.insert("guard".into(), list(self.guards.iter().map(GuardRef::to_json)));
        }
        if !self.actions.is_empty() {
            members.insert("actions".into(), list(self.actions.iter().map(ActionRef::to_json)));
        }
        Value::Object(members)
    }
}

impl GuardRef {
    fn to_json(&self) -> Value {
        match self {
            Self::Named(name) => json!(name),
            Self::Inline(guard) => guard.to_json(),
        }
    }
}

impl Guard {
    pub(in super::super) fn to_json(&self) -> Value {
        let mut members = Map::from_iter([("cel".to_owned(), json!(self.cel))]);
        let with = self.with.iter().map(|(v, l)| (v.clone(), json!({ "resource": l.resource, "id": l.id }))).collect();
        put_object(&mut members, "with", with);
        Value::Object(members)
    }
}

impl ActionRef {
    fn to_json(&self) -> Value {
        match self {
            Self::Named(name) => json!(name),
            Self::Inline(action) => Value::Object(action.0.clone()),
        }
    }
}

fn targets(entries: &[(String, Vec<Target>)]) -> Map<String, Value> {
    entries.iter().map(|(event, targets)| (event.clone(), list(targets.iter().map(Target::to_json)))).collect()
}

/// One thing alone, several as a list.
fn list(items: impl Iterator<Item = Value>) -> Value {
    let mut items: Vec<Value> = items.collect();
    match items.len() {
        1 => items.remove(0),
        _ => Value::Array(items),
    }
}

fn put_object(members: &mut Map<String, Value>, key: &str, value: Map<String, Value>) {
    if !value.is_empty() {
        members.insert(key.to_owned(), Value::Object(value));
    }
}

fn put_text(members: &mut Map<String, Value>, description: Option<&String>) {
    if let Some(text) = description {
        members.insert("description".into(), json!(text));
    }
}
