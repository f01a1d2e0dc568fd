//! Plugins: parts that stand on a database and keep their records in ordinary resources.
//!
//! A plugin is built, given to the builder of a connection, and set up when that connects:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
//! use std::sync::{Arc, OnceLock};
//! use s3db::{Database, Plugin, ResourceDefinition, Result};
//!
//! #[derive(Debug, Default)]
//! struct Greeter(OnceLock<Database>);
//!
//! #[s3db::async_trait]
//! impl Plugin for Greeter {
//!     fn name(&self) -> &'static str {
//!         "GreeterPlugin"
//!     }
//!     async fn setup(&self, db: Database) -> Result<()> {
//!         db.create_resource(ResourceDefinition::new("greetings").attribute("text", "string")).await?;
//!         let _first = self.0.set(db);
//!         Ok(())
//!     }
//! }
//!
//! let db = Database::builder("memory://plugins").plugin(Greeter::default()).connect().await?;
//! let greeter: Arc<Greeter> = db.plugin()?;
//! assert_eq!(greeter.name(), db.get_plugin("greeter")?.name());
//! # Ok(()) }
//! ```
//!
//! `docs/plugins.md` says more, and `examples/plugin.rs` is a whole one.

pub(crate) mod action;
pub mod backup;
pub(crate) mod expression;
pub(crate) mod problem;
mod rows;
pub mod scheduler;
pub mod state_machine;

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;

use crate::database::Database;
use crate::doctor::Finding;
use crate::error::{Error, ErrorKind, Result};

/// A part that stands on a database.
#[async_trait]
pub trait Plugin: Any + Send + Sync + std::fmt::Debug {
    /// Its name, such as `StateMachinePlugin`. It is also found without `Plugin` and with a small first
    /// letter: `stateMachine`.
    fn name(&self) -> &'static str;

    /// Called once, when the database connects, in the order in which plugins were added. The handle may
    /// be kept: it finds the other plugins, and does not keep the database's plugins alive.
    ///
    /// # Errors
    /// An error ends the connection.
    async fn setup(&self, db: Database) -> Result<()>;

    /// Begins what goes on in the background. Called after every plugin is set up, unless the connection
    /// was made with [`crate::DatabaseBuilder::start_plugins`] off.
    ///
    /// # Errors
    /// An error ends the connection.
    async fn start(&self) -> Result<()> {
        Ok(())
    }

    /// Ends what goes on in the background, within the deadline.
    ///
    /// # Errors
    /// Something could not be ended in order.
    async fn stop(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }

    /// Looks for what crashes left, for [`Database::doctor`]; mends it with `repair`.
    ///
    /// # Errors
    /// The store cannot be read, or not be written.
    async fn check(&self, _repair: bool) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }
}

/// The plugins of a connection.
#[derive(Debug, Default)]
pub(crate) struct Plugins(OnceLock<Vec<Arc<dyn Plugin>>>);

/// How a handle of a database holds its plugins: a plugin's own handle must not keep it alive.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Strong(Arc<Plugins>),
    Weak(Weak<Plugins>),
}

impl Held {
    fn plugins(&self) -> Vec<Arc<dyn Plugin>> {
        let held = match self {
            Self::Strong(plugins) => Some(Arc::clone(plugins)),
            Self::Weak(plugins) => plugins.upgrade(),
        };
        held.and_then(|plugins| plugins.0.get().cloned()).unwrap_or_default()
    }

    /// A handle that keeps nothing alive.
    pub(crate) fn weak(&self) -> Self {
        match self {
            Self::Strong(plugins) => Self::Weak(Arc::downgrade(plugins)),
            Self::Weak(plugins) => Self::Weak(Weak::clone(plugins)),
        }
    }
}

