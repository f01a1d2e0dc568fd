//! A counter that many writers raise at once: compare-and-swap by revision.
//!
//!     cargo run -p s3db --example counter
#![allow(clippy::print_stdout, reason = "an example prints")]

use s3db::{Database, ErrorKind, Resource, ResourceDefinition, UpdateOptions};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> s3db::Result<()> {
    let db = Database::connect("memory://counter").await?;
    let counters = db.create_resource(ResourceDefinition::new("counters").attribute("n", "integer")).await?;
    counters.insert(json!({"id": "visits", "n": 0})).await?;

    let writers: Vec<_> = (0..8).map(|_| tokio::spawn(raise(counters.clone(), 25))).collect();
    for writer in writers {
        if let Ok(result) = writer.await {
            result?;
        }
    }
    println!("{}", counters.get("visits").await?.to_json());
    Ok(())
}

/// Raises the counter; whoever comes second reads again and decides on what it says now.
async fn raise(counters: Resource, times: usize) -> s3db::Result<()> {
    for _ in 0..times {
        loop {
            let row = counters.get("visits").await?;
            let n = row.attributes.get("n").and_then(Value::as_i64).unwrap_or(0);
            let options = UpdateOptions { expected_rev: Some(row.meta.rev) };
            match counters.update_with("visits", json!({"n": n + 1}), &options).await {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
