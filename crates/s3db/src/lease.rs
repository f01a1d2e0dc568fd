//! Leases: one holder at a time, with a number that only rises.
//!
//! A lease is one object, `s3db/tmp/leases/<name>.json`, changed by compare-and-swap only and never
//! deleted, so that its fence never goes back. No clock of one machine is compared with that of
//! another: whoever wants a lease that is held watches it, and takes it over when it has seen the
//! same token for the holder's whole TTL. The holder stops when the last renewal that it knows of was
//! *sent* more than half a TTL ago, so that it has stopped before anyone can take over, even where
//! one clock runs at two thirds of the other's speed.
//!
//! Requests: taking a lease is GET and PUT, a renewal and the release are one PUT each. A crash
//! leaves a lease that others take over after a TTL.
//!
//! A fence protects only writes that are conditional on an object that holds it; any other work needs
//! a commit point that is conditional by itself.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, Precondition, Put};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};

/// How a lease is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Who takes it, for people: a host and a process.
    pub owner: String,
    /// How long others wait for a holder that has fallen silent. The default is 30 s.
    pub ttl: Duration,
    /// Whether one that was written within its TTL, by the store's time, is `Busy` at once, without a look at
    /// whether its holder lives.
    pub at_once: bool,
}

impl LeaseOptions {
    /// The default for this owner.
    pub fn new(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), ttl: Duration::from_secs(30), at_once: false }
    }

    /// Does not wait for a holder that may have died, while its lease is young.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Another TTL, one second at least.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(Duration::from_secs(1));
        self
    }
}

/// What is stored of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRecord {
    /// Who holds it; nobody after a release.
    pub owner: Option<String>,
    /// How often it was taken.
    pub fence: u64,
    /// New with every write.
    pub token: String,
    /// The holder's TTL in milliseconds.
    pub ttl_ms: u64,
    /// When it was last written, by the store's time. For people: nothing is decided by it.
    pub written_at: String,
}

impl LeaseRecord {
    /// Whether it was written within its TTL, by the store's time.
    pub(crate) fn is_young(&self, now_ms: i64) -> bool {
        let written = s3db_format::date::instant(&self.written_at).unwrap_or_default();
        now_ms.saturating_sub(written) <= i64::try_from(self.ttl_ms).unwrap_or(i64::MAX)
    }
}

/// A lease that was taken. Dropping it releases nothing: others take it over after its TTL.
#[derive(Debug)]
pub struct Lease {
    inner: Arc<Inner>,
    name: String,
    ttl: Duration,
    held: Mutex<Held>,
}

/// What the holder knows.
#[derive(Debug, Clone)]
struct Held {
    record: LeaseRecord,
    etag: String,
    /// When the last write that is known to have taken effect was sent.
    confirmed: Duration,
    lost: bool,
}

/// What became of the write of a lease.
enum Written {
    /// It took effect, with this ETag.
    Mine(String),
    /// Somebody else wrote it; this is what is there.
    Other(Option<(LeaseRecord, String)>),
}

/// A token of another holder, and since when it has been seen.
#[derive(Debug, Clone)]
struct Watched {
    token: String,
    since: Duration,
}

impl Database {
    /// Takes a lease.
    ///
    /// Returns at once where it is free. Where another holds it, watches: as soon as the holder renews
    /// it, the answer is `Busy`; if the holder is silent for its whole TTL, the lease is taken over.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
    /// use s3db::{Database, LeaseOptions};
    /// let db = Database::connect("memory://leases").await?;
    /// let lease = db.lease("report", &LeaseOptions::new("host-1")).await?;
    /// let sum = lease.hold(async { 40 + 2 }).await?;
    /// assert_eq!((sum, lease.fence()), (42, 1));
    /// lease.release().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Busy` with `{owner, fence}`; `Unsupported` on a server without conditional writes.
    pub async fn lease(&self, name: &str, options: &LeaseOptions) -> Result<Lease> {
        keys::check_name("lease", name)?;
        let inner = &self.inner;
        if !inner.store.capabilities().compare_and_swap {
            return Err(Error::new(ErrorKind::Unsupported, format!("lease '{name}' needs conditional writes"))
                .guide("use a server that holds them; `s3db status` says what this one does"));
        }
        let mut watched: Option<Watched> = None;
        loop {
            let found = inner.read_lease(name).await?;
            let seen = inner.clock.monotonic();
            let Some((record, etag)) = found else {
                match inner.take(name, options, 1, Precondition::Absent).await? {
                    Some(lease) => return Ok(lease),
                    None => continue,
                }
            };
            if options.at_once && record.owner.is_some() && record.is_young(inner.store.now_ms()) {
                return Err(busy(name, &record));
            }
            if !is_free(&record, &mut watched, seen) {
                if watched.as_ref().is_some_and(|w| w.token != record.token) {
                    return Err(busy(name, &record));
                }
                inner.clock.sleep(Duration::from_millis(record.ttl_ms) / 8).await;
                continue;
            }
            let taken = inner.take(name, options, record.fence + 1, Precondition::Matches(etag)).await?;
            if let Some(lease) = taken {
                return Ok(lease);
            }
        }
    }

