//! Building the plugin.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s3db_store::Store;
use s3db_store::clock::{Clock, SystemClock};

use super::ids::{self, BackupType};
use super::keys::{Identities, Recipients};
use super::limiter::Limiter;
use super::report::BackupReport;
use super::retention::Policy;
use super::scope::Scope;
use super::settings::{
    BackupSettings, BytesSetting, Compression, DestinationSettings, EncryptionSettings, Retention, Strategy,
};
use super::{BackupPlugin, Core, rows};
use crate::config::{Config, DurationSetting};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Sender;

type OnStart = Arc<dyn Fn(BackupType, &str) -> std::result::Result<(), String> + Send + Sync>;
type OnComplete = Arc<dyn Fn(&BackupReport) + Send + Sync>;
type OnError = Arc<dyn Fn(BackupType, &Error) + Send + Sync>;

/// Functions that are called for a backup.
#[derive(Default)]
pub(super) struct Callbacks {
    start: Vec<OnStart>,
    complete: Vec<OnComplete>,
    error: Vec<OnError>,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Callbacks({}, {}, {})", self.start.len(), self.complete.len(), self.error.len())
    }
}

impl Callbacks {
    /// Asks whether a backup may begin.
    pub(super) fn may_start(&self, kind: BackupType, id: &str) -> Result<()> {
        for callback in &self.start {
            let answered = catch_unwind(AssertUnwindSafe(|| callback(kind, id)));
            let answered = answered.unwrap_or_else(|_| Err("it panicked".to_owned()));
            answered.map_err(|why| {
                Error::new(ErrorKind::Unsupported, format!("onBackupStart refused the {kind} backup: {why}"))
                    .guide("nothing was begun; see what that function wants")
            })?;
        }
        Ok(())
    }

    pub(super) fn completed(&self, report: &BackupReport) {
        for callback in &self.complete {
            if catch_unwind(AssertUnwindSafe(|| callback(report))).is_err() {
                tracing::error!(target: "s3db::backup", "onBackupComplete panicked");
            }
        }
    }

    pub(super) fn failed(&self, kind: BackupType, error: &Error) {
        for callback in &self.error {
            if catch_unwind(AssertUnwindSafe(|| callback(kind, error))).is_err() {
                tracing::error!(target: "s3db::backup", "onBackupError panicked");
            }
        }
    }
}

/// Builds a [`BackupPlugin`].
#[derive(Default)]
pub struct BackupBuilder {
    settings: BackupSettings,
    folder: PathBuf,
    from: Option<String>,
    stores: Vec<Arc<dyn Store>>,
    identity_files: Vec<PathBuf>,
    passphrases: Vec<String>,
    passphrase_work: Option<u8>,
    callbacks: Callbacks,
    clock: Option<Arc<dyn Clock>>,
}

impl std::fmt::Debug for BackupBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl BackupBuilder {
    /// Takes the settings of a configuration; relative paths are taken from its folder.
    #[must_use]
    pub fn configure(mut self, config: &Config) -> Self {
        if let Some(settings) = &config.settings.backup {
            self.settings = settings.clone();
        }
        self.folder.clone_from(&config.folder);
        self
    }

    /// Takes settings, in place of all that were made before.
    #[must_use]
    pub fn settings(mut self, settings: BackupSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The folder that relative paths are taken from. The default is the working directory.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Adds a destination.
    #[must_use]
    pub fn destination(mut self, destination: DestinationSettings) -> Self {
        self.settings.destinations.push(destination);
        self
    }

    /// Adds a store as a destination: an engine of yours, or a wrapper.
    #[must_use]
    pub fn destination_store(mut self, store: Arc<dyn Store>) -> Self {
        self.stores.push(store);
        self
    }

    /// Reads backups from here instead of the destinations: a folder, an `s3:` or `http:` URL, or one backup in
    /// it. Backups of every database that stand there are seen.
    #[must_use]
    pub fn from(mut self, path_or_url: impl Into<String>) -> Self {
        self.from = Some(path_or_url.into());
        self
    }

    /// Which destinations have to take a backup. The default is [`Strategy::All`].
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.settings.strategy = Some(strategy);
        self
    }

