//! What must hold when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use linearizable::{Verdict, check};
use s3db::{Database, Query, Record};
use serde_json::json;

use crate::history::{Answer, Call, Op, Value};
use crate::workload::{Journal, RESOURCE, STATUSES, id_of, value_of};

/// What the checks counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) histories: u64,
    pub(crate) undecided: u64,
    pub(crate) longest_search: usize,
    pub(crate) stale_keys: usize,
}

/// Checks the stored state beside what callers were told. Returns what is broken.
pub(crate) async fn at_rest(
    db: &Database,
    journal: &Journal,
    records: usize,
    shared: bool,
    counts: &mut Counts,
) -> Vec<String> {
    let mut broken = journal.problems.clone();
    let stored = match all(db).await {
        Ok(stored) => stored,
        Err(error) => return vec![format!("the records cannot be listed: {error}")],
    };
    if !shared {
        // With our own index this holds in every reachable state, before anything is mended.
        partitions(db, &stored, &mut broken).await;
    }
    match db.doctor(true, &|_, _| ()).await {
        Ok(report) => {
            counts.stale_keys += report.findings.iter().map(|f| f.count).sum::<usize>();
            if !report.is_healthy() {
                broken.push(format!("doctor could not mend {:?}", report.findings));
            }
        }
        Err(error) => broken.push(format!("doctor ended with {error}")),
    }
    match db.doctor(false, &|_, _| ()).await {
        Ok(report) if report.findings.is_empty() => {}
        other => broken.push(format!("after doctor --repair: {other:?}")),
    }
    partitions(db, &stored, &mut broken).await;
    catalog(db, journal, &mut broken).await;
    for record in 0..records {
        history(record, journal, stored.get(&id_of(record)).copied(), counts, &mut broken);
    }
    broken
}

async fn all(db: &Database) -> s3db::Result<BTreeMap<String, Value>> {
    let rows = db.resource(RESOURCE).await?.list(&Query::all()).await?.items;
    Ok(values(&rows))
}

fn values(rows: &[Record]) -> BTreeMap<String, Value> {
    rows.iter().filter_map(|row| Some((row.id.clone(), value_of(row)?))).collect()
}

/// Every record is found through each of its partitions, and nothing else is.
async fn partitions(db: &Database, stored: &BTreeMap<String, Value>, broken: &mut Vec<String>) {
    let Ok(resource) = db.resource(RESOURCE).await else { return broken.push("the resource is gone".to_owned()) };
    let (mut by_status, mut by_number) = (BTreeMap::new(), BTreeMap::new());
    for s in 0..STATUSES {
        let options = Query::all().partition("byStatus", json!({ "s": format!("s{s}") }));
        match resource.list(&options).await {
            Ok(page) if page.warnings.is_empty() => by_status.extend(values(&page.items)),
            other => broken.push(format!("the partition of status {s} is not answered: {other:?}")),
        }
    }
    let numbers: BTreeSet<u64> = stored.values().map(|v| v.n).collect();
    for n in numbers {
        match resource.list(&Query::all().partition("byNumber", json!({ "n": n }))).await {
            Ok(page) => by_number.extend(values(&page.items)),
            Err(error) => broken.push(format!("the partition of number {n} is not answered: {error}")),
        }
    }
    for (name, listed) in [("byStatus", by_status), ("byNumber", by_number)] {
        if listed != *stored {
            broken.push(format!("partition {name} lists {listed:?}, stored is {stored:?}"));
        }
    }
}

async fn catalog(db: &Database, journal: &Journal, broken: &mut Vec<String>) {
    let names = db.resource_names().await.unwrap_or_default();
    for created in journal.created.iter().filter(|name| !names.contains(name)) {
        broken.push(format!("resource '{created}' was acknowledged and is not in the catalog"));
    }
}

fn history(record: usize, journal: &Journal, end: Option<Value>, counts: &mut Counts, broken: &mut Vec<String>) {
    let calls: Vec<Call> =
        journal.calls.iter().flatten().filter(|(r, _)| *r == record).map(|(_, call)| *call).collect();
    counts.histories += 1;
    match check(&calls, &None, &end) {
        Verdict::Explained(steps) => counts.longest_search = counts.longest_search.max(steps),
        Verdict::TooLong => counts.undecided += 1,
        Verdict::Impossible => {
            broken.push(format!("no order explains record {record}, which ended as {end:?}:\n{}", table(&calls)));
        }
    }
    if !calls.iter().any(|c| matches!(c.op, Op::Delete)) {
        let inserted = calls.iter().filter(|c| matches!((c.op, c.answer), (Op::Insert(_), Answer::Done(_)))).count();
        if inserted > 1 {
            broken.push(format!("record {record} was inserted {inserted} times and never deleted"));
        }
    }
}

fn table(calls: &[Call]) -> String {
    let mut sorted = calls.to_vec();
    sorted.sort_by_key(|c| c.from);
    let row = |c: &Call| {
        let to = c.to.map_or_else(|| "        ?".to_owned(), |to| format!("{:>9.3}", to.as_secs_f64()));
        format!(
            "  {:>9.3} {to}  node {:>2}  {:<44} {:?}",
            c.from.as_secs_f64(),
            c.node,
            format!("{:?}", c.op),
            c.answer
        )
    };
    sorted.iter().map(row).collect::<Vec<_>>().join("\n")
}
