//! Backups that provably restore.
//!
//! A backup holds the raw objects of a database as lines of JSON in a few compressed, perhaps encrypted files,
//! with an index and a manifest that is written last. It is complete if, and only if, its manifest is there; a
//! crash at any point leaves it incomplete, never listed as good. Incremental and differential backups hold what
//! changed, deletes included. A restore reads and checks every file before it writes the first object, and
//! compares at the end.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
//! use s3db::backup::{BackupPlugin, BackupType, DestinationSettings, RestoreOptions, VerifyLevel};
//! use s3db::{Database, ResourceDefinition};
//! use serde_json::json;
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().display();
//!
//! let plugin = BackupPlugin::builder()
//!     .destination(DestinationSettings::filesystem(format!("{path}/backups/{{date}}/")))
//!     .build()?;
//! let db = Database::builder("memory://shop").plugin(plugin).connect().await?;
//! let users = db.create_resource(ResourceDefinition::new("users").attribute("name", "string")).await?;
//! users.insert(json!({"id": "ana", "name": "Ana"})).await?;
//!
//! let backups = db.plugin::<BackupPlugin>()?;
//! let full = backups.backup(BackupType::Full).await?;
//! users.delete("ana").await?;
//! let changes = backups.backup(BackupType::Incremental).await?;
//! assert_eq!((changes.counts.stored, changes.counts.deleted), (0, 1));
//! assert!(backups.verify(&full.id, VerifyLevel::Full).await?.valid);
//!
//! let copy = Database::connect("memory://copy").await?;
//! backups.restore_into(&copy, &full.id, &RestoreOptions::default()).await?;
//! assert_eq!(copy.resource("users").await?.get("ana").await?.attributes["name"], "Ana");
//! # Ok(()) }
//! ```
//!
//! `docs/backups.md` leads from the first backup to a drill; `docs/backup-format.md` has the bytes.

mod archive;
mod builder;
mod cancel;
mod capture;
mod chain;
mod check;
mod cleanup;
mod codec;
mod create;
mod delete;
mod drill;
mod events;
mod ids;
mod keys;
mod limiter;
mod line;
mod list;
mod locks;
mod manifest;
mod metrics;
mod parent;
mod pin;
mod progress;
mod rekey;
mod report;
mod restore;
mod retention;
mod rows;
mod run;
mod scope;
mod sealed;
mod settings;
mod shelf;
mod sink;
mod source;
mod survey;
mod turn;
mod unfinished;
mod verify;
mod walk;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use s3db_store::Store;
use tokio::sync::OnceCell;

use super::Plugin;
use crate::database::Database;
use crate::doctor::Finding;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Events, Sender};

pub use builder::BackupBuilder;
pub use cleanup::{CleanupReport, CleanupRow};
pub use drill::DrillReport;
pub use events::{BackupEvent, Progress};
pub use ids::BackupType;
pub use list::{BackupSummary, ListOptions};
pub use manifest::{Counts, Encryption, FileEntry, FileKind, Manifest};
pub use metrics::Metrics;
pub use rekey::RekeyReport;
pub use report::{BackupReport, DestinationReport};
pub use restore::{Mode, RestoreOptions, RestoreReport, Selection};
pub use rows::BackupStatus;
pub use settings::{
    BackupSchedule, BackupSettings, BytesSetting, Compression, Credentials, DestinationSettings, EncryptionSettings,
    Retention, Strategy,
};
pub use sink::Contents;
pub use verify::{Problem, VerifyLevel, VerifyReport};

/// How much older than the parent's start an object must be to count as unchanged.
const MARGIN_MS: i64 = 2_000;

/// The plugin for backups.
#[derive(Debug, Clone)]
pub struct BackupPlugin {
    core: Arc<Core>,
}

/// What the plugin's handles share.
#[derive(Debug)]
struct Core {
    settings: BackupSettings,
    /// Where relative paths are taken from.
    folder: PathBuf,
    zone: TimeZone,
    scope: scope::Scope,
    recipients: Option<keys::Recipients>,
    identities: keys::Identities,
    /// Where backups are read from instead of the destinations.
    from: Option<String>,
    /// Stores that are destinations, beside those of the settings.
    stores: Vec<Arc<dyn Store>>,
    limiter: Option<Arc<limiter::Limiter>>,
    callbacks: builder::Callbacks,
    db: OnceLock<Database>,
    places: Vec<OnceCell<shelf::Place>>,
    running: cancel::Running,
    events: Sender<BackupEvent>,
    metrics: metrics::Counters,
}