    /// The leases of this database, held or released. Costs a LIST and a GET for each.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn leases(&self) -> Result<Vec<(String, LeaseRecord)>> {
        let mut names = Vec::new();
        self.inner
            .keys_under(keys::LEASES, |found| names.extend(found.iter().filter_map(|key| keys::lease_name(key))))
            .await?;
        names.sort();
        let mut leases = Vec::new();
        for name in names {
            if let Some((record, _)) = self.inner.read_lease(&name).await? {
                leases.push((name, record));
            }
        }
        Ok(leases)
    }
}

/// Whether a lease may be taken: released, or the same token was seen for its whole TTL.
fn is_free(record: &LeaseRecord, watched: &mut Option<Watched>, seen: Duration) -> bool {
    if record.owner.is_none() {
        return true;
    }
    let since = watched.get_or_insert_with(|| Watched { token: record.token.clone(), since: seen });
    since.token == record.token && seen.saturating_sub(since.since) >= Duration::from_millis(record.ttl_ms)
}

fn busy(name: &str, record: &LeaseRecord) -> Error {
    let owner = record.owner.as_deref().unwrap_or("nobody");
    Error::new(ErrorKind::Busy, format!("lease '{name}' is held by {owner}, written at {}", record.written_at))
        .guide("wait until it is released, or stop that process")
        .detail(json!({ "owner": record.owner, "fence": record.fence }))
}

impl Inner {
    pub(crate) async fn read_lease(&self, name: &str) -> Result<Option<(LeaseRecord, String)>> {
        let Some(object) = self.read(&keys::lease(name)).await? else { return Ok(None) };
        let record = serde_json::from_slice(&object.body).map_err(|e| {
            Error::new(ErrorKind::Integrity, format!("lease '{name}' is damaged: {e}"))
                .guide("`s3db doctor` shows it; nothing is taken over from an object that cannot be read")
        })?;
        Ok(Some((record, object.meta.etag)))
    }

    /// One attempt to take a lease; `None` if somebody else was first.
    async fn take(
        self: &Arc<Self>,
        name: &str,
        options: &LeaseOptions,
        fence: u64,
        precondition: Precondition,
    ) -> Result<Option<Lease>> {
        let record = LeaseRecord {
            owner: Some(options.owner.clone()),
            fence,
            token: self.ulid(),
            ttl_ms: u64::try_from(options.ttl.as_millis()).unwrap_or(u64::MAX),
            written_at: self.now(),
        };
        let sent = self.clock.monotonic();
        let Written::Mine(etag) = self.put_lease(name, &record, precondition).await? else { return Ok(None) };
        let held = Held { record, etag, confirmed: sent, lost: false };
        Ok(Some(Lease { inner: Arc::clone(self), name: name.to_owned(), ttl: options.ttl, held: Mutex::new(held) }))
    }

