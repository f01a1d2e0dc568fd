//! Reading definitions: every problem is found, not only the first, and each names its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Action, ActionRef, Guard, GuardRef, Lookup, MachineDefinition, State, Target};
use crate::error::Result;
use crate::plugin::problem::{Problems, invalid, known_keys};
use crate::plugin::state_machine::machine::problems_of;

const MACHINE_KEYS: [&str; 8] =
    ["initialState", "states", "description", "meta", "trackStates", "authorize", "guards", "actions"];
const STATE_KEYS: [&str; 8] = ["on", "guards", "entry", "exit", "type", "after", "meta", "description"];
const TARGET_KEYS: [&str; 5] = ["target", "guard", "guards", "actions", "action"];

impl MachineDefinition {
    /// Reads a definition.
    ///
    /// # Errors
    /// `Invalid` with every key, type and value that cannot be. Whether targets exist and names are
    /// registered is found when the definition is loaded.
    pub fn from_json(name: &str, value: &Value) -> Result<Self> {
        let mut problems = Problems::default();
        let machine = Self::read(name, value, &mut problems);
        if problems.0.is_empty() {
            return Ok(machine);
        }
        problems.0.extend(problems_of(&machine));
        Err(invalid(&format!("machine '{name}'"), &problems.0))
    }

    pub(super) fn read(name: &str, value: &Value, problems: &mut Problems) -> Self {
        let mut machine = Self::new(name, "");
        let Some(members) = object(value, name, problems) else { return machine };
        known_keys(members, &MACHINE_KEYS, name, problems);
        match members.get("initialState") {
            Some(Value::String(state)) => machine.initial_state.clone_from(state),
            Some(_) => problems.add(&format!("{name}.initialState"), "must be the name of a state"),
            // A machine without one is refused when it is compiled.
            None => {}
        }
        match members.get("states") {
            Some(Value::Object(states)) => {
                machine.states = states.iter().map(|(state, v)| read_state(name, state, v, problems)).collect();
            }
            Some(_) => problems.add(&format!("{name}.states"), "must be an object: a state by its name"),
            None => problems.add(&format!("{name}.states"), "is missing: the states by their names"),
        }
        machine.description = text(members, "description", name, problems);
        machine.meta = meta(members, name, problems);
        match members.get("trackStates") {
            None => {}
            Some(Value::Bool(track)) => machine.track_states = *track,
            Some(_) => problems.add(&format!("{name}.trackStates"), "must be true or false"),
        }
        if let Some(rule) = members.get("authorize") {
            machine.authorize = read_authorize(rule, &format!("{name}.authorize"), problems);
        }
        if let Some(guards) = members.get("guards") {
            machine.guards = read_guards(guards, &format!("{name}.guards"), problems);
        }
        if let Some(actions) = members.get("actions") {
            machine.actions = read_actions(actions, &format!("{name}.actions"), problems);
        }
        machine
    }
}

fn read_state(machine: &str, name: &str, value: &Value, problems: &mut Problems) -> State {
    let path = format!("{machine}.states.{name}");
    let mut state = State::new(name);
    let Some(members) = object(value, &path, problems) else { return state };
    known_keys(members, &STATE_KEYS, &path, problems);
    match members.get("type") {
        None => {}
        Some(Value::String(kind)) if kind == "final" => state.is_final = true,
        Some(other) => problems.add(&format!("{path}.type"), format!("can only be \"final\", not {other}")),
    }
    state.on = entries(members, "on", &path, problems, read_targets);
    state.after = entries(members, "after", &path, problems, read_targets);
    state.guards = entries(members, "guards", &path, problems, read_guard_refs);
    for (key, list) in [("entry", &mut state.entry), ("exit", &mut state.exit)] {
        if let Some(value) = members.get(key) {
            *list = read_action_refs(value, &format!("{path}.{key}"), problems);
        }
    }
    state.description = text(members, "description", &path, problems);
    state.meta = meta(members, &path, problems);
    state
}

fn entries<T>(
    members: &Map<String, Value>,
    key: &str,
    path: &str,
    problems: &mut Problems,
    read: fn(&Value, &str, &mut Problems) -> Vec<T>,
) -> Vec<(String, Vec<T>)> {
    let path = format!("{path}.{key}");
    let Some(value) = members.get(key) else { return Vec::new() };
    let Some(entries) = object(value, &path, problems) else { return Vec::new() };
    entries.iter().map(|(name, value)| (name.clone(), read(value, &format!("{path}.{name}"), problems))).collect()
}

/// One thing, or a list of them.
fn each<'a>(value: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
    match value {
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (item, format!("{path}[{at}]"))).collect(),
        one => vec![(one, path.to_owned())],
    }
}

fn read_targets(value: &Value, path: &str, problems: &mut Problems) -> Vec<Target> {
    let targets: Vec<Target> =
        each(value, path).into_iter().filter_map(|(item, path)| read_target(item, &path, problems)).collect();
    if matches!(value, Value::Array(items) if items.is_empty()) {
        problems.add(path, "needs at least one target");
    }
    targets
}

