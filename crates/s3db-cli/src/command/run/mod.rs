//! `s3db run`: the scheduler, the machines' timers and the backup schedules in the foreground.

mod dry_run;
mod generation;
mod notify;
mod serve;
mod tell;

use s3db::store::clock::{Clock as _, SystemClock};

use crate::args::{Format, Run};
use crate::context::Context;
use crate::exit;
use crate::output::{Failure, Printer};
use crate::signals::{Signal, Signals};

use generation::Generations;

pub(super) async fn run(context: &mut Context, run: Run) -> Result<u8, Failure> {
    if let Some(name) = &run.once {
        return super::job::run_now(context, name, None, false).await;
    }
    let mut printer = context.printer()?;
    if run.dry_run {
        return dry_run::print(context, printer, run.hours).await;
    }
    if !printer.explicit {
        printer.format = Format::Table;
    }
    let mut signals = Signals::listen()?;
    let listener = match run.metrics {
        Some(address) => Some(serve::listen(address).await?),
        None => None,
    };
    let mut generations = Generations::default();
    generations.begin(context, printer).await?;
    if let Some(listener) = listener {
        tokio::spawn(serve::serve(listener, generations.current()));
    }
    tell::ready(printer, &generations.summary().await?)?;
    notify::ready();
    let code = loop {
        match signals.came().await {
            Signal::Reload => reload(context, printer, &mut generations).await,
            Signal::Interrupt => break exit::INTERRUPTED,
            Signal::Terminate => break exit::DONE,
        }
    };
    notify::stopping();
    printer.note("stopping: nothing more is begun, runs have until the deadline");
    tokio::select! {
        stopped = generations.stop(run.deadline) => stopped?,
        _ = signals.came() => {
            printer.note("stopped at once; runs that were under way are ended, or begun again, by another process after 30 s");
            return Ok(exit::INTERRUPTED);
        }
    }
    Ok(code)
}

/// Begins anew with what s3db.toml says now. What is under way ends under the old settings. If they are wrong the old ones
/// stay.
async fn reload(context: &mut Context, printer: Printer, generations: &mut Generations) {
    context.forget_config();
    match generations.begin(context, printer).await {
        Ok(()) => {
            let told = match generations.summary().await {
                Ok(summary) => tell::ready(printer, &summary),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = told {
                crate::output::report(&failure, printer.format != Format::Table);
            }
        }
        Err(failure) => {
            printer.note("s3db.toml is not taken; the settings stay as they were:");
            crate::output::report(&failure, printer.format != Format::Table);
        }
    }
}

/// Now, RFC 3339.
fn now() -> String {
    s3db::rfc3339(SystemClock.now_ms())
}
