//! Changing every record that a filter takes.

use s3db::{ChangeReport, Query, Resource};
use serde_json::{Value, json};

use crate::args::Many;
use crate::exit;
use crate::input;
use crate::output::{Failure, Printer};
use crate::progress::Progress;

/// Ids that a dry run shows.
const SHOWN: usize = 10;

/// What is done to the records.
pub(super) enum Change {
    Update(Value),
    Delete,
}

/// Changes the records that `--where` takes, or says how many they are.
pub(super) async fn run(
    resource: &Resource,
    filter: &str,
    many: &Many,
    change: Change,
    printer: Printer,
) -> Result<u8, Failure> {
    let query = Query::filter(input::json(filter, "--where")?);
    if many.dry_run {
        return dry_run(resource, &query, printer).await;
    }
    if !many.yes {
        return Err(Failure::usage(
            "a change of many records needs --yes",
            "look at what it would change with --dry-run; nothing was changed",
        ));
    }
    let progress = Progress::start("records", printer.quiet);
    let told = |changed: usize| progress.set(changed as u64);
    let (word, report) = match change {
        Change::Update(patch) => ("changed", resource.update_where(&query, patch, &told).await?),
        Change::Delete => ("deleted", resource.delete_where(&query, &told).await?),
    };
    drop(progress);
    let ChangeReport { changed, failures, failed, .. } = report;
    printer.one(&json!({ word: changed, "failures": failures, "failed": failed }))?;
    Ok(if failures == 0 { exit::DONE } else { exit::INVALID })
}

async fn dry_run(resource: &Resource, query: &Query, printer: Printer) -> Result<u8, Failure> {
    let mut records = resource.stream(&Query { fields: Some(vec!["id".into()]), ..query.clone() }.exact(true)).await?;
    records.warnings().iter().for_each(|w| printer.note(&format!("warning: {w}")));
    let progress = Progress::start("records", printer.quiet);
    let (mut matched, mut ids) = (0_usize, Vec::new());
    while let Some(record) = records.next().await? {
        matched += 1;
        progress.set(matched as u64);
        if ids.len() < SHOWN {
            ids.push(record.id);
        }
    }
    drop(progress);
    printer.one(&json!({ "dryRun": true, "matched": matched, "ids": ids }))?;
    printer.note("nothing was changed; `ids` are the first ten");
    Ok(exit::DONE)
}