    /// Writes a lease. The token decides what a lost answer means; the same bytes are sent until there
    /// is an answer.
    async fn put_lease(&self, name: &str, record: &LeaseRecord, precondition: Precondition) -> Result<Written> {
        let body = serde_json::to_vec(record).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        let put = Put { body: Bytes::from(body), content_type: Some("application/json".into()), ..Put::default() };
        let mut last = None;
        for attempt in self.attempts() {
            match self.store.put(&keys::lease(name), put.clone(), precondition.clone()).await {
                Ok(etag) => return Ok(Written::Mine(etag)),
                Err(error) if matches!(error.kind, StoreKind::Precondition | StoreKind::NotFound) => {
                    return Ok(match self.read_lease(name).await? {
                        Some((now, etag)) if now.token == record.token => Written::Mine(etag),
                        found => Written::Other(found),
                    });
                }
                Err(error) if error.is_transient() => last = Some(error),
                Err(error) => return Err(error.into()),
            }
            self.back_off(attempt).await;
        }
        let error = last.map_or_else(|| Error::new(ErrorKind::Unavailable, "no attempt was made"), Error::from);
        Err(error.context(&format!("lease '{name}'")))
    }
}

impl Lease {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often the lease had been taken when this holder took it: later holders have higher numbers.
    pub fn fence(&self) -> u64 {
        self.held().record.fence
    }

    /// Whether the holder may still act: its last known renewal was sent less than half a TTL ago.
    pub fn is_held(&self) -> bool {
        let held = self.held();
        !held.lost && self.inner.clock.monotonic().saturating_sub(held.confirmed) < self.ttl / 2
    }

    /// Renews it. Costs a PUT.
    ///
    /// # Errors
    /// `Busy` if another holder took it over; `Unavailable` if the store does not answer.
    pub async fn renew(&self) -> Result<()> {
        let owner = self.held().record.owner.clone();
        self.rewrite(owner).await
    }

    /// Gives it back, the fence kept. Costs a PUT.
    ///
    /// # Errors
    /// As [`Lease::renew`].
    pub async fn release(self) -> Result<()> {
        self.rewrite(None).await
    }

    /// Does something while the lease is kept. The work is dropped where the lease is lost.
    ///
    /// # Errors
    /// `Busy` if it was lost to another holder, or could not be renewed in time.
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let work = std::pin::pin!(work);
        let keeping = std::pin::pin!(self.keep());
        match select(work, keeping).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right((lost, _)) => Err(lost),
        }
    }

    /// Renews the lease until it is lost, or until the time is over in which it is sure to be held.
    async fn keep(&self) -> Error {
        while self.is_held() {
            self.inner.clock.sleep(self.left().min(self.ttl / 8)).await;
            let over = self.inner.clock.sleep(self.left());
            let renewal = std::pin::pin!(self.renew());
            match select(renewal, over).await {
                Either::Left((Err(error), _)) if error.kind() == ErrorKind::Busy => return error,
                // After an error the next renewal may get through.
                Either::Left(_) => {}
                Either::Right(_) => break,
            }
        }
        Error::new(ErrorKind::Busy, format!("lease '{}' could not be renewed in time", self.name))
            .guide("see whether the store can be reached; others take the lease over")
    }

    /// How long the lease is still sure to be held.
    fn left(&self) -> Duration {
        (self.held().confirmed + self.ttl / 2).saturating_sub(self.inner.clock.monotonic())
    }

    async fn rewrite(&self, owner: Option<String>) -> Result<()> {
        loop {
            let before = self.held().clone();
            if before.lost {
                return Err(self.lost());
            }
            let (token, written_at) = (self.inner.ulid(), self.inner.now());
            let record = LeaseRecord { owner: owner.clone(), token, written_at, ..before.record };
            let sent = self.inner.clock.monotonic();
            let written = self.inner.put_lease(&self.name, &record, Precondition::Matches(before.etag)).await?;
            let mut held = self.held();
            match written {
                Written::Mine(etag) => {
                    *held = Held { record, etag, confirmed: sent, lost: false };
                    return Ok(());
                }
                // A renewal whose answer was lost has landed: no other holder has this fence.
                Written::Other(Some((now, etag))) if now.fence == record.fence && now.owner.is_some() => {
                    held.etag = etag;
                }
                Written::Other(_) => held.lost = true,
            }
        }
    }

    fn lost(&self) -> Error {
        Error::new(ErrorKind::Busy, format!("lease '{}' was taken over by another holder", self.name))
            .guide("stop what the lease protects")
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
