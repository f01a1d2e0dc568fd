//! `s3db config …`

use s3db::backup::BackupPlugin;
use s3db::scheduler::SchedulerPlugin;
use s3db::state_machine::{MachineFile, StateMachinePlugin};
use serde_json::json;

use crate::args::ConfigCommand;
use crate::context::Context;
use crate::exit;
use crate::output::Failure;

pub(super) fn run(context: &mut Context, command: &ConfigCommand) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Check => check(context),
        ConfigCommand::Show => show(context),
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&s3db::config::schema()).unwrap_or_default();
            context.printer()?.line(&schema)?;
            Ok(exit::DONE)
        }
    }
}

fn check(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let config = context.config()?;
    config.passphrase()?;
    if let Some(url) = &config.settings.url {
        s3db::Location::parse(url, &config.folder)?;
    }
    for file in MachineFile::configured(config)? {
        let plugin = StateMachinePlugin::builder().configure(config).build()?;
        plugin.validate_file(&file)?;
    }
    BackupPlugin::builder().configure(config).build()?;
    SchedulerPlugin::builder().configure(config).configured_jobs(config)?.build()?;
    match &config.file {
        Some(file) => printer.note(&format!("{} is right", file.display())),
        None => printer.note("there is no s3db.toml here; `s3db init` writes one"),
    }
    Ok(exit::DONE)
}

fn show(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let url = context.url().ok().map(|(url, _)| s3db::mask(&url));
    let passphrase =
        ["S3DB_PASSPHRASE", "S3DB_PASSPHRASE_FILE"].into_iter().find(|name| std::env::var_os(name).is_some());
    let config = context.config()?;
    let from_file =
        config.settings.passphrase_file.as_ref().map(|p| format!("file {}", config.folder.join(p).display()));
    printer.one(&json!({
        "file": config.file,
        "url": url,
        "passphrase": passphrase.map(|name| format!("environment {name}")).or(from_file),
        "output": config.settings.output,
        "allowExec": config.settings.allow_exec.unwrap_or_default(),
        "stateMachine": config.settings.state_machine,
        "backup": config.settings.backup,
        "scheduler": config.settings.scheduler,
        "jobs": config.settings.jobs,
    }))?;
    Ok(exit::DONE)
}
