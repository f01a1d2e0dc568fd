//! Measuring: rounds in turns, medians, tails, CPU and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Rounds of each side; the median counts.
pub(crate) const ROUNDS: usize = 5;
/// Operations at once.
pub(crate) const AT_ONCE: usize = 64;

/// One round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    operations: usize,
    wall: Duration,
    p50: Duration,
    p99: Duration,
    cpu: Duration,
}

impl Round {
    pub(crate) fn seconds(&self) -> f64 {
        self.wall.as_secs_f64()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.wall.as_secs_f64()
    }
}

/// Does so many operations, some at once, each of them by a task of its own, and takes the time of each.
pub(crate) async fn round<F>(
    operations: usize,
    at_once: usize,
    work: impl Fn(usize) -> F + Send + Sync + 'static,
) -> Outcome<Round>
where
    F: Future<Output = Outcome<()>> + Send,
{
    let (cpu, begun) = (cpu_time()?, Instant::now());
    let (work, next) = (Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let workers = (0..at_once).map(|_| {
        let (work, next) = (Arc::clone(&work), Arc::clone(&next));
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= operations {
                    return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times);
                }
                let begun = Instant::now();
                work(n).await?;
                times.push(begun.elapsed());
            }
        })
    });
    let mut times = Vec::with_capacity(operations);
    for worker in workers.collect::<Vec<_>>() {
        times.extend(worker.await??);
    }
    let (wall, cpu) = (begun.elapsed(), cpu_time()?.saturating_sub(cpu));
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    Ok(Round { operations, wall, p50: at(50), p99: at(99), cpu })
}

/// Work on a side, numbered from here on.
pub(crate) fn on<S, F>(
    side: &S,
    from: usize,
    work: impl Fn(S, usize) -> F + Send + Sync + 'static,
) -> impl Fn(usize) -> F + Send + Sync + 'static
where
    S: Clone + Send + Sync + 'static,
{
    let side = side.clone();
    move |n| work(side.clone(), from + n)
}

/// The round with the median throughput.
pub(crate) fn median(mut rounds: Vec<Round>) -> Outcome<Round> {
    rounds.sort_by_key(|round| round.wall);
    rounds.get(rounds.len() / 2).copied().ok_or_else(|| "no round".into())
}

/// Prints two sides and their ratio.
pub(crate) fn print(what: &str, ours: &Round, rival: &str, theirs: &Round) {
    println!("{what}");
    for (name, round) in [("s3db", ours), (rival, theirs)] {
        println!(
            "  {name:<22} {:>9.0}/s   p50 {:>8.2} ms   p99 {:>8.2} ms   CPU {:>6.3} s per 1,000",
            round.per_second(),
            round.p50.as_secs_f64() * 1e3,
            round.p99.as_secs_f64() * 1e3,
            round.cpu.as_secs_f64() * 1e3 / round.operations as f64
        );
    }
    println!("  ratio                  {:>9.2}", ours.per_second() / theirs.per_second());
}

/// CPU time of this process, all threads.
pub(crate) fn cpu_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    // utime and stime, in hundredths of a second.
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

/// The peak of memory in MiB.
pub(crate) fn peak_memory() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
