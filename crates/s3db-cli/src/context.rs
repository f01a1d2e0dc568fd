//! What every command needs: settings, the connection, the printer.

use std::path::PathBuf;
use std::sync::Arc;

use s3db::backup::{BackupPlugin, BackupSettings};
use s3db::config::{Config, Output, read_passphrase};
use s3db::scheduler::SchedulerPlugin;
use s3db::state_machine::{MachineFile, StateMachinePlugin};
use s3db::store::meter::Counters;
use s3db::{Database, DatabaseBuilder};

use crate::args::{Format, Global, Reading};
use crate::output::{Failure, Printer};

/// Whether a directory that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make it.
    Create,
    /// Refuse.
    Refuse,
}

/// How much of a connection jobs need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    /// The jobs.
    No,
    /// What their actions use.
    Yes,
    /// That too, and it runs by itself.
    Started,
}

/// The settings of this run.
pub(crate) struct Context {
    global: Global,
    config: Option<Config>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self { global, config: None }
    }

    /// The configuration file, read once.
    pub(crate) fn config(&mut self) -> Result<&Config, Failure> {
        if self.config.is_none() {
            self.config = Some(Config::load(self.global.config.as_deref())?);
        }
        self.config.as_ref().ok_or_else(|| Failure::Io { message: "the configuration was not read".into() })
    }

    /// Forgets the file, which has just been written.
    pub(crate) fn forget_config(&mut self) {
        self.config = None;
    }

    fn asked_format(&mut self) -> Result<Option<Format>, Failure> {
        if self.global.json {
            return Ok(Some(Format::Json));
        }
        if self.global.output.is_some() {
            return Ok(self.global.output);
        }
        Ok(self.config()?.settings.output.map(|output| match output {
            Output::Table => Format::Table,
            Output::Json => Format::Json,
            Output::Jsonl => Format::Jsonl,
        }))
    }

    pub(crate) fn printer(&mut self) -> Result<Printer, Failure> {
        let asked = self.asked_format()?;
        Ok(Printer::new(asked, self.global.quiet, self.global.no_color))
    }

    pub(crate) fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// Whether errors are printed as JSON: where JSON was asked for.
    pub(crate) fn error_as_json(&mut self) -> bool {
        let asked = self.asked_format().ok().flatten();
        matches!(asked, Some(Format::Json | Format::Jsonl))
    }

    /// The URL that was given as an argument or in the environment.
    pub(crate) fn named_url(&self) -> Option<String> {
        self.global.url.clone()
    }

    /// Where the database is: argument, environment, file.
    pub(crate) fn url(&mut self) -> Result<(String, PathBuf), Failure> {
        if let Some(url) = &self.global.url {
            return Ok((url.clone(), PathBuf::from(".")));
        }
        let config = self.config()?;
        match &config.settings.url {
            Some(url) => Ok((url.clone(), config.folder.clone())),
            None => Err(Failure::usage(
                "no database was named",
                "run `s3db init` in this folder, or give --url file:./data",
            )),
        }
    }

    pub(crate) async fn connect(&mut self, missing: Missing) -> Result<Database, Failure> {
        let (url, base) = self.url()?;
        self.connect_to(&url, base, missing).await
    }

    pub(crate) async fn connect_to(&mut self, url: &str, base: PathBuf, missing: Missing) -> Result<Database, Failure> {
        let backups = self.backup_rows()?;
        self.connect_with(url, base, missing, backups).await
    }

    /// The database with its backups, as s3db.toml and the arguments say.
    pub(crate) async fn connect_for_backups(
        &mut self,
        reading: &Reading,
        missing: Missing,
    ) -> Result<Database, Failure> {
        let (url, base) = self.url()?;
        let backups = self.backups(reading)?;
        self.connect_with(&url, base, missing, backups).await
    }

    /// Backups that are read where there is no database.
    pub(crate) async fn without_database(&mut self, reading: &Reading) -> Result<Database, Failure> {
        let backups = self.backups(reading)?;
        Ok(Database::builder("memory://").plugin(backups).start_plugins(false).connect().await?)
    }

    /// Backups without destinations: what needs none must not fail for a key of one.
    fn backup_rows(&mut self) -> Result<BackupPlugin, Failure> {
        let name = self.config()?.settings.backup.as_ref().and_then(|backup| backup.backup_metadata_resource.clone());
        let settings = BackupSettings { backup_metadata_resource: name, ..BackupSettings::default() };
        Ok(BackupPlugin::builder().settings(settings).build()?)
    }

    fn backups(&mut self, reading: &Reading) -> Result<BackupPlugin, Failure> {
        let mut builder = BackupPlugin::builder().configure(self.config()?);
        for identity in &reading.identities {
            builder = builder.identity_file(identity);
        }
        if let Some(from) = &reading.from {
            // It stands on the command line, so it is taken from the working directory.
            let is_path = !from.contains(':');
            let path = if is_path { std::env::current_dir()?.join(from).display().to_string() } else { from.clone() };
            builder = builder.from(path);
        }
        Ok(builder.build()?)
    }

    async fn connect_with(
        &mut self,
        url: &str,
        base: PathBuf,
        missing: Missing,
        backups: BackupPlugin,
    ) -> Result<Database, Failure> {
        let mut builder: DatabaseBuilder = Database::builder(url).base(base).create(missing == Missing::Create);
        builder = builder.shared(self.global.shared || self.config()?.settings.shared == Some(true));
        if let Some(passphrase) = self.passphrase()? {
            builder = builder.passphrase(passphrase);
        }
        let machines = StateMachinePlugin::builder().configure(self.config()?).build()?;
        let scheduler = SchedulerPlugin::builder().configure(self.config()?).build()?;
        Ok(builder.plugin(machines).plugin(backups).plugin(scheduler).start_plugins(false).connect().await?)
    }

    /// The database with the jobs of s3db.toml, which are stored where they are not; `whole` also with its backups and
    /// machines, as runs need them.
    pub(crate) async fn connect_for_jobs(&mut self, whole: Whole) -> Result<Database, Failure> {
        self.connect_counted(whole, None).await
    }

    /// The same, whose requests are counted.
    pub(crate) async fn connect_counted(
        &mut self,
        whole: Whole,
        counters: Option<Arc<Counters>>,
    ) -> Result<Database, Failure> {
        let (url, base) = self.url()?;
        let mut builder = Database::builder(&url).base(base).create(whole == Whole::Started);
        if let Some(counters) = counters {
            builder = builder.metered(counters);
        }
        builder = builder.shared(self.global.shared || self.config()?.settings.shared == Some(true));
        if let Some(passphrase) = self.passphrase()? {
            builder = builder.passphrase(passphrase);
        }
        let backups = match whole {
            Whole::No => self.backup_rows()?,
            _ => self.backups(&Reading::default())?,
        };
        let config = self.config()?;
        let mut machines = StateMachinePlugin::builder().configure(config);
        if whole == Whole::Started {
            for file in MachineFile::configured(config)? {
                machines = machines.machines(file);
            }
        }
        let scheduler = SchedulerPlugin::builder().configure(config).only_new_jobs(whole == Whole::No);
        let scheduler = match (scheduler.configured_jobs(config).and_then(|jobs| jobs.build()), whole) {
            // Jobs can be looked at and switched off whatever the file says of others.
            (Err(error), Whole::No) => {
                crate::output::note(&format!("warning: the jobs of s3db.toml are left out: {error}"));
                SchedulerPlugin::builder().configure(config).build()?
            }
            (built, _) => built?,
        };
        builder = builder.plugin(machines.build()?).plugin(backups).plugin(scheduler);
        Ok(builder.start_plugins(whole == Whole::Started).connect().await?)
    }

    /// The passphrase: from the environment or a file, never from an argument.
    fn passphrase(&mut self) -> Result<Option<String>, Failure> {
        if let Ok(passphrase) = std::env::var("S3DB_PASSPHRASE") {
            return Ok(Some(passphrase));
        }
        if let Some(path) = std::env::var_os("S3DB_PASSPHRASE_FILE") {
            return Ok(Some(read_passphrase(&PathBuf::from(path))?));
        }
        Ok(self.config()?.passphrase()?)
    }
}
