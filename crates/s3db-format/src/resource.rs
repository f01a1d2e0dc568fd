//! A resource's definition as people write it, and a version as it stands in the catalog.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::definition::normalise;
use crate::error::DefinitionError;
use crate::js;
use crate::keys;
use crate::limits;
use crate::partition::{self, Partition};
use crate::schema::Schema;

/// Where a record's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behavior {
    /// In headers while they fit, else the whole record in the body.
    #[default]
    UserManaged,
    /// In headers; a record that does not fit is refused.
    EnforceLimits,
    /// In headers; long texts are cut until the record fits, and the record is marked.
    TruncateData,
    /// In headers while they fit, the largest values in the body.
    BodyOverflow,
    /// In the body.
    BodyOnly,
}

impl Behavior {
    /// All behaviours.
    pub const ALL: [Behavior; 5] = [
        Behavior::UserManaged,
        Behavior::EnforceLimits,
        Behavior::TruncateData,
        Behavior::BodyOverflow,
        Behavior::BodyOnly,
    ];

    /// The word in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Behavior::UserManaged => "user-managed",
            Behavior::EnforceLimits => "enforce-limits",
            Behavior::TruncateData => "truncate-data",
            Behavior::BodyOverflow => "body-overflow",
            Behavior::BodyOnly => "body-only",
        }
    }

    /// The behaviour of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.word() == word)
    }

    /// Whether s3db.js reads values of this behaviour from the body too.
    pub fn reads_body(self) -> bool {
        !matches!(self, Behavior::EnforceLimits | Behavior::TruncateData)
    }
}

/// A resource as its author describes it; the same shape in JSON and in Rust.
///
/// ```
/// use s3db_format::resource::ResourceDefinition;
/// let users = ResourceDefinition::new("users")
///     .attribute("name", "string|min:2|max:100")
///     .attribute("password", "secret|min:8")
///     .partition("byCountry", [("address.country", "string|maxlength:2")])
///     .timestamps(true);
/// assert_eq!(users.name, "users");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceDefinition {
    /// `[A-Za-z0-9_.-]{1,64}`.
    pub name: String,
    /// Attribute name → rule text, nested object, object form, or list of alternatives.
    pub attributes: Map<String, Value>,
    /// Where values are stored.
    #[serde(default)]
    pub behavior: Behavior,
    /// Partition name → `{ "fields": { path: rule } }`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub partitions: Map<String, Value>,
    /// Keep `createdAt` and `updatedAt`, with a partition by day for each.
    #[serde(default)]
    pub timestamps: bool,
    /// Refuse `delete_all`.
    #[serde(default = "yes")]
    pub paranoid: bool,
    /// Nested objects need not be there unless their `$$type` says `required`.
    #[serde(default = "yes")]
    pub all_nested_objects_optional: bool,
    /// Kept for s3db.js; secrets are always decrypted for a reader who has the passphrase.
    #[serde(default = "yes")]
    pub auto_decrypt: bool,
    /// Characters of ids that are made.
    #[serde(default = "default_id_size")]
    pub id_size: usize,
}

fn yes() -> bool {
    true
}

fn default_id_size() -> usize {
    22
}

