//! The JSON Schema of jobs, for editors.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// The schema of `[jobs]`: jobs by name.
pub(crate) fn jobs_schema(_generator: &mut SchemaGenerator) -> Schema {
    let duration = json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$" }] });
    let action = json!({
        "type": "object",
        "required": ["kind"],
        "properties": { "kind": { "enum": ["insert", "update_where", "delete_where", "send_event", "webhook", "exec", "backup", "cleanup_backups"] } }
    });
    let words = |words: &[&str]| json!({ "enum": words });
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9_.-]{1,64}$" },
        "additionalProperties": {
            "type": "object",
            "required": ["schedule", "action"],
            "additionalProperties": false,
            "properties": {
                "schedule": { "type": "string", "description": "A cron expression: [second] minute hour day-of-month month day-of-week [year]." },
                "action": action,
                "description": { "type": "string" },
                "enabled": { "type": "boolean", "description": "Whether it runs by itself until somebody says otherwise. The default is true." },
                "retries": { "type": "integer", "minimum": 0, "maximum": 100, "description": "Attempts after the first." },
                "timeout": duration,
                "meta": { "type": "object" },
                "timezone": { "type": "string", "description": "An IANA name." },
                "dst": words(&["vixie", "skip"]),
                "overlap": words(&["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]),
                "catchUp": { "anyOf": [words(&["none", "last", "all"]), { "type": "object", "additionalProperties": false, "properties": { "policy": words(&["none", "last", "all"]), "window": duration } }] },
                "catchUpWindow": duration,
                "jitter": duration,
                "backoff": { "anyOf": [duration, { "type": "object", "additionalProperties": false, "properties": { "initial": duration, "max": duration } }] },
                "dependsOn": { "type": "array", "items": { "type": "string" } },
                "onFailure": action,
                "lateAfter": duration,
                "allow": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "resources": { "type": "array", "items": { "type": "string" } },
                        "verbs": { "type": "array", "items": words(&["read", "insert", "update", "delete", "define"]) },
                        "plugins": { "type": "array", "items": { "type": "string" } }
                    }
                },
                "onDeath": words(&["interrupted", "retry"])
            }
        }
    })
}
