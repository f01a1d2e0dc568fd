//! What a handle of a database may do, where that is less than everything.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use s3db_store::{
    Capabilities, Copy, ErrorKind as StoreKind, List, Object, ObjectMeta, Page, Precondition, Put, Store, StoreError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What a handle may do. What is not named is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allow {
    /// Resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// Of `read`, `insert`, `update`, `delete`, `define`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbs: Option<Vec<Verb>>,
    /// Plugins, in either form of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Vec<String>>,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Reading, listing and counting records.
    Read,
    /// Inserting records.
    Insert,
    /// Changing records and their content.
    Update,
    /// Deleting records.
    Delete,
    /// Making, changing and dropping resources, and what concerns the whole database.
    Define,
}

impl Verb {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Define => "define",
        }
    }
}

/// What a handle may do; `None` is everything.
pub(crate) type Access = Option<Arc<Allow>>;

fn refused(what: impl Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("this handle may not {what}"))
        .guide("the job's `allow` says what it may do: resources, verbs, plugins")
}

impl Allow {
    /// Refuses what is not allowed on a resource.
    pub(crate) fn check(&self, resource: &str, verb: Verb) -> Result<()> {
        self.check_resource(resource)?;
        if self.verbs.as_ref().is_some_and(|verbs| !verbs.contains(&verb)) {
            return Err(refused(format_args!("{} records of resource '{resource}'", verb.as_str())));
        }
        Ok(())
    }

    /// Refuses a resource that is not allowed at all.
    pub(crate) fn check_resource(&self, resource: &str) -> Result<()> {
        if self.resources.as_ref().is_some_and(|names| !names.iter().any(|name| name == resource)) {
            return Err(refused(format_args!("use resource '{resource}'")));
        }
        Ok(())
    }

    /// Refuses what concerns the whole database.
    pub(crate) fn check_whole(&self, what: &str) -> Result<()> {
        let all = self.resources.is_none() && self.verbs.as_ref().is_none_or(|verbs| verbs.contains(&Verb::Define));
        if all { Ok(()) } else { Err(refused(what)) }
    }

    /// Refuses a plugin.
    pub(crate) fn check_plugin(&self, name: &str) -> Result<()> {
        let short = crate::plugin::short_name(name);
        let fits = |allowed: &String| crate::plugin::short_name(allowed) == short;
        match &self.plugins {
            Some(plugins) if !plugins.iter().any(fits) => Err(refused(format_args!("use the plugin '{name}'"))),
            _ => Ok(()),
        }
    }
}

/// A store that refuses everything: raw objects are nothing that a limited handle may touch.
#[derive(Debug)]
pub(crate) struct Closed(pub(crate) Arc<dyn Store>);

fn closed<T>() -> s3db_store::Result<T> {
    Err(StoreError::new(
        StoreKind::Denied,
        "this handle may not touch raw objects; the job's `allow` says what it may do",
    ))
}

#[async_trait]
impl Store for Closed {
    async fn get(&self, _key: &str, _range: Option<Range<u64>>) -> s3db_store::Result<Object> {
        closed()
    }
    async fn head(&self, _key: &str) -> s3db_store::Result<ObjectMeta> {
        closed()
    }
    async fn put(&self, _key: &str, _put: Put, _precondition: Precondition) -> s3db_store::Result<String> {
        closed()
    }
    async fn delete(&self, _key: &str, _precondition: Precondition) -> s3db_store::Result<()> {
        closed()
    }
    async fn delete_many(&self, _keys: &[String]) -> s3db_store::Result<()> {
        closed()
    }
    async fn list(&self, _list: List) -> s3db_store::Result<Page> {
        closed()
    }
    async fn copy(&self, _from: &str, _to: &str, _copy: Copy) -> s3db_store::Result<String> {
        closed()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
    fn location(&self) -> String {
        self.0.location()
    }
}