impl ResourceDefinition {
    /// A definition without attributes and with s3db.js's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            attributes: Map::new(),
            behavior: Behavior::default(),
            partitions: Map::new(),
            timestamps: false,
            paranoid: true,
            all_nested_objects_optional: true,
            auto_decrypt: true,
            id_size: default_id_size(),
        }
    }

    /// Adds an attribute: a rule text or any other definition as JSON.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, definition: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), definition.into());
        self
    }

    /// Adds a partition over fields with their rules.
    #[must_use]
    pub fn partition<'a>(
        mut self,
        name: impl Into<String>,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        self.partitions.insert(name.into(), partition_json(fields));
        self
    }

    /// Sets the behaviour.
    #[must_use]
    pub fn behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = behavior;
        self
    }

    /// Keeps `createdAt` and `updatedAt`.
    #[must_use]
    pub fn timestamps(mut self, on: bool) -> Self {
        self.timestamps = on;
        self
    }

    /// Allows `delete_all` when `false`.
    #[must_use]
    pub fn paranoid(mut self, on: bool) -> Self {
        self.paranoid = on;
        self
    }

    /// The number of characters of ids that are made.
    #[must_use]
    pub fn id_size(mut self, size: usize) -> Self {
        self.id_size = size;
        self
    }

    /// Checks the definition and brings it into the catalog's form.
    ///
    /// # Errors
    /// Every problem, each with the attribute, partition or setting it is in.
    pub fn version(&self) -> Result<Version, Vec<DefinitionError>> {
        let mut problems = Vec::new();
        if let Err(error) = keys::check_name("resource", &self.name) {
            problems.push(DefinitionError::new(error.to_string()).at("name"));
        }
        if !(1..=limits::ID_BYTES).contains(&self.id_size) {
            problems.push(DefinitionError::new(format!("must be from 1 to {}", limits::ID_BYTES)).at("idSize"));
        }
        if self.attributes.is_empty() {
            problems.push(DefinitionError::new("a resource needs at least one attribute").at("attributes"));
        }
        let mut attributes = normalise(&self.attributes).unwrap_or_else(|errors| {
            problems.extend(errors);
            Map::new()
        });
        let mut partitions = self.partitions.clone();
        if self.timestamps {
            add_timestamps(&mut attributes, &mut partitions);
        }
        let version = Version {
            name: String::new(),
            hash: String::new(),
            schema: Schema::new(&attributes, self.all_nested_objects_optional),
            partitions: parse_partitions(&partitions),
            attributes,
            partitions_json: partitions,
            behavior: self.behavior,
            timestamps: self.timestamps,
            paranoid: self.paranoid,
            all_nested_objects_optional: self.all_nested_objects_optional,
            auto_decrypt: self.auto_decrypt,
            id_size: self.id_size,
            created_at: String::new(),
        };
        if problems.is_empty() {
            version.check_partitions(&mut problems);
            version.check_width(&mut problems);
        }
        if problems.is_empty() { Ok(version.hashed()) } else { Err(problems) }
    }
}

fn add_timestamps(attributes: &mut Map<String, Value>, partitions: &mut Map<String, Value>) {
    for (field, partition) in [("createdAt", "byCreatedDate"), ("updatedAt", "byUpdatedDate")] {
        attributes.entry(field).or_insert_with(|| json!("string|optional"));
        partitions.entry(partition).or_insert_with(|| json!({ "fields": { field: "date|maxlength:10" } }));
    }
}

/// One version of a resource.
#[derive(Debug, Clone)]
pub struct Version {
    /// `v0`, `v1`, …; empty before the catalog gave a number.
    pub name: String,
    /// `sha256:…` over attributes, behaviour and partitions.
    pub hash: String,
    /// The attributes in the catalog's form and order.
    pub attributes: Map<String, Value>,
    /// The partitions as JSON.
    pub partitions_json: Map<String, Value>,
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// Where values are stored.
    pub behavior: Behavior,
    /// Whether `createdAt` and `updatedAt` are kept.
    pub timestamps: bool,
    /// Whether `delete_all` is refused.
    pub paranoid: bool,
    /// Whether nested objects are optional by default.
    pub all_nested_objects_optional: bool,
    /// Kept for s3db.js.
    pub auto_decrypt: bool,
    /// Characters of ids that are made.
    pub id_size: usize,
    /// The schema that follows from the attributes.
    pub schema: Schema,
    /// When it was made, as the catalog says; empty before that.
    pub created_at: String,
}