/// The name without `Plugin`, its first letter small.
pub(crate) fn short_name(name: &str) -> String {
    let stem = name.strip_suffix("Plugin").unwrap_or(name);
    let mut letters = stem.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

impl Database {
    /// Sets plugins up and starts them.
    pub(crate) async fn with_plugins(self, plugins: Vec<Arc<dyn Plugin>>, start: bool) -> Result<Self> {
        for (at, plugin) in plugins.iter().enumerate() {
            if plugins.iter().take(at).any(|other| other.name() == plugin.name()) {
                return Err(Error::new(ErrorKind::Invalid, format!("the plugin '{}' was given twice", plugin.name()))
                    .guide("give one of each to Database::builder(…).plugin(…)"));
            }
        }
        if let Held::Strong(held) = &self.plugins {
            let _only_here = held.0.set(plugins.clone());
        }
        for plugin in &plugins {
            let handle = Self { inner: Arc::clone(&self.inner), plugins: self.plugins.weak(), access: None };
            plugin.setup(handle).await.map_err(|e| e.context(plugin.name()))?;
        }
        if start {
            self.start().await?;
        }
        Ok(self)
    }

    /// The plugin of a type.
    ///
    /// # Errors
    /// `NotFound` if it was not given to the builder.
    pub fn plugin<T: Plugin>(&self) -> Result<Arc<T>> {
        let found = self.plugins.plugins().into_iter().filter(|plugin| self.may_use(plugin.name()).is_ok()).find_map(
            |plugin| {
                let any: Arc<dyn Any + Send + Sync> = plugin;
                any.downcast::<T>().ok()
            },
        );
        let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
        self.may_use(name)?;
        found.ok_or_else(|| self.no_plugin(name))
    }

    /// The plugin of a name, in either form: `StateMachinePlugin` or `stateMachine`.
    ///
    /// # Errors
    /// `NotFound`, naming the plugins that there are.
    pub fn get_plugin(&self, name: &str) -> Result<Arc<dyn Plugin>> {
        self.may_use(name)?;
        let fits = |plugin: &Arc<dyn Plugin>| plugin.name() == name || short_name(plugin.name()) == name;
        self.plugins.plugins().into_iter().find(fits).ok_or_else(|| self.no_plugin(name))
    }

    fn may_use(&self, plugin: &str) -> Result<()> {
        self.access.as_ref().map_or(Ok(()), |allow| allow.check_plugin(plugin))
    }

    fn no_plugin(&self, name: &str) -> Error {
        let names: Vec<&str> = self.plugins.plugins().iter().map(|p| p.name()).collect();
        let have = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        Error::new(ErrorKind::NotFound, format!("this connection has no plugin '{name}'"))
            .guide(format!("{have}; give the plugin to Database::builder(…).plugin(…)"))
    }

    /// Begins what plugins do in the background. [`crate::DatabaseBuilder::connect`] calls it.
    ///
    /// # Errors
    /// The first error of a plugin; those that were started before it are stopped again.
    pub async fn start(&self) -> Result<()> {
        let plugins = self.plugins.plugins();
        for (at, plugin) in plugins.iter().enumerate() {
            let Err(error) = plugin.start().await else { continue };
            for started in plugins.iter().take(at).rev() {
                if let Err(error) = started.stop(Duration::ZERO).await {
                    tracing::warn!(%error, "{} did not stop in order", started.name());
                }
            }
            return Err(error.context(plugin.name()));
        }
        Ok(())
    }

    /// Ends what plugins do in the background, the last one first, each within the deadline.
    ///
    /// # Errors
    /// The first error of a plugin, after every plugin was stopped.
    pub async fn stop(&self, deadline: Duration) -> Result<()> {
        let mut first = Ok(());
        for plugin in self.plugins.plugins().iter().rev() {
            let stopped = plugin.stop(deadline).await.map_err(|e| e.context(plugin.name()));
            first = first.and(stopped);
        }
        first
    }

    pub(crate) async fn check_plugins(&self, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for plugin in self.plugins.plugins() {
            findings.extend(plugin.check(repair).await.map_err(|e| e.context(plugin.name()))?);
        }
        Ok(findings)
    }
}
