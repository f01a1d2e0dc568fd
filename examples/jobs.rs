//! Jobs: a function with its context, a failing one that is tried again, and what the history says.
//!
//!     cargo run -p s3db --example jobs
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use s3db::scheduler::{Action, HistoryOptions, JobDefinition, SchedulerPlugin};
use s3db::{Database, ResourceDefinition};
use serde_json::json;

#[tokio::main]
async fn main() -> s3db::Result<()> {
    let cleanup = JobDefinition::new("cleanup", "0 3 * * *")
        .timezone("America/Sao_Paulo")
        .description("sessions that have expired")
        .action(Action::new("delete_where").field("resource", "sessions").field("where", json!({"expired": true})));
    let report = JobDefinition::new("report", "*/10 * * * *")
        .retries(2)
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .timeout(Duration::from_secs(30));
    let plugin = SchedulerPlugin::builder()
        .job(cleanup)
        .job_fn(report, |call| async move {
            if call.context.attempt == 1 {
                return Err("the first attempt fails".to_owned());
            }
            let sessions = call.db.resource("sessions").await.map_err(|e| e.to_string())?;
            let count = sessions.count().await.map_err(|e| e.to_string())?;
            Ok(json!({"sessions": count, "asked by": call.context.context.get("who")}))
        })
        .on_job_error(|job, error, attempt| println!("{job}: attempt {attempt} failed: {error}"))
        .build()?;
    let db = Database::builder("memory://jobs-example").plugin(plugin).connect().await?;
    let sessions = db.create_resource(ResourceDefinition::new("sessions").attribute("expired", "boolean")).await?;
    for (id, expired) in [("a", true), ("b", false)] {
        sessions.insert(json!({"id": id, "expired": expired})).await?;
    }

    let scheduler = db.plugin::<SchedulerPlugin>()?;
    println!("cleanup runs next at {:?}", scheduler.next_runs("cleanup", 2).await?);
    println!("cleanup, now: {}", scheduler.run_job("cleanup", json!({})).await?.result);
    println!("report, now: {}", scheduler.run_job("report", json!({"who": "ana"})).await?.result);
    for row in scheduler.get_job_history("report", &HistoryOptions::default()).await?.items {
        println!("{}: {} after {} attempts", row.run_id, row.status, row.attempts.len());
    }
    db.stop(Duration::from_secs(5)).await
}
