//! Jobs as JSON, in one form for each.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Action, JobDefinition, Overlap, word};

impl JobDefinition {
    /// The job as JSON. What is as by default is left out, but for what the plugin's settings decide.
    pub fn to_json(&self) -> Value {
        let standard = Self::new("", "");
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        put("schedule", json!(self.schedule));
        put("action", self.action.as_ref().map_or_else(|| json!({"kind": "function"}), |a| Value::Object(a.0.clone())));
        let mut optional = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                put(name, value);
            }
        };
        optional("description", self.description.as_ref().map(|text| json!(text)));
        optional("enabled", (!self.enabled).then(|| json!(false)));
        optional("timezone", self.timezone.as_ref().map(|zone| json!(zone)));
        optional("dst", self.dst.map(|dst| json!(dst)));
        optional("retries", self.retries.map(|n| json!(n)));
        optional("timeout", self.timeout.map(ms));
        let backoff = json!({"initial": ms(self.backoff.initial), "max": ms(self.backoff.max)});
        optional("backoff", (self.backoff != standard.backoff).then_some(backoff));
        optional("overlap", (self.overlap != Overlap::Skip).then(|| json!(word(&self.overlap))));
        optional("catchUp", (self.catch_up != standard.catch_up).then(|| json!(word(&self.catch_up))));
        let window = self.catch_up_window;
        optional("catchUpWindow", (window != standard.catch_up_window).then(|| ms(window)));
        optional("jitter", (!self.jitter.is_zero()).then(|| ms(self.jitter)));
        optional("dependsOn", (!self.depends_on.is_empty()).then(|| json!(self.depends_on)));
        optional("onFailure", self.on_failure.as_ref().map(|Action(action)| Value::Object(action.clone())));
        optional("lateAfter", self.late_after.map(ms));
        optional("allow", self.allow.as_ref().map(|allow| json!(allow)));
        optional("onDeath", (self.on_death != standard.on_death).then(|| json!(word(&self.on_death))));
        optional("meta", (!self.meta.is_empty()).then(|| Value::Object(self.meta.clone())));
        Value::Object(members)
    }
}

fn ms(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
