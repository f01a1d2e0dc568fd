//! Changing a definition: attributes are appended or changed in place, never reordered.

use serde_json::{Map, Value};

use crate::error::{DefinitionError, did_you_mean};
use crate::resource::{Behavior, ResourceDefinition, Version, partition_json};

/// A change of a resource's definition. What it does not name stays.
///
/// ```
/// use s3db_format::resource::ResourceDefinition;
/// use s3db_format::update::ResourceUpdate;
/// let stored = ResourceDefinition::new("users").attribute("name", "string").version().unwrap();
/// let update = ResourceUpdate::new().attribute("age", "number|optional").partition("byAge", [("age", "number")]);
/// let version = update.apply("users", &stored).unwrap();
/// assert_eq!(version.attributes.keys().collect::<Vec<_>>(), ["name", "age"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceUpdate {
    attributes: Map<String, Value>,
    remove_attributes: Vec<String>,
    partitions: Map<String, Value>,
    remove_partitions: Vec<String>,
    behavior: Option<Behavior>,
    timestamps: Option<bool>,
    paranoid: Option<bool>,
    id_size: Option<usize>,
}

impl ResourceUpdate {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an attribute, or changes it in place; nested objects are changed member by member.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, definition: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), definition.into());
        self
    }

    /// Removes an attribute, by its dotted path. Records keep their values; they are no longer checked.
    #[must_use]
    pub fn remove_attribute(mut self, path: impl Into<String>) -> Self {
        self.remove_attributes.push(path.into());
        self
    }

    /// Adds a partition, or changes its fields.
    #[must_use]
    pub fn partition<'a>(
        mut self,
        name: impl Into<String>,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        self.partitions.insert(name.into(), partition_json(fields));
        self
    }

    /// Removes a partition.
    #[must_use]
    pub fn remove_partition(mut self, name: impl Into<String>) -> Self {
        self.remove_partitions.push(name.into());
        self
    }

    /// Where values are stored from now on.
    #[must_use]
    pub fn behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = Some(behavior);
        self
    }

    /// Whether `createdAt` and `updatedAt` are kept from now on.
    #[must_use]
    pub fn timestamps(mut self, on: bool) -> Self {
        self.timestamps = Some(on);
        self
    }

    /// Whether `delete_all` is refused.
    #[must_use]
    pub fn paranoid(mut self, on: bool) -> Self {
        self.paranoid = Some(on);
        self
    }

    /// The number of characters of ids that are made.
    #[must_use]
    pub fn id_size(mut self, size: usize) -> Self {
        self.id_size = Some(size);
        self
    }

    /// The version that comes of it.
    ///
    /// # Errors
    /// Every problem of the new definition; an attribute or partition to be removed that is not there.
    pub fn apply(&self, resource: &str, stored: &Version) -> Result<Version, Vec<DefinitionError>> {
        let mut definition = stored.definition(resource);
        let mut problems = Vec::new();
        merge(&mut definition.attributes, &self.attributes);
        for path in &self.remove_attributes {
            if !remove(&mut definition.attributes, path) {
                let known = stored.schema.paths().iter().map(|m| m.path.as_str());
                problems.push(missing("attribute", path, known).at(path));
            }
        }
        definition.partitions.extend(self.partitions.clone());
        for name in &self.remove_partitions {
            if definition.partitions.shift_remove(name).is_none() {
                let known = stored.partitions_json.keys().map(String::as_str);
                problems.push(missing("partition", name, known).at(&format!("partitions.{name}")));
            }
        }
        definition.behavior = self.behavior.unwrap_or(definition.behavior);
        definition.timestamps = self.timestamps.unwrap_or(definition.timestamps);
        definition.paranoid = self.paranoid.unwrap_or(definition.paranoid);
        definition.id_size = self.id_size.unwrap_or(definition.id_size);
        match (definition.version(), problems.is_empty()) {
            (Ok(version), true) => Ok(version),
            (Ok(_), false) => Err(problems),
            (Err(more), _) => Err([problems, more].concat()),
        }
    }
}

/// What a definition says is appended or changed; what it does not name stays.
impl From<ResourceDefinition> for ResourceUpdate {
    fn from(definition: ResourceDefinition) -> Self {
        Self {
            attributes: definition.attributes,
            partitions: definition.partitions,
            behavior: Some(definition.behavior),
            timestamps: Some(definition.timestamps),
            paranoid: Some(definition.paranoid),
            id_size: Some(definition.id_size),
            ..Self::default()
        }
    }
}

/// Members keep their places; objects with attributes of their own are merged.
fn merge(stored: &mut Map<String, Value>, given: &Map<String, Value>) {
    for (name, definition) in given {
        match (stored.get_mut(name), definition) {
            (Some(Value::Object(stored)), Value::Object(given)) if !given.contains_key("type") => merge(stored, given),
            (Some(stored), _) => *stored = definition.clone(),
            (None, _) => {
                stored.insert(name.clone(), definition.clone());
            }
        }
    }
}

fn remove(attributes: &mut Map<String, Value>, path: &str) -> bool {
    if attributes.shift_remove(path).is_some() {
        return true;
    }
    let Some((head, rest)) = path.split_once('.') else { return false };
    attributes.get_mut(head).and_then(Value::as_object_mut).is_some_and(|inner| remove(inner, rest))
}

fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> DefinitionError {
    let hint = did_you_mean(name, known.clone())
        .unwrap_or_else(|| format!("there are: {}", known.collect::<Vec<_>>().join(", ")));
    DefinitionError::new(format!("there is no {what} '{name}' to remove; {hint}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored() -> Version {
        let nested = json!({ "$$type": "object|optional", "city": "string" });
        let definition = ResourceDefinition::new("r").attribute("a", "string").attribute("b", "integer");
        definition.attribute("o", nested).partition("byA", [("a", "string")]).version().unwrap()
    }

    #[test]
    fn attributes_keep_their_places() {
        let update = ResourceUpdate::new()
            .attribute("a", "string|min:2")
            .attribute("o", json!({ "street": "string|optional" }))
            .attribute("c", "enum:x,y");
        let version = update.apply("r", &stored()).unwrap();
        assert_eq!(
            json!(version.attributes),
            json!({
                "a": "string|min:2", "b": "number|integer:true",
                "o": { "$$type": "object|optional", "city": "string", "street": "string|optional" }, "c": "string|in:x,y",
            })
        );
        assert_eq!(version.attributes.keys().collect::<Vec<_>>(), ["a", "b", "o", "c"]);
        assert_eq!(version.partitions_json, stored().partitions_json);
    }

    #[test]
    fn removals_are_named_and_checked() {
        let update = ResourceUpdate::new().remove_attribute("o").remove_attribute("b").remove_partition("byA");
        let version = update.apply("r", &stored()).unwrap();
        assert_eq!((version.attributes.len(), version.partitions.len()), (1, 0));
        let wrong = ResourceUpdate::new().remove_attribute("bb").remove_partition("byB").apply("r", &stored());
        let texts: Vec<String> = wrong.unwrap_err().iter().map(ToString::to_string).collect();
        assert!(texts[0].contains("did you mean") && texts[1].contains("byA"), "{texts:?}");
        let used = ResourceUpdate::new().remove_attribute("a").apply("r", &stored()).unwrap_err();
        assert!(used[0].to_string().contains("'a' is no attribute"), "{used:?}");
    }

    #[test]
    fn no_change_is_the_same_definition() {
        assert_eq!(ResourceUpdate::new().apply("r", &stored()).unwrap().hash, stored().hash);
    }
}
