//! The same work as `dev/peer/bench.mjs` does with s3db.js, to be run in turns with it.

use s3db::{Database, Query, Resource, ResourceDefinition};
use serde_json::json;

use crate::Outcome;
use crate::measure::{AT_ONCE, on, round};

const TEXT: usize = 1_000;

pub(crate) async fn run(url: &str, operations: usize) -> Outcome<()> {
    let db = Database::connect(url).await?;
    let definition = |name: &str| ResourceDefinition::new(name).attribute("text", "string");
    let rows = db.create_resource(definition("rows").behavior(s3db::Behavior::BodyOverflow)).await?;
    let parts = definition("parts").attribute("c", "string").behavior(s3db::Behavior::BodyOverflow);
    let parts = db.create_resource(parts.partition("byC", [("c", "string")])).await?;
    for turn in 0..3 {
        let at = turn * operations;
        let listed = at + operations;
        let of = json!({"c": "c1"});
        let in_partition = Query::all().partition("byC", of);
        let results = [
            ("insert", operations, round(operations, AT_ONCE, on(&rows, at, insert)).await?),
            ("insert, one partition", operations, round(operations, AT_ONCE, on(&parts, at, insert_part)).await?),
            ("get", operations, round(operations, AT_ONCE, on(&rows, at, get)).await?),
            ("update", operations, round(operations, AT_ONCE, on(&rows, at, update)).await?),
            ("list of all, rows", listed, round(1, 1, on(&rows, 0, |r, _| list(r, Query::all()))).await?),
            (
                "list of a partition, rows",
                listed / 10,
                round(1, 1, on(&parts, 0, move |r, _| list(r, in_partition.clone()))).await?,
            ),
        ];
        for (what, count, round) in results {
            println!("{what:<34} {:>9.1}/s", count as f64 / round.seconds());
        }
    }
    Ok(())
}

async fn insert(rows: Resource, n: usize) -> Outcome<()> {
    rows.insert(json!({"id": format!("t{n:08}"), "text": "x".repeat(TEXT)})).await?;
    Ok(())
}

async fn insert_part(rows: Resource, n: usize) -> Outcome<()> {
    rows.insert(json!({"id": format!("t{n:08}"), "text": "x".repeat(TEXT), "c": format!("c{}", n % 10)})).await?;
    Ok(())
}

async fn get(rows: Resource, n: usize) -> Outcome<()> {
    rows.get(&format!("t{n:08}")).await?;
    Ok(())
}

async fn update(rows: Resource, n: usize) -> Outcome<()> {
    rows.update(&format!("t{n:08}"), json!({"text": "y".repeat(TEXT)})).await?;
    Ok(())
}

async fn list(rows: Resource, query: Query) -> Outcome<()> {
    rows.list(&query).await?;
    Ok(())
}
