//! A night with a change of the clock: two processes, one of which is killed and begun again at random, run every planned
//! instant of every job exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use s3db::scheduler::{Cron, Dst, JobDefinition, RunStatus, SchedulerBuilder, SchedulerPlugin};

use crate::world::World;

/// 2026-03-08T00:00:00Z, seven hours before New York's clock goes from 02:00 to 03:00.
const EVENING: i64 = 1_772_928_000_000;
const HOURS: u64 = 12;

const JOBS: [(&str, &str); 8] = [
    ("five_seconds", "*/5 * * * * *"),
    ("half_minute", "*/30 * * * * *"),
    ("minute", "* * * * *"),
    ("ten_minutes", "*/10 * * * *"),
    ("at_half_past_two", "30 2 * * *"),
    ("small_hours", "15 1-3 * * *"),
    ("twenty_at_two", "*/20 1-2 * * *"),
    ("midnight", "0 0 * * *"),
];

fn jobs(world: &World) -> SchedulerBuilder {
    JOBS.iter().fold(SchedulerPlugin::builder().timezone("America/New_York"), |builder, (name, schedule)| {
        let takes = if *name == "five_seconds" { 300 } else { 1_500 };
        world.with_job(builder, JobDefinition::new(*name, *schedule).retries(0), Duration::from_millis(takes))
    })
}

async fn night(seed: u64, begin: i64) -> (usize, usize) {
    let world = World::at(begin);
    let steady = world.process(jobs(&world)).await;
    let mut random = seed;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut kills = 0;
    while world.now_ms() - begin < i64::try_from(HOURS * 3_600_000).unwrap() {
        let victim = world.process(jobs(&world)).await;
        world.pass(Duration::from_millis(10_000 + next() % 600_000)).await;
        victim.way.kill();
        kills += 1;
    }
    let until = world.now_ms();
    world.pass_s(90).await;
    steady.stop().await;
    let begun: BTreeMap<String, usize> = world.counts();
    let mut instants = 0;
    for (name, schedule) in JOBS {
        let cron = Cron::parse(schedule, "America/New_York", Dst::Vixie).unwrap();
        let planned: Vec<String> =
            cron.iter_after(begin).take_while(|ms| *ms <= until).map(|ms| format!("{name}_{ms}")).collect();
        for run in &planned {
            assert_eq!(begun.get(run), Some(&1), "seed {seed}: {run}");
        }
        let rows = steady.history(name).await;
        let bad: Vec<_> =
            rows.iter().filter(|row| !matches!(row.status, RunStatus::Success | RunStatus::Interrupted)).collect();
        assert!(bad.is_empty(), "seed {seed}: {bad:?}");
        let ids: Vec<String> = rows.iter().map(|row| row.run_id.clone()).take(planned.len()).collect();
        assert_eq!(ids, planned, "seed {seed}");
        instants += planned.len();
    }
    // Right after the gap, once.
    if begin == EVENING {
        assert_eq!(begun.get("at_half_past_two_1772953200000"), Some(&1));
    }
    (instants, kills)
}

#[tokio::test(start_paused = true)]
async fn every_instant_of_a_night_with_a_gap_runs_once() {
    let (instants, kills) = night(1, EVENING).await;
    println!("{instants} instants, {kills} kills");
    assert!(instants > 10_000 && kills > 50);
}

#[tokio::test(start_paused = true)]
async fn every_instant_of_a_night_with_an_overlap_runs_once() {
    // 2026-11-01T00:00:00Z; New York's clock goes back at 06:00Z.
    let (instants, kills) = night(2, 1_793_491_200_000).await;
    println!("{instants} instants, {kills} kills");
    assert!(instants > 10_000 && kills > 50);
}
