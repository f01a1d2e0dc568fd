//! The JSON Schema of a file of machines, for editors.

use serde_json::{Value, json};

/// The JSON Schema of a file of machines. It is also in `docs/machines.schema.json`.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "State machines of s3db",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "$schema": { "type": "string" },
            "machines": { "description": "The machines by their names.", "$ref": "#/$defs/machines" },
            "stateMachines": { "description": "The same as machines.", "$ref": "#/$defs/machines" },
            "guards": { "$ref": "#/$defs/guards" },
            "actions": { "$ref": "#/$defs/actions" }
        },
        "$defs": definitions(),
    })
}

fn definitions() -> Value {
    let mut all = machine();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), guards_and_actions()) {
        all.extend(more);
    }
    all
}

fn machine() -> Value {
    let one_or_more = |item: &str| json!({ "anyOf": [{ "$ref": item }, { "type": "array", "minItems": 1, "items": { "$ref": item } }] });
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
    json!({
        "machines": {
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_.-]{1,64}$" },
            "additionalProperties": { "$ref": "#/$defs/machine" }
        },
        "machine": {
            "type": "object",
            "additionalProperties": false,
            "required": ["initialState", "states"],
            "properties": {
                "initialState": { "description": "The state of a new entity.", "type": "string" },
                "states": { "type": "object", "minProperties": 1, "maxProperties": 10000, "propertyNames": name, "additionalProperties": { "$ref": "#/$defs/state" } },
                "description": { "type": "string" },
                "meta": { "description": "Kept and returned.", "type": "object" },
                "trackStates": { "description": "Keep an index of which entities are in which state.", "type": "boolean", "default": true },
                "authorize": {
                    "description": "Who may send: one rule, or rules by event with * for every other.",
                    "anyOf": [{ "$ref": "#/$defs/guardRef" }, { "type": "object", "additionalProperties": { "$ref": "#/$defs/guardRef" } }]
                },
                "guards": { "$ref": "#/$defs/guards" },
                "actions": { "$ref": "#/$defs/actions" }
            }
        },
        "state": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "type": { "description": "A final state accepts nothing.", "const": "final" },
                "on": { "description": "Event, or * for every other, and where it leads.", "type": "object", "propertyNames": name, "additionalProperties": one_or_more("#/$defs/target") },
                "after": { "description": "Timers: a duration such as 30m or 1h30m, or milliseconds.", "type": "object", "propertyNames": { "pattern": "^([0-9]+|([0-9]+(ms|s|m|h|d|w))+)$" }, "additionalProperties": one_or_more("#/$defs/target") },
                "guards": { "description": "Guards of all targets of an event.", "type": "object", "additionalProperties": one_or_more("#/$defs/guardRef") },
                "entry": one_or_more("#/$defs/actionRef"),
                "exit": one_or_more("#/$defs/actionRef"),
                "description": { "type": "string" },
                "meta": { "description": "Kept, returned and drawn (color).", "type": "object" }
            }
        },
        "target": {
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["target"],
                    "properties": {
                        "target": { "type": "string" },
                        "guard": one_or_more("#/$defs/guardRef"),
                        "guards": one_or_more("#/$defs/guardRef"),
                        "action": one_or_more("#/$defs/actionRef"),
                        "actions": one_or_more("#/$defs/actionRef")
                    }
                }
            ]
        },
    })
}

fn guards_and_actions() -> Value {
    json!({
        "guards": { "description": "Guards by name.", "type": "object", "additionalProperties": { "$ref": "#/$defs/guard" } },
        "guardRef": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/guard" }] },
        "guard": {
            "type": "object",
            "additionalProperties": false,
            "required": ["cel"],
            "properties": {
                "cel": { "description": "An expression in the Common Expression Language.", "type": "string", "maxLength": 4096 },
                "with": {
                    "description": "Variable and the record that it stands for; null where there is none.",
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["resource", "id"],
                        "properties": { "resource": { "type": "string" }, "id": { "description": "An expression, as context.productId.", "type": "string" } }
                    }
                }
            }
        },
        "actions": { "description": "Actions by name.", "type": "object", "additionalProperties": { "$ref": "#/$defs/action" } },
        "actionRef": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/action" }] },
        "action": { "description": "Texts that begin with = are expressions.", "oneOf": actions() },
    })
}

/// An action of each kind.
fn actions() -> Value {
    let text = || json!({ "type": "string" });
    let object = || json!({ "type": "object" });
    let kind = |kind: &str, required: &[&str], fields: Value| {
        let mut properties = serde_json::Map::from_iter([("kind".to_owned(), json!({ "const": kind }))]);
        properties.extend(fields.as_object().cloned().unwrap_or_default());
        let required: Vec<&str> = std::iter::once("kind").chain(required.iter().copied()).collect();
        json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
    };
    let duration = || json!({ "type": ["string", "integer"] });
    json!([
        kind("assign", &["set"], json!({ "set": object() })),
        kind("insert", &["resource", "record"], json!({ "resource": text(), "record": object() })),
        kind("update", &["resource", "id", "set"], json!({ "resource": text(), "id": text(), "set": object() })),
        kind("delete", &["resource", "id"], json!({ "resource": text(), "id": text() })),
        kind(
            "send_event",
            &["machine", "event"],
            json!({ "machine": text(), "entity": text(), "state": text(), "event": text(), "payload": object() })
        ),
        kind(
            "webhook",
            &["url"],
            json!({
                "url": text(), "method": text(), "headers": object(), "body": {}, "timeout": duration(),
                "retries": { "type": "integer", "minimum": 0, "maximum": 10 }, "secretEnv": text()
            })
        ),
        kind(
            "exec",
            &["command"],
            json!({
                "command": { "type": "array", "minItems": 1, "items": text() }, "timeout": duration(), "env": object()
            })
        ),
    ])
}
