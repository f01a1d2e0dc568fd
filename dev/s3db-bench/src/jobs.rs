//! The scheduler: `next` for each kind of expression beside the search that it stands on, how late a thousand jobs of one
//! instant begin, and what an idle scheduler costs in a day.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3db::Database;
use s3db::scheduler::{Action, Cron, Dst, JobDefinition, SchedulerPlugin};
use s3db::store::clock::{Clock, Sleep};
use s3db::store::memory::Memory;
use s3db::store::meter::Meter;
use s3db::store::{Quirks, Store};
use serde_json::{Value, json};

use crate::Outcome;
use crate::measure::cpu_time;

/// 2026-03-07T00:00:00Z, a day before a change of the clock in New York.
const FROM: i64 = 1_772_841_600_000;
const CALLS: u32 = 20_000;

pub(crate) async fn run(jobs: usize) -> Outcome<()> {
    next()?;
    lateness(jobs).await?;
    std::thread::spawn(idle).join().map_err(|_| "the idle scheduler panicked")?
}

fn next() -> Outcome<()> {
    println!("next, nanoseconds a call in a row of {CALLS}; in UTC and in America/New_York");
    let kinds = [
        ("every second", "* * * * * *"),
        ("every five minutes", "*/5 * * * *"),
        ("daily", "30 2 * * *"),
        ("working days", "0 9 * * MON-FRI"),
        ("last Friday", "0 18 * * FRI#L"),
        ("nearest working day", "0 12 15W * *"),
        ("29 February", "0 0 29 2 *"),
        ("29 February on a fifth Sunday", "0 0 29 2 +0#5"),
    ];
    for (kind, expression) in kinds {
        let mut line = format!("  {kind:32} {expression:16}");
        for zone in ["UTC", "America/New_York"] {
            let cron = Cron::parse(expression, zone, Dst::Vixie)?;
            let begun = Instant::now();
            for n in 0..CALLS {
                black_box(cron.next_after(black_box(FROM + i64::from(n) * 1_000)));
            }
            line += &format!(" {:>8}", begun.elapsed().as_nanos() / u128::from(CALLS));
        }
        println!("{line}");
    }
    Ok(())
}

/// Jobs that are all due at the same instants, in a directory.
async fn lateness(jobs: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let mut builder = SchedulerPlugin::builder();
    for n in 0..jobs {
        builder = builder
            .job_fn(JobDefinition::new(format!("job{n:04}"), "*/15 * * * * *").retries(0), |_call| async {
                Ok::<Value, String>(json!(1))
            });
    }
    let url = format!("file:{}", folder.path().display());
    let db = Database::builder(url).plugin(builder.build()?).connect().await?;
    let scheduler = db.plugin::<SchedulerPlugin>()?;
    tokio::time::sleep(Duration::from_secs(62)).await;
    db.stop(Duration::from_secs(10)).await?;
    let metrics = scheduler.metrics();
    let runs: u64 = metrics.runs.iter().map(|run| run.count).sum();
    println!(
        "{jobs} jobs due at one instant, four times: {runs} runs, late p50 {} ms, p99 {} ms",
        metrics.lateness_p50_ms, metrics.lateness_p99_ms
    );
    Ok(())
}

/// The runtime's clock, which is paused: it moves when nothing else can run.
#[derive(Debug)]
struct Virtual(tokio::time::Instant);

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        FROM + i64::try_from(self.0.elapsed().as_millis()).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, pause: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// A day of a scheduler with ten jobs that are due once, in virtual time.
fn idle() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let clock = Arc::new(Virtual(tokio::time::Instant::now()));
        let meter = Meter::new(Arc::new(Memory::with(Quirks::S3, clock.clone())));
        let counters = meter.counters();
        let store: Arc<dyn Store> = Arc::new(meter);
        let mut builder = SchedulerPlugin::builder();
        for n in 0..10 {
            let action = Action::new("cleanup_backups");
            builder = builder.job(JobDefinition::new(format!("job{n}"), "0 3 * * *").retries(0).action(action));
        }
        let plugin = builder.build()?;
        let db = Database::builder("memory://").store(store).clock(clock.clone()).plugin(plugin).connect().await?;
        let (before, cpu) = (counters.read(), cpu_time()?);
        clock.sleep(Duration::from_secs(86_400)).await;
        let (counts, cpu) = (counters.read() - before, cpu_time()?.saturating_sub(cpu));
        db.stop(Duration::from_secs(1)).await?;
        let dollars = (counts.list + counts.put) as f64 * 0.005 / 1000.0 + counts.get as f64 * 0.0004 / 1000.0;
        println!(
            "a day with ten daily jobs: {} LIST, {} GET, {} PUT, ${dollars:.3}; {:.2} s of CPU",
            counts.list,
            counts.get,
            counts.put,
            cpu.as_secs_f64()
        );
        Ok(())
    })
}
