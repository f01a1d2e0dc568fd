//! Object keys, all relative to the database's prefix, and what may be a part of one.

use crate::error::FormatError;
use crate::limits;
use crate::partition::segment;

/// The catalog.
pub const CATALOG: &str = "s3db.json";
/// Everything that s3db.js does not know lies under this prefix.
pub const OWN: &str = "s3db/";
/// Primary objects of ours, part of every backup.
pub const META: &str = "s3db/meta/";
/// Disposable objects of ours, rebuilt when missing.
pub const TMP: &str = "s3db/tmp/";
/// What a server does with conditional requests, found out once.
pub const PROBE: &str = "s3db/tmp/probe/";
/// Leases.
pub const LEASES: &str = "s3db/tmp/leases/";
/// How far the index of a resource is built.
pub const BACKFILL: &str = "s3db/tmp/backfill/";
/// The partition index.
pub const INDEX: &str = "s3db/tmp/index/";
/// Immutable copies of every version's definition.
pub const VERSIONS: &str = "s3db/meta/versions/";
/// The database's own id.
pub const DATABASE_ID: &str = "s3db/meta/database.json";

/// The prefix of everything that s3db.js's layout has of any resource.
pub const RESOURCES: &str = "resource=";
/// Results that s3db.js keeps, which are disposable.
pub const CACHE: &str = "cache/";
/// What a restore that is under way is about.
pub const RESTORE: &str = "s3db/tmp/restore.json";

/// The resource that a key of s3db.js's layout belongs to.
pub fn owner(key: &str) -> Option<&str> {
    key.strip_prefix(RESOURCES)?.split_once('/').map(|(name, _)| name)
}

/// What a key of s3db.js's layout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned<'a> {
    /// A record, with its id.
    Record(&'a str),
    /// A reference of a partition, with the id of its record.
    Reference(&'a str),
    /// Something else.
    Other,
}

/// The resource of a key of s3db.js's layout, and what the key is.
pub fn owned(key: &str) -> Option<(&str, Owned<'_>)> {
    let resource = owner(key)?;
    if let Some(id) = record_id(resource, key) {
        return Some((resource, Owned::Record(id)));
    }
    let rest = key.strip_prefix(RESOURCES)?.strip_prefix(resource)?;
    let reference = rest.strip_prefix("/partition=").and_then(|rest| rest.split_once("/id="));
    Some((resource, reference.map_or(Owned::Other, |(_, id)| Owned::Reference(id))))
}

/// The key that another resource has in place of a key of s3db.js's layout.
pub fn renamed(key: &str, to: &str) -> Option<String> {
    let from = owner(key)?;
    let rest = key.strip_prefix(RESOURCES)?.strip_prefix(from)?;
    Some(format!("{RESOURCES}{to}{rest}"))
}

/// The prefix of everything that s3db.js's layout has of a resource.
pub fn resource(resource: &str) -> String {
    format!("resource={resource}/")
}

/// The resource that a folder of s3db.js's layout belongs to.
pub fn resource_in(folder: &str) -> Option<&str> {
    folder.strip_prefix("resource=")?.strip_suffix('/')
}

/// The name that a folder of ours right under a prefix stands for.
pub fn decoded_folder(prefix: &str, folder: &str) -> Option<String> {
    let text = folder.strip_prefix(prefix)?.strip_suffix('/')?;
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The prefix of a resource's records.
pub fn records(resource: &str) -> String {
    format!("resource={resource}/data/id=")
}

/// The key of a record.
pub fn record(resource: &str, id: &str) -> String {
    format!("{}{id}", records(resource))
}

/// The id in a record's key.
pub fn record_id<'a>(resource: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(&records(resource))
}

/// The prefix of a resource's whole index.
pub fn index_of(resource: &str) -> String {
    format!("{INDEX}{}/", segment(resource))
}

/// The marker that says that a partition's index is complete.
pub fn partition_marker(resource: &str, partition: &str) -> String {
    format!("{}{}", partition_markers(resource), segment(partition))
}

/// The prefix of all partition markers.
pub const PARTITION_MARKERS: &str = "s3db/tmp/partitions/";

/// The prefix of a resource's partition markers.
pub fn partition_markers(resource: &str) -> String {
    format!("{PARTITION_MARKERS}{}/", segment(resource))
}

/// How far the index of a resource is built.
pub fn backfill(resource: &str) -> String {
    format!("{BACKFILL}{}.json", segment(resource))
}

/// The object of a lease.
pub fn lease(name: &str) -> String {
    format!("{LEASES}{name}.json")
}

/// The name in a lease's key.
pub fn lease_name(key: &str) -> Option<String> {
    Some(key.strip_prefix(LEASES)?.strip_suffix(".json")?.to_owned())
}

/// The prefix of the stored copies of a resource's versions.
pub fn versions_of(resource: &str) -> String {
    format!("{VERSIONS}{}/", segment(resource))
}

/// The stored copy of one version.
pub fn version_copy(resource: &str, version: &str, hash: &str) -> String {
    format!("{}{version}-{}.json", versions_of(resource), hash.trim_start_matches("sha256:"))
}

/// The resource, version name and hash that the key of a version's copy says.
pub fn parse_version_copy(key: &str) -> Option<(String, &str, &str)> {
    let (resource, file) = key.strip_prefix(VERSIONS)?.split_once('/')?;
    let (version, hash) = file.strip_suffix(".json")?.split_once('-')?;
    let resource = percent_encoding::percent_decode_str(resource).decode_utf8().ok()?.into_owned();
    Some((resource, version, hash))
}

/// What says that a resource was dropped, and up to which version.
pub fn dropped(resource: &str) -> String {
    format!("{}dropped.json", versions_of(resource))
}

/// The prefix of the stored definitions of all state machines.
pub const MACHINES: &str = "s3db/meta/machines/";

/// The prefix of the stored definitions of one state machine.
pub fn machine(machine: &str) -> String {
    format!("{MACHINES}{machine}/")
}

/// Which definition of a state machine is current, and the ones before it.
pub fn machine_versions(machine: &str) -> String {
    format!("{}versions.json", self::machine(machine))
}

/// One definition of a state machine, by its hash.
pub fn machine_definition(machine: &str, hash: &str) -> String {
    format!("{}{}.json", self::machine(machine), hash.trim_start_matches("sha256:"))
}

/// The prefix of the records of all jobs.
pub const JOBS: &str = "s3db/meta/jobs/";

/// The record of a job.
pub fn job(job: &str) -> String {
    format!("{JOBS}{job}.json")
}

/// The name in the key of a job's record.
pub fn job_name(key: &str) -> Option<String> {
    let name = key.strip_prefix(JOBS)?.strip_suffix(".json")?;
    (!name.contains('/')).then(|| name.to_owned())
}

/// What is due, in the order of time.
pub const DUE: &str = "s3db/tmp/due/";
/// Digits of the second in a key of what is due.
const DUE_DIGITS: usize = 12;
const DUE_LAST: i64 = 999_999_999_999;

/// A key of what is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// The second since 1970 from which on it is due.
    pub second: i64,
    /// The state machine.
    pub machine: String,
    /// The entity.
    pub entity: String,
    /// The entity's version that needs it.
    pub version: u64,
    /// What is due: `timer` or `outbox`.
    pub what: String,
    /// The transition that needs it: writers that race for one version must not delete each other's keys.
    pub transition: String,
}

