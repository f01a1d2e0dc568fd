//! Jobs that spin, block or end never, on a runtime of two threads and in real time: they harm no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use s3db::Database;
use s3db::scheduler::{JobDefinition, SchedulerPlugin};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_spin_do_not_stop_the_scheduler_or_another_job() {
    let over = Arc::new(AtomicBool::new(false));
    let ran = Arc::new(AtomicUsize::new(0));
    let mut builder = SchedulerPlugin::builder();
    for number in 0..4 {
        let over = over.clone();
        builder = builder.job_fn(JobDefinition::new(format!("spins{number}"), "* * * * * *"), move |_call| {
            let over = over.clone();
            async move {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                    std::thread::yield_now();
                }
                Ok::<Value, String>(json!(1))
            }
        });
    }
    let counted = ran.clone();
    let builder = builder.job_fn(JobDefinition::new("good", "* * * * * *"), move |_call| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<Value, String>(json!(1)) }
    });
    let db = Database::builder("memory://threads").plugin(builder.build().unwrap()).connect().await.unwrap();
    while ran.load(Ordering::Relaxed) < 3 {
        pause().await;
    }
    over.store(true, Ordering::Relaxed);
    db.stop(Duration::from_secs(20)).await.unwrap();
    let scheduler = db.plugin::<SchedulerPlugin>().unwrap();
    assert_eq!(scheduler.get_job_status("spins0").await.unwrap().statistics.error, 0);
}

#[expect(clippy::disallowed_methods, reason = "this test runs in real time")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
