//! Leases: one holder at a time, under every fault, and a fence that only rises.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::sync::Arc;
use std::time::Duration;

use s3db::store::clock::ManualClock;
use s3db::store::fault::{Fault, Faulty};
use s3db::store::memory::Memory;
use s3db::store::{Quirks, Store};
use s3db::{Database, ErrorKind, LeaseOptions, SeededEntropy};

const TTL: Duration = Duration::from_secs(30);

async fn node(store: Arc<dyn Store>, clock: &Arc<ManualClock>, seed: u64) -> Database {
    Database::builder("memory://leases")
        .store(store)
        .clock(Arc::<ManualClock>::clone(clock))
        .entropy(Arc::new(SeededEntropy::new(seed)))
        .connect()
        .await
        .unwrap()
}

fn options(owner: &str) -> LeaseOptions {
    LeaseOptions::new(owner).ttl(TTL)
}

fn shared() -> (Arc<Memory>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    (Arc::new(Memory::with(Quirks::S3, Arc::<ManualClock>::clone(&clock))), clock)
}

#[tokio::test]
async fn a_silent_holder_is_taken_over_after_its_ttl_and_has_stopped_before() {
    let (memory, clock) = shared();
    let (first, second) = (node(memory.clone(), &clock, 1).await, node(memory.clone(), &clock, 2).await);
    let held = first.lease("backup", &options("first")).await.unwrap();
    assert!(held.is_held());
    clock.advance(TTL / 2);
    assert!(!held.is_held());
    held.renew().await.unwrap();
    assert!(held.is_held());
    // The clock of the test moves only while the second node watches.
    let began = clock.clone();
    let before = s3db::store::clock::Clock::monotonic(&*began);
    let taken = second.lease("backup", &options("second")).await.unwrap();
    assert!(s3db::store::clock::Clock::monotonic(&*clock) - before >= TTL);
    assert_eq!((held.fence(), taken.fence()), (1, 2));
    assert!(!held.is_held());
    let lost = held.renew().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Busy);
    assert_eq!(held.renew().await.unwrap_err().kind(), ErrorKind::Busy, "what is lost stays lost");
    taken.release().await.unwrap();
    let again = first.lease("backup", &options("first")).await.unwrap();
    assert_eq!(again.fence(), 3, "a release keeps the fence");
    let stored = first.leases().await.unwrap();
    assert_eq!((stored[0].0.as_str(), stored[0].1.owner.as_deref()), ("backup", Some("first")));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_keeps_the_others_out() {
    let memory: Arc<Memory> = Arc::new(Memory::new());
    let first = Database::builder("memory://x").store(memory.clone()).clock(Paused::new()).connect().await.unwrap();
    let second = Database::builder("memory://x").store(memory).clock(Paused::new()).connect().await.unwrap();
    let lease = first.lease("backup", &options("first")).await.unwrap();
    let (clock, wanted) = (Paused::new(), options("second"));
    let work = lease.hold(s3db::store::clock::Clock::sleep(&*clock, TTL * 4));
    let (done, refused) = tokio::join!(work, second.lease("backup", &wanted));
    done.unwrap();
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert_eq!(refused.details().unwrap()["owner"], "first");
    assert!(lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn work_ends_when_the_lease_cannot_be_renewed() {
    let faulty = Arc::new(Faulty::new(Arc::new(Memory::new())));
    let node = Database::builder("memory://x").store(faulty.clone()).clock(Paused::new()).connect().await.unwrap();
    let lease = node.lease("backup", &options("first")).await.unwrap();
    faulty.plan(1, Fault::Kill);
    let before = tokio::time::Instant::now();
    let lost = lease.hold(std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Busy);
    assert!(before.elapsed() <= TTL / 2, "{:?}", before.elapsed());
}

/// Every fault at every request of taking, renewing and releasing: never two holders, and in the end
/// the lease can be taken again with a higher fence.
#[tokio::test]
async fn leases_survive_every_fault() {
    let mut points = 0;
    for nth in 1..=8 {
        for fault in Fault::ALL {
            let (memory, clock) = shared();
            let faulty = Arc::new(Faulty::new(memory.clone()));
            let first = node(faulty.clone(), &clock, 1).await;
            let before = faulty.sent();
            faulty.plan(nth, fault);
            let mut fence = 0;
            if let Ok(lease) = first.lease("job", &options("first")).await {
                fence = lease.fence();
                for _ in 0..2 {
                    let renewed = lease.renew().await;
                    assert!(renewed.is_ok() || renewed.unwrap_err().kind() != ErrorKind::Busy, "{nth} {fault:?}");
                }
                let _ended = lease.release().await;
            }
            faulty.heal();
            faulty.land().await;
            if faulty.sent() - before < nth {
                continue;
            }
            points += 1;
            let second = node(memory, &clock, 2).await;
            let taken = second.lease("job", &options("second")).await.unwrap();
            assert!(taken.fence() > fence, "{nth} {fault:?}: {} after {fence}", taken.fence());
        }
    }
    println!("leases: {points} points of failure");
    assert!(points >= 32);
}

#[tokio::test]
async fn a_lease_that_is_damaged_is_not_taken_over_and_names_are_checked() {
    let (memory, clock) = shared();
    let put = s3db::store::Put { body: "{".into(), ..Default::default() };
    memory.put("s3db/tmp/leases/job.json", put, s3db::store::Precondition::None).await.unwrap();
    let node = node(memory, &clock, 1).await;
    assert_eq!(node.lease("job", &options("x")).await.unwrap_err().kind(), ErrorKind::Integrity);
    assert_eq!(node.lease("a/b", &options("x")).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// Tokio's paused clock.
#[derive(Debug)]
struct Paused(tokio::time::Instant);

impl Paused {
    fn new() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl s3db::store::clock::Clock for Paused {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.monotonic().as_millis()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, pause: Duration) -> s3db::store::clock::Sleep<'_> {
        #[expect(clippy::disallowed_methods, reason = "this is a clock")]
        Box::pin(tokio::time::sleep(pause))
    }
}
