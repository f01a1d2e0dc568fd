//! Locks that stand where the backups stand: what is being read is not deleted.
//!
//! A reader writes `pins/<ulid>.json` and *then* looks whether a backup is marked as being deleted; who deletes
//! marks it and *then* looks for locks. So at least one of the two sees the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, join_all, select};
use s3db_store::clock::Clock;
use serde::{Deserialize, Serialize};

use super::sealed::{seal, unseal};
use super::shelf::Place;
use crate::entropy::{Entropy, make_ulid};
use crate::error::Result;

const FOLDER: &str = "pins/";
/// A lock that was not renewed for so long is one of a process that died.
const TTL_MS: i64 = 120_000;
const RENEW: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    owner: String,
    /// By the destination's time.
    at_ms: i64,
}

/// Locks that are held at some places.
#[derive(Debug)]
pub(super) struct Locks {
    held: Vec<(Place, String)>,
    owner: String,
    clock: Arc<dyn Clock>,
}

impl Locks {
    /// Locks places. One that cannot be written is read without a lock.
    pub(super) async fn take(places: &[Place], owner: &str, clock: &Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let mut locks = Self { held: Vec::new(), owner: owner.to_owned(), clock: Arc::clone(clock) };
        for place in places {
            let path = format!("{FOLDER}{}.json", make_ulid(entropy, place.shelf.now_ms()));
            match locks.write(place, &path).await {
                Ok(()) => locks.held.push((place.clone(), path)),
                Err(error) => {
                    tracing::debug!(target: "s3db::backup", %error, "{} is read without a lock", place.location())
                }
            }
        }
        locks
    }

    async fn write(&self, place: &Place, path: &str) -> Result<()> {
        let lock = Lock { owner: self.owner.clone(), at_ms: place.shelf.now_ms() };
        place.shelf.put(path, Bytes::from(seal(&lock)?)).await
    }

    /// Does something while the locks are kept.
    pub(super) async fn hold<T>(&self, work: impl Future<Output = T>) -> T {
        let work = std::pin::pin!(work);
        let keeping = std::pin::pin!(self.keep());
        match select(work, keeping).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn keep(&self) -> std::convert::Infallible {
        loop {
            self.clock.sleep(RENEW).await;
            // Side by side: one that hangs must not keep the others.
            let renewals = self.held.iter().map(|(place, path)| async move {
                if let Err(error) = self.write(place, path).await {
                    tracing::warn!(target: "s3db::backup", %error, "the lock at {} was not renewed", place.location());
                }
            });
            join_all(renewals).await;
        }
    }

    /// Gives the locks up. One that cannot be deleted counts as dead soon.
    pub(super) async fn release(self) {
        for (place, path) in &self.held {
            if let Err(error) = place.shelf.delete(std::slice::from_ref(path)).await {
                tracing::debug!(target: "s3db::backup", %error, "a lock at {} is left over", place.location());
            }
        }
    }
}

/// Who reads at a place now. Locks of dead processes are removed.
pub(super) async fn readers(place: &Place) -> Result<Vec<String>> {
    let mut owners = Vec::new();
    for stored in place.shelf.list(FOLDER).await? {
        let Some(bytes) = place.shelf.get(&stored.path).await? else { continue };
        let lock = unseal::<Lock>(&bytes, &stored.path);
        match lock {
            // One from the future is none that is renewed.
            Ok(lock) if (place.shelf.now_ms() - lock.at_ms).abs() < TTL_MS => owners.push(lock.owner),
            // One that is damaged says nothing of its age, and nobody renews it.
            _ => place.shelf.delete(&[stored.path]).await?,
        }
    }
    Ok(owners)
}
