//! A database: a store with a catalog.

mod cache;
mod copy;
mod create;
mod dump;
mod open;
mod pause;
mod reading;
mod sharing;
mod status;
mod throttle;
mod update;
mod versions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use s3db_format::catalog;
use s3db_format::resource::Version;
use s3db_store::Store;
use s3db_store::clock::Clock;

use crate::access::{Access, Allow, Closed};
use crate::entropy::{Entropy, below, earliest_ulid, make_ulid};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Events, Sender};
use crate::hooks::Hooks;
use crate::plugin::Held;
use crate::resource::{Keeper, Markers, Resource};
use crate::secrets::Secrets;
use crate::typed::TypedResource;

pub use copy::{CopyOptions, CopyReport};
pub use create::DropReport;
pub use open::DatabaseBuilder;
pub(crate) use open::open_store;
pub use pause::Pause;
pub(crate) use reading::json_object;
pub use status::Status;
pub use update::UpdateReport;

use cache::CatalogCache;
use throttle::Throttle;

/// A connected database. Cheap to clone; all clones share caches, hooks and events.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
    pub(crate) plugins: Held,
    pub(crate) access: Access,
}

/// What all handles of a database share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) secrets: Secrets,
    pub(crate) hooks: Hooks,
    pub(crate) events: Sender,
    pub(crate) markers: Markers,
    pub(crate) throttle: Throttle,
    pub(crate) keeper: &'static dyn Keeper,
    /// What limited handles get for a store.
    pub(crate) closed: OnceLock<Arc<dyn Store>>,
    catalog: CatalogCache,
}

impl Database {
    /// Prepares a connection: `file:./data`, `memory://name`.
    pub fn builder(url: impl Into<String>) -> DatabaseBuilder {
        DatabaseBuilder::new(url.into())
    }

    /// Connects with the settings that are the default.
    ///
    /// # Errors
    /// See [`DatabaseBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// A resource that exists. Costs no request while the catalog is cached.
    ///
    /// # Errors
    /// `NotFound`, naming the resources that there are.
    pub async fn resource(&self, name: &str) -> Result<Resource> {
        if let Some(allow) = &self.access {
            allow.check_resource(name)?;
        }
        self.inner.resource(name).await?;
        Ok(Resource::new(Arc::clone(&self.inner), name).limited(self.access.clone()))
    }

    /// A resource whose records are of a type of yours.
    ///
    /// # Errors
    /// As [`Database::resource`].
    pub async fn resource_as<T>(&self, name: &str) -> Result<TypedResource<T>> {
        Ok(TypedResource::new(self.resource(name).await?))
    }

    /// The names of all resources, in order.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn resource_names(&self) -> Result<Vec<String>> {
        Ok(self.inner.fresh_catalog().await?.resources().keys().cloned().collect())
    }

    /// The events of this process from now on.
    pub fn events(&self) -> Events {
        self.inner.events.subscribe()
    }

    /// The store, for tools that move raw objects.
    ///
    /// A limited handle gets one that refuses everything.
    pub fn store(&self) -> &Arc<dyn Store> {
        match &self.access {
            None => &self.inner.store,
            Some(_) => self.inner.closed.get_or_init(|| Arc::new(Closed(Arc::clone(&self.inner.store)))),
        }
    }

    /// The same handle, which may do less.
    pub(crate) fn limited(&self, allow: Option<&Allow>) -> Self {
        Self { access: allow.cloned().map(Arc::new), ..self.clone() }
    }

    /// Refuses what concerns the whole database to a handle that may do less.
    pub(crate) fn may_all(&self, what: &str) -> Result<()> {
        self.access.as_ref().map_or(Ok(()), |allow| allow.check_whole(what))
    }

    /// Where the database is, without secrets.
    pub fn location(&self) -> String {
        self.inner.store.location()
    }
}

/// Attempts of a request that fails for now, and how long they may take together.
const ATTEMPTS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE_MS: u64 = 20;
/// How far back the tokens of a record that is written often go.
const RECENT_MS: i64 = 30_000;

/// The numbers of the attempts of a request: a few, and none after a minute.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    clock: &'a dyn Clock,
    begun: Duration,
    next: u32,
}

