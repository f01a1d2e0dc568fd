//! Hooks: functions of the caller that run before and after writes.
//!
//! Before-hooks may change the record or veto the write; they run once per attempt of a
//! compare-and-swap, so they must be pure. After-hooks run once, after the write is known to stand;
//! their error is returned to the caller, and the write stays.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookPoint {
    /// Before a record is checked and inserted.
    BeforeInsert,
    /// After a record was inserted.
    AfterInsert,
    /// Before a merged record is checked and written.
    BeforeUpdate,
    /// After a record was updated.
    AfterUpdate,
    /// Before a record is deleted.
    BeforeDelete,
    /// After a record was deleted.
    AfterDelete,
}

/// What a hook returns: the record, changed or not, or the reason of a veto.
pub type HookResult = std::result::Result<Map<String, Value>, String>;
type Hook = Arc<dyn Fn(String, Map<String, Value>) -> Pin<Box<dyn Future<Output = HookResult> + Send>> + Send + Sync>;

/// The hooks of a database by resource and point.
#[derive(Default)]
pub(crate) struct Hooks(RwLock<HashMap<(String, HookPoint), Vec<Hook>>>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks(..)")
    }
}

impl Hooks {
    pub(crate) fn add<F, O>(&self, resource: &str, point: HookPoint, hook: F)
    where
        F: Fn(String, Map<String, Value>) -> O + Send + Sync + 'static,
        O: Future<Output = HookResult> + Send + 'static,
    {
        let hook: Hook = Arc::new(move |id, record| Box::pin(hook(id, record)));
        let mut hooks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        hooks.entry((resource.to_owned(), point)).or_default().push(hook);
    }

    /// Runs the hooks of a point one after another.
    pub(crate) async fn run(
        &self,
        resource: &str,
        point: HookPoint,
        id: &str,
        mut record: Map<String, Value>,
    ) -> Result<Map<String, Value>> {
        let found = {
            let hooks = self.0.read().unwrap_or_else(PoisonError::into_inner);
            hooks.get(&(resource.to_owned(), point)).cloned().unwrap_or_default()
        };
        for hook in found {
            record = hook(id.to_owned(), record).await.map_err(|reason| {
                let guidance = match point {
                    HookPoint::BeforeInsert | HookPoint::BeforeUpdate | HookPoint::BeforeDelete => {
                        "a hook refused; nothing was written"
                    }
                    _ => "the write stands; a hook that runs after it failed",
                };
                Error::new(ErrorKind::Invalid, format!("hook {point:?} of resource '{resource}': {reason}"))
                    .guide(guidance)
            })?;
        }
        Ok(record)
    }
}
