//! How time and memory grow with the data, on the embedded store.

use std::path::Path;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use s3db::{Database, OrderBy, Query, ResourceDefinition};
use serde_json::json;

use crate::Outcome;
use crate::measure::peak_memory;

/// A measure at one size.
struct Point {
    seconds: f64,
    mib: f64,
}

fn queries() -> [(&'static str, Query); 6] {
    [
        ("list, all rows as a stream", Query::all()),
        ("query that reads all rows, 1 % match", Query::filter(json!({"n": {"$gte": 99}}))),
        ("query by a partition, 1 % match", Query::filter(json!({"n": 99}))),
        ("the 10 greatest", Query::all().order_by(OrderBy::descending("n")).limit(10)),
        ("page of 20 in the middle", Query::all().after("r50").limit(20)),
        ("all ids", Query::all().fields(["id"])),
    ]
}

pub(crate) async fn run(records: usize) -> Outcome<()> {
    let mut table: Vec<Vec<Point>> = queries().iter().map(|_| Vec::new()).collect();
    for factor in [1, 10, 100] {
        let folder = tempfile::tempdir()?;
        fill(&database(folder.path()).await?, records * factor).await?;
        for (query, points) in table.iter_mut().enumerate() {
            points.push(in_a_process(folder.path(), query)?);
        }
    }
    println!("embedded store with {records}, {} and {} records of 300 bytes", records * 10, records * 100);
    println!("{:<38} {:>29} {:>9} {:>26}", "", "seconds", "exponent", "peak memory, MiB");
    for ((name, _), points) in queries().iter().zip(&table) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let exponent = (last.seconds / first.seconds).log10() / 2.0;
        let seconds: Vec<String> = points.iter().map(|point| format!("{:>9.4}", point.seconds)).collect();
        let memory: Vec<String> = points.iter().map(|point| format!("{:>8.1}", point.mib)).collect();
        println!("{name:<38} {:>29} {exponent:>9.2} {:>26}", seconds.join(" "), memory.join(" "));
    }
    Ok(())
}

async fn database(folder: &Path) -> Outcome<Database> {
    Ok(Database::connect(format!("file:{}", folder.display())).await?)
}

fn in_a_process(folder: &Path, query: usize) -> Outcome<Point> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let output = command.arg("growth-one").arg(folder).arg(query.to_string()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (seconds, mib) = text.trim().split_once(' ').ok_or("the process printed no measure")?;
    Ok(Point { seconds: seconds.parse()?, mib: mib.parse()? })
}

pub(crate) async fn one(folder: &Path, query: usize) -> Outcome<()> {
    let rows = database(folder).await?.resource("rows").await?;
    let queries = queries();
    let (_, query) = queries.get(query).ok_or("there is no such query")?;
    let begun = Instant::now();
    let mut records = rows.stream(query).await?;
    while records.next().await?.is_some() {}
    println!("{} {}", begun.elapsed().as_secs_f64(), peak_memory()?);
    Ok(())
}

async fn fill(db: &Database, records: usize) -> Outcome<()> {
    let definition = ResourceDefinition::new("rows").attribute("n", "number").attribute("text", "string");
    let rows = db.create_resource(definition.partition("byN", [("n", "number")])).await?;
    let made = stream::iter(0..records).map(|at| {
        // Ids spread evenly, so that `r50` is in the middle.
        json!({"id": format!("r{:02}-{at:08}", at * 100 / records), "n": at % 100, "text": "x".repeat(280)})
    });
    let mut results = std::pin::pin!(rows.insert_stream(made, Default::default()));
    while let Some(inserted) = results.next().await {
        inserted.result?;
    }
    Ok(())
}
