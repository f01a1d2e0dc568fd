//! The command `s3db`. It holds no rule of its own: arguments in, library, output.

mod args;
mod command;
mod context;
mod csv;
mod input;
mod output;
mod progress;
mod signals;
mod table;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use context::Context;

/// Exit codes besides those of errors.
mod exit {
    /// Everything was done.
    pub(crate) const DONE: u8 = 0;
    /// Something was not found.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// Some rows of a bulk command failed.
    pub(crate) const INVALID: u8 = 5;
    /// A transition would be refused.
    pub(crate) const REFUSED: u8 = 6;
    /// Some of the work could not be done.
    pub(crate) const FAILED: u8 = 1;
    /// Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 130;
    /// Something is damaged.
    pub(crate) const INTEGRITY: u8 = 8;
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(output::report_usage(&error)),
    };
    let is_service = matches!(&cli.command, args::Command::Run(run) if run.once.is_none() && !run.dry_run);
    start_log(cli.global.verbose, is_service, cli.global.no_color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("error: cannot start: {error}"));
            return ExitCode::from(1);
        }
    };
    let mut context = Context::new(cli.global);
    let result = runtime.block_on(command::run(cli.command, &mut context));
    ExitCode::from(match result {
        Ok(code) => code,
        Err(failure) => output::report(&failure, context.error_as_json()),
    })
}

/// A service tells what goes wrong beside what it prints; the runs of jobs it prints already.
fn start_log(verbose: u8, is_service: bool, no_color: bool) {
    let level = match verbose {
        0 if is_service => "warn,s3db::scheduler::job=off",
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("S3DB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let color = std::io::stderr().is_terminal() && !no_color && std::env::var_os("NO_COLOR").is_none();
    let log = log.with_ansi(color);
    match is_service {
        true => log.init(),
        false => log.without_time().init(),
    }
}