impl Version {
    /// Reads a version from the catalog. Missing members take s3db.js's defaults.
    pub fn from_json(name: &str, stored: &Value) -> Option<Self> {
        let attributes = stored.get("attributes")?.as_object()?.clone();
        let flag = |key: &str, default: bool| stored.get(key).and_then(Value::as_bool).unwrap_or(default);
        let partitions_json = stored.get("partitions").and_then(Value::as_object).cloned().unwrap_or_default();
        let all_nested_objects_optional = flag("allNestedObjectsOptional", true);
        let behavior =
            stored.get("behavior").and_then(Value::as_str).map_or(Some(Behavior::default()), Behavior::from_word);
        Some(Self {
            name: name.to_owned(),
            hash: stored.get("hash").and_then(Value::as_str).unwrap_or_default().to_owned(),
            schema: Schema::new(&attributes, all_nested_objects_optional),
            partitions: parse_partitions(&partitions_json),
            attributes,
            partitions_json,
            behavior: behavior?,
            created_at: stored.get("createdAt").and_then(Value::as_str).unwrap_or_default().to_owned(),
            timestamps: flag("timestamps", false),
            paranoid: flag("paranoid", true),
            all_nested_objects_optional,
            auto_decrypt: flag("autoDecrypt", true),
            id_size: stored
                .get("idSize")
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=limits::ID_BYTES).contains(n))
                .unwrap_or(22),
        })
    }

    /// The version's number.
    pub fn number(&self) -> Option<u64> {
        number_of(&self.name)
    }

    /// The definition that this version was made from, for people.
    pub fn definition(&self, resource: &str) -> ResourceDefinition {
        ResourceDefinition {
            name: resource.to_owned(),
            attributes: self.attributes.clone(),
            behavior: self.behavior,
            partitions: self.partitions_json.clone(),
            timestamps: self.timestamps,
            paranoid: self.paranoid,
            all_nested_objects_optional: self.all_nested_objects_optional,
            auto_decrypt: self.auto_decrypt,
            id_size: self.id_size,
        }
    }

    /// The version as it is written to the catalog, in s3db.js's field order.
    pub fn to_json(&self, created_at: &str) -> Value {
        json!({
            "hash": self.hash,
            "attributes": self.attributes,
            "behavior": self.behavior.word(),
            "timestamps": self.timestamps,
            "partitions": self.partitions_json,
            "paranoid": self.paranoid,
            "allNestedObjectsOptional": self.all_nested_objects_optional,
            "autoDecrypt": self.auto_decrypt,
            "cache": false,
            "hooks": {},
            "idSize": self.id_size,
            "idGenerator": self.id_size,
            "createdAt": created_at,
        })
    }

    fn hashed(mut self) -> Self {
        self.hash = definition_hash(&self.attributes, self.behavior, &self.partitions_json, self.timestamps);
        self
    }

    /// What differs between this definition, as it was given, and a stored version, a line each;
    /// empty if they are equal.
    pub fn differences(&self, stored: &Version) -> Vec<String> {
        let mut lines = Vec::new();
        compare("attribute", &self.attributes, &stored.attributes, &mut lines);
        compare("partition", &self.partitions_json, &stored.partitions_json, &mut lines);
        let settings = [
            ("behavior", json!(self.behavior.word()), json!(stored.behavior.word())),
            ("timestamps", json!(self.timestamps), json!(stored.timestamps)),
            ("paranoid", json!(self.paranoid), json!(stored.paranoid)),
            (
                "allNestedObjectsOptional",
                json!(self.all_nested_objects_optional),
                json!(stored.all_nested_objects_optional),
            ),
        ];
        for (name, ours, theirs) in settings {
            if ours != theirs {
                lines.push(format!("{name} is given as {ours} and stored as {theirs}"));
            }
        }
        lines
    }

    fn check_partitions(&self, problems: &mut Vec<DefinitionError>) {
        for (name, definition) in &self.partitions_json {
            let at = format!("partitions.{name}");
            if let Err(error) = keys::check_name("partition", name) {
                problems.push(DefinitionError::new(error.to_string()).at(&at));
            }
            let fields = definition.get("fields").and_then(Value::as_object);
            let Some(fields) = fields.filter(|f| !f.is_empty()) else {
                problems.push(
                    DefinitionError::new("needs 'fields', as in {\"fields\": {\"country\": \"string\"}}").at(&at),
                );
                continue;
            };
            for (path, rule) in fields {
                match rule.as_str() {
                    None => problems
                        .push(DefinitionError::new(format!("the rule of field '{path}' must be a text")).at(&at)),
                    Some(rule) => {
                        if let Err(problem) = partition::check_rule(rule) {
                            problems.push(problem.at(&format!("{at}.{path}")));
                        }
                    }
                }
                self.check_partition_field(path, &at, problems);
            }
        }
    }

    fn check_partition_field(&self, path: &str, at: &str, problems: &mut Vec<DefinitionError>) {
        if path == "_v" || self.schema.admits(path) {
            if self.schema.secrets().any(|secret| secret == path) {
                let message = format!("field '{path}' is a secret; its value would stand in object keys in clear");
                problems.push(DefinitionError::new(message).at(at));
            }
            return;
        }
        let known = self.schema.paths().iter().map(|m| m.path.as_str());
        let hint = crate::error::did_you_mean(path, known.clone())
            .unwrap_or_else(|| format!("available fields: {}", known.collect::<Vec<_>>().join(", ")));
        problems.push(DefinitionError::new(format!("field '{path}' is no attribute; {hint}")).at(at));
    }

    /// Headers tell 36 short keys apart, and two behaviours have no body to hold the rest.
    fn check_width(&self, problems: &mut Vec<DefinitionError>) {
        let count = self.schema.paths().len();
        if !self.behavior.reads_body() && count > limits::HEADER_KEYS {
            let message = format!(
                "{} can hold {} attributes, this resource has {count} (nested objects count); use body-overflow or body-only",
                self.behavior.word(),
                limits::HEADER_KEYS
            );
            problems.push(DefinitionError::new(message).at("behavior"));
        }
    }
}