impl Core {
    fn db(&self) -> Result<&Database> {
        self.db.get().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the plugin is not set up")
                .guide("give it to Database::builder(…).plugin(…), and find it with db.plugin::<BackupPlugin>()")
        })
    }

    fn margin_ms(&self) -> i64 {
        self.settings.margin.map_or(MARGIN_MS, |margin| i64::try_from(margin.0.as_millis()).unwrap_or(i64::MAX))
    }

    fn tell(&self, what: &str) {
        if self.settings.verbose == Some(true) {
            tracing::info!(target: "s3db::backup", "{what}");
        } else {
            tracing::debug!(target: "s3db::backup", "{what}");
        }
    }

    fn tools(&self) -> Result<shelf::Tools> {
        let inner = &self.db()?.inner;
        Ok(shelf::Tools {
            folder: self.folder.clone(),
            clock: Arc::clone(&inner.clock),
            entropy: Arc::clone(&inner.entropy),
        })
    }

    /// The destinations, opened. An error is that of one of them.
    async fn places(&self) -> Result<Vec<(String, Result<shelf::Place>)>> {
        let tools = self.tools()?;
        let mut places = Vec::new();
        if let Some(from) = &self.from {
            places.push((crate::url::mask(from), Ok(self.place(0, shelf::Place::at(from, &tools)).await?)));
            return Ok(places);
        }
        for (at, settings) in self.settings.destinations.iter().enumerate() {
            let opened = self.place(at, shelf::Place::open(settings, &tools)).await;
            places.push((format!("{settings:?}"), opened));
        }
        for store in &self.stores {
            places.push((store.location(), Ok(shelf::Place::in_store(Arc::clone(store), &tools))));
        }
        if places.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "there is no destination for backups").guide(
                "add [[backup.destinations]] to s3db.toml, such as type = \"filesystem\", path = \"./backups/\"",
            ));
        }
        shelf::refuse_overlaps(places.iter().filter_map(|(_, place)| place.as_ref().ok()))?;
        Ok(places)
    }

    async fn place(&self, at: usize, open: impl Future<Output = Result<shelf::Place>>) -> Result<shelf::Place> {
        match self.places.get(at) {
            Some(cell) => cell.get_or_try_init(|| open).await.cloned(),
            None => open.await,
        }
    }

    /// The destinations that can be opened.
    ///
    /// # Errors
    /// None can.
    async fn open_places(&self) -> Result<Vec<shelf::Place>> {
        let mut open = Vec::new();
        let mut first = None;
        for (name, place) in self.places().await? {
            match place {
                Ok(place) => open.push(place),
                Err(error) => {
                    tracing::warn!(target: "s3db::backup", %error, "the destination {name} cannot be opened");
                    first.get_or_insert(error);
                }
            }
        }
        match (open.is_empty(), first) {
            (true, Some(error)) => Err(error),
            _ => Ok(open),
        }
    }

    /// The database whose backups are looked at; `None` where that is any, because the database is gone or
    /// backups are read from elsewhere.
    async fn source(&self) -> Result<Option<String>> {
        if self.from.is_some() {
            return Ok(None);
        }
        self.db()?.inner.known_database_id().await
    }
}

impl BackupPlugin {
    /// Begins to build the plugin.
    pub fn builder() -> BackupBuilder {
        BackupBuilder::default()
    }

    /// The events of this process's backups from now on.
    pub fn subscribe(&self) -> Events<BackupEvent> {
        self.core.events.subscribe()
    }

    /// Whether there is a destination.
    pub fn is_configured(&self) -> bool {
        let core = &self.core;
        core.from.is_some() || !core.settings.destinations.is_empty() || !core.stores.is_empty()
    }
}

#[async_trait]
impl Plugin for BackupPlugin {
    fn name(&self) -> &'static str {
        "BackupPlugin"
    }

    async fn setup(&self, db: Database) -> Result<()> {
        self.core.db.set(db).map_err(|_| {
            Error::new(ErrorKind::Unsupported, "the plugin is set up for another connection already")
                .guide("build one plugin for each connection")
        })
    }

    async fn stop(&self, deadline: Duration) -> Result<()> {
        self.core.stop(deadline).await
    }

    async fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        self.core.check(repair).await
    }
}

/// A path below a folder, for messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