impl Due {
    /// The key.
    pub fn key(&self) -> String {
        let Self { second, machine, entity, version, what, transition } = self;
        let second = (*second).clamp(0, DUE_LAST);
        let (machine, entity) = (segment(machine), segment(entity));
        format!("{DUE}{second:0DUE_DIGITS$}/{machine}/{entity}/{version}-{what}-{transition}")
    }

    /// Reads a key; `None` if it is none.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(DUE)?.split('/');
        let text =
            |part: Option<&str>| Some(percent_encoding::percent_decode_str(part?).decode_utf8().ok()?.into_owned());
        let second = parts.next().filter(|digits| digits.len() == DUE_DIGITS)?.parse().ok()?;
        let (machine, entity) = (text(parts.next())?, text(parts.next())?);
        let mut tail = parts.next()?.splitn(3, '-');
        let version = tail.next()?.parse().ok()?;
        let (what, transition) = (tail.next()?.to_owned(), tail.next()?.to_owned());
        let due = Self { second, machine, entity, version, what, transition };
        parts.next().is_none().then_some(due)
    }
}

/// Checks an id before it becomes part of a key.
///
/// # Errors
/// An empty or too long id, one with `/` or control characters, `.` and `..`.
pub fn check_id(id: &str) -> Result<(), FormatError> {
    let complaint = match () {
        () if id.is_empty() => "cannot be empty; leave it out to have one made".to_owned(),
        () if id.len() > limits::ID_BYTES => {
            format!("has {} bytes, at most {} are allowed", id.len(), limits::ID_BYTES)
        }
        () if id.contains('/') => format!("'{id}' cannot contain '/'"),
        () if id == "." || id == ".." => format!("cannot be '{id}'"),
        () if id.chars().any(char::is_control) => format!("{id:?} cannot contain control characters"),
        () => return Ok(()),
    };
    Err(FormatError::Key { field: "id".into(), message: format!("id {complaint}") })
}

/// Checks the name of a resource or partition of ours: `[A-Za-z0-9_.-]{1,64}`.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(what: &str, name: &str) -> Result<(), FormatError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let fits = (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.chars().all(|c| c == '.');
    if fits {
        return Ok(());
    }
    Err(FormatError::Key {
        field: "name".into(),
        message: format!("{what} name {name:?} must be 1 to 64 of the characters A-Z a-z 0-9 _ . -"),
    })
}

/// Checks the length of a whole key.
///
/// # Errors
/// The key is longer than S3 allows; `field` names what makes it so.
pub fn check_key(prefix_len: usize, key: &str, field: &str) -> Result<(), FormatError> {
    let len = prefix_len + key.len();
    if len <= limits::KEY_BYTES {
        return Ok(());
    }
    Err(FormatError::Key {
        field: field.to_owned(),
        message: format!(
            "{field} makes an object key of {len} bytes, at most {} are allowed; shorten it",
            limits::KEY_BYTES
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_keys_read_back_and_lie_in_the_order_of_time() {
        let due = |second, entity: &str| Due {
            second,
            machine: "order_x".into(),
            entity: entity.into(),
            version: 7,
            what: "timer".into(),
            transition: "01M8".into(),
        };
        for entity in ["o1", "a/b", "a%2Fb", "~", "日本 \"x\"", "7-timer"] {
            assert_eq!(Due::parse(&due(1_700_000_000, entity).key()), Some(due(1_700_000_000, entity)));
        }
        assert!(due(999, "z").key() < due(1_000, "a").key());
        for wrong in [
            "",
            "s3db/tmp/due/12/a/b/1-timer-x",
            "s3db/tmp/due/000000000012/a/b/x-timer-x",
            "s3db/tmp/due/000000000012/a/b/1-timer",
            "s3db/tmp/due/000000000012/a/b/1-timer-x/x",
        ] {
            assert_eq!(Due::parse(wrong), None, "{wrong}");
        }
    }
}