fn read_target(value: &Value, path: &str, problems: &mut Problems) -> Option<Target> {
    match value {
        Value::String(state) => Some(Target::to(state)),
        Value::Object(members) => {
            known_keys(members, &TARGET_KEYS, path, problems);
            let Some(Value::String(state)) = members.get("target") else {
                problems.add(&format!("{path}.target"), "must be the name of a state");
                return None;
            };
            let mut target = Target::to(state);
            for key in ["guard", "guards"] {
                let found = members.get(key).map(|v| read_guard_refs(v, &format!("{path}.{key}"), problems));
                target.guards.extend(found.unwrap_or_default());
            }
            for key in ["action", "actions"] {
                let found = members.get(key).map(|v| read_action_refs(v, &format!("{path}.{key}"), problems));
                target.actions.extend(found.unwrap_or_default());
            }
            Some(target)
        }
        other => {
            problems.add(path, format!("must be the name of a state, or {{target, guard, actions}}, not {other}"));
            None
        }
    }
}

fn read_guard_refs(value: &Value, path: &str, problems: &mut Problems) -> Vec<GuardRef> {
    let read = |(item, path): (&Value, String)| match item {
        Value::String(name) => Some(GuardRef::Named(name.clone())),
        other => read_guard(other, &path, problems).map(GuardRef::Inline),
    };
    each(value, path).into_iter().filter_map(read).collect()
}

fn read_action_refs(value: &Value, path: &str, problems: &mut Problems) -> Vec<ActionRef> {
    let read = |(item, path): (&Value, String)| match item {
        Value::String(name) => Some(ActionRef::Named(name.clone())),
        other => read_action(other, &path, problems).map(ActionRef::Inline),
    };
    each(value, path).into_iter().filter_map(read).collect()
}

fn read_guard(value: &Value, path: &str, problems: &mut Problems) -> Option<Guard> {
    let Value::Object(members) = value else {
        problems.add(path, format!("must be the name of a guard, or {{cel, with}}, not {value}"));
        return None;
    };
    known_keys(members, &["cel", "with"], path, problems);
    let Some(Value::String(cel)) = members.get("cel") else {
        problems.add(&format!("{path}.cel"), "must be an expression, as \"context.total > 100\"");
        return None;
    };
    let mut guard = Guard::cel(cel);
    let empty = Map::new();
    let with = members.get("with").map(|v| object(v, &format!("{path}.with"), problems));
    for (variable, lookup) in with.flatten().unwrap_or(&empty) {
        let path = format!("{path}.with.{variable}");
        let Some(lookup) = object(lookup, &path, problems) else { continue };
        known_keys(lookup, &["resource", "id"], &path, problems);
        match (lookup.get("resource"), lookup.get("id")) {
            (Some(Value::String(resource)), Some(Value::String(id))) => {
                guard.with.push((variable.clone(), Lookup { resource: resource.clone(), id: id.clone() }));
            }
            _ => problems.add(&path, "needs 'resource' and 'id', an expression as \"context.productId\""),
        }
    }
    Some(guard)
}

fn read_action(value: &Value, path: &str, problems: &mut Problems) -> Option<Action> {
    match value {
        Value::Object(members) => Some(Action(members.clone())),
        other => {
            problems.add(path, format!("must be the name of an action, or {{kind, …}}, not {other}"));
            None
        }
    }
}

/// One rule for every event, or rules by event.
fn read_authorize(value: &Value, path: &str, problems: &mut Problems) -> Vec<(String, GuardRef)> {
    let one =
        |value: &Value, path: &str, problems: &mut Problems| read_guard_refs(value, path, problems).into_iter().next();
    let mut single = |rule: &Value, path: &str| {
        if rule.is_array() {
            problems.add(path, "must be one rule; join several with &&");
        }
    };
    match value {
        Value::Object(rules) if !rules.contains_key("cel") => {
            rules.iter().for_each(|(event, rule)| single(rule, &format!("{path}.{event}")));
        }
        rule => single(rule, path),
    }
    match value {
        Value::Object(rules) if !rules.contains_key("cel") => rules
            .iter()
            .filter_map(|(event, rule)| Some((event.clone(), one(rule, &format!("{path}.{event}"), problems)?)))
            .collect(),
        rule => one(rule, path, problems).map(|rule| (super::ANY.to_owned(), rule)).into_iter().collect(),
    }
}

pub(super) fn read_guards(value: &Value, path: &str, problems: &mut Problems) -> BTreeMap<String, Guard> {
    let Some(members) = object(value, path, problems) else { return BTreeMap::new() };
    let read = |(name, value): (&String, &Value)| {
        Some((name.clone(), read_guard(value, &format!("{path}.{name}"), problems)?))
    };
    members.iter().filter_map(read).collect()
}

pub(super) fn read_actions(value: &Value, path: &str, problems: &mut Problems) -> BTreeMap<String, Action> {
    let Some(members) = object(value, path, problems) else { return BTreeMap::new() };
    let read = |(name, value): (&String, &Value)| {
        Some((name.clone(), read_action(value, &format!("{path}.{name}"), problems)?))
    };
    members.iter().filter_map(read).collect()
}

pub(super) fn object<'a>(value: &'a Value, path: &str, problems: &mut Problems) -> Option<&'a Map<String, Value>> {
    let members = value.as_object();
    if members.is_none() {
        problems.add(path, format!("must be an object, not {value}"));
    }
    members
}

fn text(members: &Map<String, Value>, key: &str, path: &str, problems: &mut Problems) -> Option<String> {
    match members.get(key)? {
        Value::String(text) => Some(text.clone()),
        _ => {
            problems.add(&format!("{path}.{key}"), "must be a text");
            None
        }
    }
}

fn meta(members: &Map<String, Value>, path: &str, problems: &mut Problems) -> Map<String, Value> {
    let meta = members.get("meta").map(|v| object(v, &format!("{path}.meta"), problems));
    meta.flatten().cloned().unwrap_or_default()
}
