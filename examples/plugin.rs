//! A plugin of your own: at most so many uses of a key in a window of time, however many processes ask.
//!
//!     cargo run -p s3db --example plugin
#![allow(
    clippy::print_stdout,
    unreachable_pub,
    reason = "an example prints, and its plugin would be a crate of its own"
)]

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use s3db::store::Quirks;
use s3db::store::clock::{Clock, ManualClock, SystemClock};
use s3db::store::memory::Memory;
use s3db::{Database, Error, ErrorKind, Finding, FindingKind, Plugin, Query, Resource, ResourceDefinition, Result};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// Attempts of one use before the answer is `Busy`.
const ATTEMPTS: u32 = 64;
/// Events that wait for a slow listener before the oldest are dropped.
const QUEUE: usize = 1024;
/// How often windows that are over are forgotten.
const PAUSE: Duration = Duration::from_secs(60);

/// What becomes of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is granted; so many are left in this window.
    Granted(u64),
    /// All are used until this instant, in milliseconds since 1970.
    Refused(i64),
    /// Others were faster every time; nothing was counted.
    Busy,
}

/// What the plugin tells: a key, and the answer.
pub type QuotaEvent = (String, Answer);

/// Counts uses in the resource `quotas`: one record per key, changed by compare-and-swap.
#[derive(Debug)]
pub struct QuotaPlugin(Arc<Core>);

#[derive(Debug)]
struct Core {
    limit: u64,
    window: Duration,
    clock: Arc<dyn Clock>,
    home: OnceLock<(Database, Resource)>,
    events: broadcast::Sender<QuotaEvent>,
    background: Mutex<Option<(watch::Sender<bool>, JoinHandle<()>)>>,
}

impl QuotaPlugin {
    /// At most `limit` uses of a key in each window.
    pub fn new(limit: u64, window: Duration, clock: Arc<dyn Clock>) -> Self {
        let (home, events, background) = (OnceLock::new(), broadcast::channel(QUEUE).0, Mutex::default());
        Self(Arc::new(Core { limit, window, clock, home, events, background }))
    }

    /// The answers of this process from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<QuotaEvent> {
        self.0.events.subscribe()
    }

    /// Uses a key once. Costs a GET and a PUT, and both once more for each race that is lost.
    ///
    /// # Errors
    /// Of the store. With `applied: unknown` the use may have been counted, so that too few are granted, never
    /// too many.
    pub async fn take(&self, key: &str) -> Result<Answer> {
        let answer = self.0.take(key).await?;
        // An error says that nobody listens.
        let _nobody = self.0.events.send((key.to_owned(), answer));
        Ok(answer)
    }
}

impl Core {
    fn home(&self) -> Result<&(Database, Resource)> {
        let meaning = "the quota plugin is not set up";
        let what_to_do = "give it to Database::builder(…).plugin(…)";
        self.home.get().ok_or_else(|| Error::of_plugin(ErrorKind::Unsupported, meaning, what_to_do))
    }

    /// When a window that begins now ends.
    fn end(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX))
    }

    async fn take(&self, key: &str) -> Result<Answer> {
        let (db, quotas) = self.home()?;
        for _ in 0..ATTEMPTS {
            let now = db.store().now_ms();
            let found = quotas.snapshot(key).await?;
            let number = |name| found.as_ref().and_then(|row| row.attributes().get(name)).and_then(Value::as_i64);
            let open = number("endsAt").filter(|ends| *ends > now);
            let ends = open.unwrap_or(self.end(now));
            let used = open.and_then(|_| number("used")).and_then(|used| u64::try_from(used).ok()).unwrap_or(0);
            if used >= self.limit {
                return Ok(Answer::Refused(ends));
            }
            let row = json!({ "used": used + 1, "endsAt": ends });
            let written = match &found {
                Some(before) => quotas.swap(before, row).await?.is_some(),
                None => match quotas.insert(json!({ "id": key, "used": 1, "endsAt": ends })).await {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                    inserted => inserted.map(|_| true)?,
                },
            };
            if written {
                return Ok(Answer::Granted(self.limit - used - 1));
            }
        }
        Ok(Answer::Busy)
    }

    /// Removes the records of windows that are over. One that is used meanwhile stays.
    async fn forget(&self) -> Result<()> {
        let (db, quotas) = self.home()?;
        let over = Query::filter(json!({ "endsAt": { "$lte": db.store().now_ms() } }));
        quotas.delete_where(&over, &|_| ()).await.map(|_| ())
    }
}