/// The number of `v12`.
pub(crate) fn number_of(version: &str) -> Option<u64> {
    version.strip_prefix('v').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())).and_then(|n| n.parse().ok())
}

/// A partition's definition as the catalog has it.
pub(crate) fn partition_json<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let fields: Map<String, Value> = fields.into_iter().map(|(f, rule)| (f.to_owned(), json!(rule))).collect();
    json!({ "fields": fields })
}

pub(crate) fn parse_partitions(partitions: &Map<String, Value>) -> Vec<Partition> {
    partitions.iter().map(|(name, definition)| Partition::from_json(name, definition)).collect()
}

fn compare(what: &str, given: &Map<String, Value>, stored: &Map<String, Value>, lines: &mut Vec<String>) {
    for (name, value) in given {
        match stored.get(name) {
            None => lines.push(format!("{what} '{name}' is given and not stored: {value}")),
            Some(other) if other != value => {
                lines.push(format!("{what} '{name}' is given as {value} and stored as {other}"))
            }
            Some(_) => {}
        }
    }
    for (name, value) in stored {
        if !given.contains_key(name) {
            lines.push(format!("{what} '{name}' is stored and not given: {value}"));
        }
    }
}

/// s3db.js's hash of a definition: SHA-256 over canonical JSON, the order of attributes left out.
pub fn definition_hash(
    attributes: &Map<String, Value>,
    behavior: Behavior,
    partitions: &Map<String, Value>,
    timestamps: bool,
) -> String {
    let mut attributes = attributes.clone();
    if timestamps {
        attributes.shift_remove("createdAt");
        attributes.shift_remove("updatedAt");
    }
    hash_json(&json!({ "attributes": attributes, "behavior": behavior.word(), "partitions": partitions }))
}

/// `sha256:` and the hex digest of a value's canonical JSON.
pub fn hash_json(value: &Value) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(canonical(value).as_bytes());
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// JSON without spaces, members sorted by UTF-16 code unit at every level.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut entries: Vec<_> = members.iter().collect();
            entries.sort_by(|(a, _), (b, _)| js::cmp_utf16(a, b));
            let texts: Vec<String> = entries.iter().map(|(k, v)| format!("{}:{}", json!(k), canonical(v))).collect();
            format!("{{{}}}", texts.join(","))
        }
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", texts.join(","))
        }
        other => other.to_string(),
    }
}
