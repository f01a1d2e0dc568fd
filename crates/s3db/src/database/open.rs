//! Connecting.

use std::path::PathBuf;
use std::sync::Arc;

use s3db_store::Store;
use s3db_store::clock::{Clock, SystemClock};
use s3db_store::local::{Local, LocalOptions};
use s3db_store::memory::Memory;
use s3db_store::meter::{Counters, Meter};

use super::cache::CatalogCache;
use super::throttle::Throttle;
use super::{Database, Inner, dump};
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Sender;
use crate::plugin::{Held, Plugin};
use crate::resource::{IndexKeeper, ReferenceKeeper};
use crate::secrets::Secrets;
use crate::url::{Bucket, Location};

/// Requests that a list or a bulk operation has under way at once.
const PARALLELISM: usize = 64;

/// The settings and components of a connection.
#[derive(Debug)]
pub struct DatabaseBuilder {
    url: String,
    base: PathBuf,
    passphrase: Option<String>,
    create: bool,
    parallelism: Option<usize>,
    shared: bool,
    store: Option<Arc<dyn Store>>,
    counters: Option<Arc<Counters>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    plugins: Vec<Arc<dyn Plugin>>,
    start_plugins: bool,
}

impl DatabaseBuilder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            base: PathBuf::from("."),
            passphrase: None,
            create: true,
            parallelism: None,
            shared: false,
            store: None,
            counters: None,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            plugins: Vec::new(),
            start_plugins: true,
        }
    }

    /// The passphrase of secret fields. Without one, writing a secret is refused and reading tries
    /// s3db.js's default.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.passphrase = Some(passphrase.into()).filter(|p| !p.is_empty());
        self
    }

    /// Whether a directory that is not there is made. The default is `true`.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The folder that relative paths are taken from. The default is the working directory.
    #[must_use]
    pub fn base(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = base.into();
        self
    }

    /// Requests under way at once in lists and bulk operations, 1 to 1,024. The default is 64.
    #[must_use]
    pub fn parallelism(mut self, requests: usize) -> Self {
        self.parallelism = Some(requests.clamp(1, 1024));
        self
    }

    /// Whether s3db.js works on this database too. Then its references are kept instead of our index,
    /// which costs more requests; every process of ours has to say so. The default is `false`.
    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// A store of your own instead of the one that the URL names: a wrapper, or an engine.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Counts the connection's requests into these counters, which several connections may share.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// use std::sync::Arc;
    /// let counters = Arc::new(s3db::store::meter::Counters::default());
    /// let db = s3db::Database::builder("memory://metered").metered(Arc::clone(&counters)).connect().await?;
    /// db.resource_names().await?;
    /// assert!(counters.read().get > 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn metered(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where randomness comes from.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Adds a plugin. It is set up when the database connects.
    #[must_use]
    pub fn plugin(mut self, plugin: impl Plugin) -> Self {
        self.plugins.push(Arc::new(plugin));
        self
    }

    /// Whether plugins begin what they do in the background: timers, sweeps, schedules. The default is
    /// `true`; a program that does one thing and ends turns it off.
    #[must_use]
    pub fn start_plugins(mut self, start: bool) -> Self {
        self.start_plugins = start;
        self
    }

    /// Connects. Costs one request: the catalog is read. On an S3 server another one reads what a
    /// probe found out about it; the first connection of a database makes that probe, about 350
    /// requests.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none, `NotFound` for a bucket that does not exist, and for a
    /// directory without a store where `create` is off, `Unavailable` for missing permissions and for
    /// credentials that are refused, `Integrity` for a catalog that is no JSON, which
    /// is never overwritten; what a plugin's set-up returns.
    pub async fn connect(self) -> Result<Database> {
        let (store, parallelism) = match self.store {
            Some(store) => (store, None),
            None => open_store(Location::parse(&self.url, &self.base)?, self.create, &self.clock).await?,
        };
        let store: Arc<dyn Store> = match self.counters {
            Some(counters) => Arc::new(Meter::counting(store, counters)),
            None => store,
        };
        let inner = Inner {
            secrets: Secrets::new(self.passphrase, Arc::clone(&self.entropy)),
            keeper: if self.shared { &ReferenceKeeper } else { &IndexKeeper },
            throttle: Throttle::new(self.parallelism.or(parallelism).unwrap_or(PARALLELISM)),
            ..Inner::over(store, self.clock, self.entropy)
        };
        inner.fresh_catalog().await?;
        let plugins = Held::Strong(Arc::default());
        Database { inner: Arc::new(inner), plugins, access: None }.with_plugins(self.plugins, self.start_plugins).await
    }
}

impl Inner {
    /// A store with what sends requests to it, without a look at its catalog.
    pub(crate) fn over(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            store,
            secrets: Secrets::new(None, Arc::clone(&entropy)),
            clock,
            entropy,
            hooks: Default::default(),
            events: Sender::new(),
            markers: Default::default(),
            keeper: &IndexKeeper,
            throttle: Throttle::new(PARALLELISM),
            closed: Default::default(),
            catalog: CatalogCache::default(),
        }
    }
}

/// The engine of a location, and its parallelism where the URL gives one.
pub(crate) async fn open_store(
    location: Location,
    create: bool,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<dyn Store>, Option<usize>)> {
    match location {
        Location::Memory(name) => Ok((Memory::named(&name), None)),
        Location::Directory(path) if dump::is_dump(&path) => Ok((dump::load(&path).await?, None)),
        Location::Directory(path) => Ok((open_directory(path, create, clock).await?, None)),
        Location::Bucket(bucket) => {
            let parallelism = bucket.parallelism;
            Ok((open_bucket(bucket, clock).await?, parallelism))
        }
    }
}

#[cfg(feature = "s3")]
async fn open_bucket(bucket: Bucket, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    use s3db_store::s3::{S3, S3Options};
    let options = S3Options {
        prefix: bucket.prefix,
        endpoint: bucket.endpoint,
        region: bucket.region,
        path_style: bucket.path_style,
        credentials: bucket.credentials,
        last_write_wins: bucket.last_write_wins,
        clock: Arc::clone(clock),
        ..S3Options::new(bucket.name, s3db_format::keys::PROBE)
    };
    Ok(Arc::new(S3::open(options).await?))
}

#[cfg(not(feature = "s3"))]
async fn open_bucket(bucket: Bucket, _clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the bucket '{}' is on an S3 server, and this program was built without the feature 's3'", bucket.name),
    )
    .guide("build it with the feature, or use file:./data"))
}

async fn open_directory(path: PathBuf, create: bool, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    let options = LocalOptions { create, clock: Arc::clone(clock), ..LocalOptions::default() };
    let missing = !create && !Local::exists(&path);
    let shown = path.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Local::open(&path, options)).await;
    let opened = opened.map_err(|e| Error::new(ErrorKind::Internal, format!("opening the store ended: {e}")))?;
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(_) if missing => {
            Err(Error::new(ErrorKind::NotFound, format!("there is no database in the directory {shown}"))
                .guide("create one with `s3db init`, or check the path"))
        }
        Err(error) => Err(Error::from(error)),
    }
}