/// Goes on until it is told to stop, or the database and with it the plugin is gone.
async fn keep_clean(core: Weak<Core>, mut told: watch::Receiver<bool>) {
    while let Some(core) = core.upgrade() {
        if let Err(error) = core.forget().await {
            println!("quotas are forgotten later: {error}");
        }
        let clock = Arc::clone(&core.clock);
        drop(core);
        tokio::select! {
            _ = told.changed() => return,
            () = clock.sleep(PAUSE) => {}
        }
    }
}

#[s3db::async_trait]
impl Plugin for QuotaPlugin {
    fn name(&self) -> &'static str {
        "QuotaPlugin"
    }

    async fn setup(&self, db: Database) -> Result<()> {
        let definition = ResourceDefinition::new("quotas").attribute("used", "integer").attribute("endsAt", "integer");
        let quotas = db.create_resource(definition).await?;
        let _only_once = self.0.home.set((db, quotas));
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        let mut background = self.0.background.lock().unwrap_or_else(PoisonError::into_inner);
        background.get_or_insert_with(|| {
            let (stop, told) = watch::channel(false);
            (stop, tokio::spawn(keep_clean(Arc::downgrade(&self.0), told)))
        });
        Ok(())
    }

    async fn stop(&self, deadline: Duration) -> Result<()> {
        let running = self.0.background.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stop, mut task)) = running else { return Ok(()) };
        // An error says that the task has ended already.
        let _ended = stop.send(true);
        tokio::select! {
            _ = &mut task => {}
            () = self.0.clock.sleep(deadline) => task.abort(),
        }
        Ok(())
    }

    async fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        let (db, quotas) = self.0.home()?;
        let late = json!({ "endsAt": { "$gt": self.0.end(db.store().now_ms()) } });
        let found = quotas.query(late.clone()).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let removed = match repair {
            true => quotas.delete_where(&Query::filter(late), &|_| ()).await?.changed,
            false => 0,
        };
        Ok(vec![Finding {
            kind: FindingKind::OfPlugin,
            resource: Some("quotas".into()),
            count: found.len(),
            repaired: removed,
            meaning: "quotas end later than a whole window from now, so that they refuse for too long",
            action: "removes the records",
            examples: found.into_iter().take(10).map(|record| record.id).collect(),
        }])
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    many_ask_at_once().await?;
    time_passes().await
}

/// Forty uses at once, ten of which are granted.
async fn many_ask_at_once() -> Result<()> {
    let plugin = QuotaPlugin::new(10, Duration::from_secs(3600), Arc::new(SystemClock));
    let db = Database::builder("memory://quotas").plugin(plugin).connect().await?;
    let quota = db.plugin::<QuotaPlugin>()?;
    let mut events = quota.subscribe();

    let asked: Vec<_> = (0..40).map(|_| tokio::spawn(ask(db.clone()))).collect();
    let mut granted = 0;
    for answer in asked {
        granted += usize::from(matches!(answer.await, Ok(Ok(Answer::Granted(_)))));
    }
    assert_eq!(granted, 10);
    println!("{granted} of 40 granted; the record: {}", db.resource("quotas").await?.get("mail").await?.to_json());

    let mut told = 0;
    while let Ok((_, answer)) = events.try_recv() {
        told += usize::from(matches!(answer, Answer::Granted(_)));
    }
    assert_eq!(told, 10);
    db.stop(Duration::from_secs(5)).await
}

async fn ask(db: Database) -> Result<Answer> {
    db.plugin::<QuotaPlugin>()?.take("mail").await
}

/// A store and a plugin whose time stands still until it is moved, as in a test.
async fn time_passes() -> Result<()> {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let store = Arc::new(Memory::with(Quirks::default(), clock.clone()));
    let plugin = QuotaPlugin::new(1, Duration::from_secs(60), clock.clone());
    let builder = Database::builder("memory://manual").store(store).clock(clock.clone()).plugin(plugin);
    let db = builder.start_plugins(false).connect().await?;
    let quota = db.plugin::<QuotaPlugin>()?;

    assert_eq!(quota.take("mail").await?, Answer::Granted(0));
    assert_eq!(quota.take("mail").await?, Answer::Refused(1_800_000_060_000));
    clock.advance(Duration::from_secs(60));
    assert_eq!(quota.take("mail").await?, Answer::Granted(0));
    println!("granted again in the next window");

    // What a machine whose clock was wrong might leave.
    let quotas = db.resource("quotas").await?;
    quotas.insert(json!({ "id": "web", "used": 1, "endsAt": 1_900_000_000_000_i64 })).await?;
    let report = db.doctor(true, &|_, _| ()).await?;
    assert!(report.is_healthy() && !quotas.exists("web").await?);
    println!("{}", json!(report.findings));
    Ok(())
}
