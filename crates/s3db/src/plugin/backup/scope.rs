//! What is backed up: everything in the database's layout but disposable objects and the rows about backups,
//! of the resources that are chosen.

use std::collections::BTreeSet;

use glob::Pattern;
use s3db_format::keys;
use serde_json::json;

use super::sealed::sha256;
use crate::error::{Error, ErrorKind, Result};

/// Which resources are backed up.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    include: Option<Vec<Pattern>>,
    exclude: Vec<Pattern>,
    /// The resource of what is known about backups: its rows would change with every backup.
    own: String,
}

impl Scope {
    pub(super) fn new(include: Option<&[String]>, exclude: &[String], own: &str) -> Result<Self> {
        let patterns = |name: &str, texts: &[String]| {
            let parse = |text: &String| {
                Pattern::new(text).map_err(|e| {
                    Error::new(ErrorKind::Invalid, format!("{name}: '{text}' is no glob: {e}"))
                        .guide("write names of resources, with * and ? for any characters")
                })
            };
            texts.iter().map(parse).collect::<Result<Vec<Pattern>>>()
        };
        let include = include.map(|texts| patterns("include", texts)).transpose()?;
        Ok(Self { include, exclude: patterns("exclude", exclude)?, own: own.to_owned() })
    }

    /// Whether the records of a resource are backed up.
    pub(super) fn takes(&self, resource: &str) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(resource));
        resource != self.own && self.include.as_deref().is_none_or(matches) && !matches(&self.exclude)
    }

    /// Whether it is everything.
    pub(super) fn is_whole(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// What two backups have in common that one may build on the other.
    pub(super) fn digest(&self) -> String {
        sha256(self.to_json().to_string().as_bytes())
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let texts = |patterns: &[Pattern]| patterns.iter().map(|p| p.as_str().to_owned()).collect::<BTreeSet<_>>();
        json!({ "include": self.include.as_deref().map(texts), "exclude": texts(&self.exclude) })
    }

    /// Refuses a scope that takes none of these resources, and names patterns that match nothing.
    pub(super) fn check(&self, names: &BTreeSet<String>) -> Result<Vec<String>> {
        let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != self.own).collect();
        if !self.is_whole() && !others.iter().any(|name| self.takes(name)) {
            let there = if others.is_empty() { "there are none".to_owned() } else { others.join(", ") };
            return Err(Error::new(ErrorKind::Invalid, "nothing to back up: include and exclude leave no resource")
                .guide(format!("resources: {there}")));
        }
        let unmatched = |pattern: &&Pattern| !others.iter().any(|name| pattern.matches(name));
        let idle = self.include.iter().flatten().filter(unmatched);
        Ok(idle.map(|pattern| format!("include '{}' matches no resource", pattern.as_str())).collect())
    }
}

/// Whether a key is one of ours that is part of a backup.
pub(super) fn is_meta(key: &str) -> bool {
    key.starts_with(keys::META)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(include: Option<&[&str]>, exclude: &[&str]) -> Scope {
        let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        Scope::new(include.map(own).as_deref(), &own(exclude), "backup_metadata").unwrap()
    }

    #[test]
    fn globs_are_anchored_and_exclude_wins() {
        let some = scope(Some(&["user*", "orders"]), &["users_old"]);
        let taken: Vec<bool> = ["users", "user", "users_old", "orders", "orders2", "a_users", "backup_metadata"]
            .map(|n| some.takes(n))
            .into();
        assert_eq!(taken, [true, true, false, true, false, false, false]);
        assert!(scope(None, &[]).takes("anything") && scope(None, &[]).is_whole());
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        let names: BTreeSet<String> = ["users", "backup_metadata"].map(str::to_owned).into();
        let error = scope(Some(&["orders"]), &[]).check(&names).unwrap_err();
        assert_eq!(error.guidance(), Some("resources: users"));
        assert!(scope(None, &["*"]).check(&names).is_err());
        assert_eq!(scope(Some(&["users", "x"]), &[]).check(&names).unwrap(), ["include 'x' matches no resource"]);
        assert!(scope(None, &[]).check(&BTreeSet::new()).is_ok());
        assert!(Scope::new(Some(&["[".into()]), &[], "b").is_err());
    }
}