impl Iterator for Attempts<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let tired = self.clock.monotonic().saturating_sub(self.begun) > PATIENCE;
        if self.next == ATTEMPTS || tired {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

impl Inner {
    pub(crate) fn ulid(&self) -> String {
        make_ulid(&*self.entropy, self.store.now_ms())
    }

    /// The token from which on others count as recent: half a minute ago, the longest that a request is
    /// waited for. Where a refusal is certain, nobody needs them.
    pub(crate) fn recent(&self) -> Option<String> {
        let since = self.store.now_ms() - RECENT_MS;
        (!self.store.capabilities().definite_refusals).then(|| earliest_ulid(since))
    }

    pub(crate) fn now(&self) -> String {
        s3db_format::date::rfc3339(self.store.now_ms())
    }

    /// A pause that grows with the attempt, with jitter.
    pub(crate) async fn back_off(&self, attempt: u32) {
        let longest = FIRST_PAUSE_MS << attempt.min(6);
        let pause = longest / 2 + below(&*self.entropy, longest);
        self.clock.sleep(Duration::from_millis(pause)).await;
    }

    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { clock: &*self.clock, begun: self.clock.monotonic(), next: 0 }
    }

    /// Requests that may be under way at once: fewer while the store refuses for now.
    pub(crate) fn parallel(&self) -> usize {
        self.throttle.bound()
    }

    /// Whether s3db.js's references are kept.
    pub(crate) fn is_shared(&self) -> bool {
        self.keeper.mark().is_some()
    }

    /// Writers that keep other keys than the rest would make partitions wrong.
    pub(crate) fn refuse_other_keeper(&self) -> Result<()> {
        let shared = self.catalog.cached().is_some_and(|c| c.is_shared());
        if !shared || self.is_shared() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, "this database is shared with s3db.js, and was opened without that")
            .guide("open it with `shared = true` (in s3db.toml, or --shared), or end the sharing with `s3db doctor --end-sharing`; nothing was written"))
    }

    /// The catalog's entry of a resource, from the cache where that knows it.
    pub(crate) async fn resource(&self, name: &str) -> Result<Arc<catalog::Resource>> {
        if let Some(found) = self.catalog.cached().and_then(|c| c.resource(name).cloned()) {
            return Ok(found);
        }
        let catalog = self.fresh_catalog().await?;
        catalog.resource(name).cloned().ok_or_else(|| unknown_resource(name, &catalog))
    }

    /// The entry to write by: not older than a minute.
    pub(crate) async fn resource_for_write(&self, name: &str) -> Result<Arc<catalog::Resource>> {
        self.revalidate_catalog().await?;
        self.refuse_other_keeper()?;
        self.ensure_sharing().await?;
        let resource = self.resource(name).await?;
        refuse_read_only(&resource)?;
        Ok(resource)
    }
}

fn unknown_resource(name: &str, catalog: &catalog::Catalog) -> Error {
    if catalog.unusable().contains(&name) {
        return Error::new(
            ErrorKind::Unsupported,
            format!("resource '{name}' has no version that this program understands"),
        )
        .guide(
            "its entry in s3db.json has no attributes, or a behaviour of another program; the other resources work",
        );
    }
    let names: Vec<&str> = catalog.resources().keys().map(String::as_str).collect();
    let hint =
        s3db_format::error::did_you_mean(name, names.iter().copied()).unwrap_or_else(|| match names.as_slice() {
            [] => format!("there are no resources yet; create one with `s3db resource create {name} --attributes …`"),
            names => format!("resources: {}", names.join(", ")),
        });
    Error::not_found("resource", name).guide(hint)
}

fn refuse_read_only(resource: &catalog::Resource) -> Result<()> {
    let problems: Vec<String> = resource.problems().iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "resource '{}' is read-only: its definition is not understood ({})",
            resource.name,
            problems.join("; ")
        ),
    )
    .guide("records can be read; write them with the program that made the definition, or with a newer s3db"))
}

/// The lines of an `AlreadyExists` for a definition.
pub(crate) fn different_definition(name: &str, stored: &Version, wanted: &Version) -> Error {
    let differences = wanted.differences(stored);
    Error::new(
        ErrorKind::AlreadyExists,
        format!("resource '{name}' already exists with another definition: {}", differences.join("; ")),
    )
    .guide("use the stored definition, or another name")
    .detail(serde_json::json!({ "differences": differences }))
}