    /// Which backups `cleanup` keeps. The default keeps all.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = Some(retention);
        self
    }

    /// Only resources whose names match one of these globs.
    #[must_use]
    pub fn include<T: Into<String>>(mut self, globs: impl IntoIterator<Item = T>) -> Self {
        self.settings.include = Some(globs.into_iter().map(Into::into).collect());
        self
    }

    /// No resource whose name matches one of these globs; they win over `include`.
    #[must_use]
    pub fn exclude<T: Into<String>>(mut self, globs: impl IntoIterator<Item = T>) -> Self {
        self.settings.exclude = globs.into_iter().map(Into::into).collect();
        self
    }

    /// How files are compressed. The default is gzip.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = Some(compression);
        self
    }

    /// To whom files are encrypted. The default is nobody.
    #[must_use]
    pub fn encryption(mut self, encryption: EncryptionSettings) -> Self {
        self.settings.encryption = Some(encryption);
        self
    }

    /// A file of secret keys by which backups are read.
    #[must_use]
    pub fn identity_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.identity_files.push(path.into());
        self
    }

    /// A passphrase by which backups are read.
    #[must_use]
    pub fn read_passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.passphrases.push(passphrase.into());
        self
    }

    /// How much work opening a backup by its passphrase takes, as a power of two: 10 to 22. The default is about a
    /// second's on this machine.
    #[must_use]
    pub fn passphrase_work(mut self, log_n: u8) -> Self {
        self.passphrase_work = Some(log_n.clamp(10, 22));
        self
    }

    /// Whether what was stored is read back before a backup counts. The default is `true`.
    #[must_use]
    pub fn verification(mut self, verify: bool) -> Self {
        self.settings.verification = Some(verify);
        self
    }

    /// The folder of a drill's scratch database. The default is `./tmp/backups`.
    #[must_use]
    pub fn temp_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.temp_dir = Some(folder.into());
        self
    }

    /// The zone of placeholders and of the days of retention. The default is `UTC`.
    #[must_use]
    pub fn timezone(mut self, name: impl Into<String>) -> Self {
        self.settings.timezone = Some(name.into());
        self
    }

    /// Requests to the database under way at once. The default is the connection's parallelism.
    #[must_use]
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.settings.concurrency = Some(requests);
        self
    }

    /// Bytes a second to and from destinations at most. The default is no bound.
    #[must_use]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.settings.bandwidth = Some(BytesSetting(bytes_per_second));
        self
    }

    /// How much older than the last backup an object's time must be to prove that it is unchanged. The default is
    /// 2 s; times have a grain of one.
    #[must_use]
    pub fn margin(mut self, margin: std::time::Duration) -> Self {
        self.settings.margin = Some(DurationSetting(margin));
        self
    }

    /// Whether what happens is logged at level `info` instead of `debug`; changes nothing else.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.settings.verbose = Some(verbose);
        self
    }

    /// Calls a function before a backup begins, with its type and id. An error from it refuses the backup.
    #[must_use]
    pub fn on_backup_start<E: Display>(
        mut self,
        callback: impl Fn(BackupType, &str) -> std::result::Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.start.push(Arc::new(move |kind, id| callback(kind, id).map_err(|e| e.to_string())));
        self
    }

    /// Calls a function after a backup is complete, at some destinations at least.
    #[must_use]
    pub fn on_backup_complete(mut self, callback: impl Fn(&BackupReport) + Send + Sync + 'static) -> Self {
        self.callbacks.complete.push(Arc::new(callback));
        self
    }

    /// Calls a function after a backup failed or was cancelled.
    #[must_use]
    pub fn on_backup_error(mut self, callback: impl Fn(BackupType, &Error) + Send + Sync + 'static) -> Self {
        self.callbacks.error.push(Arc::new(callback));
        self
    }

    /// Where the time of the bandwidth's bound comes from.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the plugin. It makes no request; destinations are opened when they are first needed.
    ///
    /// # Errors
    /// `Invalid`, naming the setting: an unknown zone, a glob or policy or path that is none, a key that cannot be
    /// read.
    pub fn build(self) -> Result<BackupPlugin> {
        let settings = self.settings;
        let folder = if self.folder.as_os_str().is_empty() { PathBuf::from(".") } else { self.folder };
        let zone = ids::zone(settings.timezone.as_deref().unwrap_or("UTC"))?;
        let own = settings.backup_metadata_resource.as_deref().unwrap_or(rows::METADATA);
        let scope = Scope::new(settings.include.as_deref(), &settings.exclude, own)?;
        check(&settings)?;
        // A wrong policy is told at once, not by the first cleanup.
        Policy::new(&settings.retention.clone().unwrap_or_default(), zone.clone())?;
        let recipients = settings.encryption.as_ref().map(|e| Recipients::read(e, &folder)).transpose();
        let recipients = match recipients {
            // Whoever only reads needs no recipients.
            Err(_) if self.from.is_some() => None,
            read => read?.map(|recipients| recipients.work(self.passphrase_work)),
        };
        let identities = identities(&settings, &folder, &self.identity_files, &self.passphrases)?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let limiter = settings.bandwidth.map(|bytes| Arc::new(Limiter::new(clock, bytes.0)));
        let places = (0..settings.destinations.len().max(1)).map(|_| Default::default()).collect();
        let core = Core {
            settings,
            folder,
            zone,
            scope,
            recipients,
            identities,
            from: self.from,
            stores: self.stores,
            limiter,
            callbacks: self.callbacks,
            db: Default::default(),
            places,
            running: Default::default(),
            events: Sender::new(),
            metrics: Default::default(),
        };
        Ok(BackupPlugin { core: Arc::new(core) })
    }
}

fn identities(
    settings: &BackupSettings,
    folder: &Path,
    files: &[PathBuf],
    passphrases: &[String],
) -> Result<Identities> {
    let mut identities = Identities::read(settings.encryption.as_ref(), folder)?;
    for file in files {
        identities.add_file(file)?;
    }
    for passphrase in passphrases {
        identities.add_passphrase(passphrase);
    }
    Ok(identities)
}

fn check(settings: &BackupSettings) -> Result<()> {
    if settings.concurrency == Some(0) {
        return Err(Error::new(ErrorKind::Invalid, "backup.concurrency is 0").guide("write 1 or more"));
    }
    for destination in &settings.destinations {
        let (path, name) = match destination {
            DestinationSettings::Filesystem { path, .. } => (path.as_str(), path.as_str()),
            DestinationSettings::S3 { path, bucket, .. } => (path.as_deref().unwrap_or_default(), bucket.as_str()),
        };
        ids::check_template(path)?;
        if let DestinationSettings::S3 { endpoint: Some(endpoint), .. } = destination
            && endpoint.contains('@')
        {
            return Err(Error::new(ErrorKind::Invalid, "the endpoint of a destination holds keys")
                .guide("write them as credentials, accessKeyIdEnv and secretAccessKeyEnv"));
        }
        if name.trim().is_empty() {
            let field = if destination.kind() == "s3" { "bucket" } else { "path" };
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a destination of type {} has an empty {field}", destination.kind()),
            )
            .guide("name where backups are to go"));
        }
    }
    Ok(())
}
