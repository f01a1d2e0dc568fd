//! Trying out what a server does with conditions.
//!
//! Everything lies beside the result and is deleted afterwards; a crash leaves a few small
//! disposable objects there. Two processes that probe at once do so under different keys.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::Bucket;
use super::write::{Condition, condition};
use crate::probe::{Probe, Swap};
use crate::{ErrorKind, List, Precondition, Put, Result, StoreError};

/// Races of each kind, and writers in each.
const RACES: usize = 20;
const RACERS: usize = 8;
/// Races at once: some servers let losers wait for seconds.
const RACES_AT_ONCE: usize = 10;
/// Attempts of a request that fails for now.
const ATTEMPTS: u32 = 5;

impl Bucket {
    /// The stored result, or a new one. `Ok(Err(_))` where the credentials do not allow to write.
    pub(super) async fn probe(&self, place: &str) -> Result<Result<Probe>> {
        let key = format!("{place}result.json");
        if let Some(probe) = self.stored_probe(&key).await? {
            return Ok(Ok(probe));
        }
        tracing::info!("trying out what {} does with conditional requests, once for this database", self.server);
        let probe = match self.try_out(place).await {
            Ok(probe) => probe,
            Err(error) if error.kind == ErrorKind::Denied => return Ok(Err(error)),
            Err(error) => return Err(error),
        };
        let body = serde_json::to_vec(&probe).map_err(|e| StoreError::new(ErrorKind::Invalid, e.to_string()))?;
        let put = Put { body: body.into(), content_type: Some("application/json".into()), ..Put::default() };
        self.again(|| self.put(&key, put.clone(), Condition::default())).await?;
        Ok(Ok(probe))
    }

    async fn stored_probe(&self, key: &str) -> Result<Option<Probe>> {
        match self.again(|| self.get(key, None)).await {
            Ok(object) => {
                let stored = serde_json::from_slice::<Probe>(&object.body).ok();
                Ok(stored.filter(|p| p.kind == Probe::KIND && p.server == self.server))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn try_out(&self, place: &str) -> Result<Probe> {
        let place = format!("{place}{}/", fresh_name()?);
        let tried = self.try_out_in(&place).await;
        let cleared = self.clear(&place).await;
        let probe = tried?;
        cleared?;
        Ok(probe)
    }

    async fn try_out_in(&self, place: &str) -> Result<Probe> {
        let first = format!("{place}first");
        // The first write says whether the credentials allow any, and learns the server's time.
        self.again(|| self.put(&first, text("0"), Condition::default())).await?;
        let quotes = self.swap_form(&first).await?;
        let races = stream::iter(0..RACES).map(|n| self.race(format!("{place}race-{n}"), quotes));
        let races: Vec<(bool, bool)> = races.buffer_unordered(RACES_AT_ONCE).try_collect().await?;
        let swaps = races.iter().all(|(_, swapped)| *swapped);
        Ok(Probe {
            kind: Probe::KIND,
            server: self.server.clone(),
            probed_ms: self.wire.now_ms(),
            create: races.iter().all(|(created, _)| *created),
            swap: if swaps { quotes } else { Swap::No },
            conditional_delete: self.try_delete(&format!("{place}delete"), quotes).await?,
            conditional_multipart: self.try_parts(&first).await?,
            ordered_listing: self.try_listing(&format!("{place}order/")).await?,
        })
    }

    /// The form of an ETag that is taken when it is the present one and refused when it is not.
    async fn swap_form(&self, key: &str) -> Result<Swap> {
        for (swap, quoted) in [(Swap::Quoted, true), (Swap::Unquoted, false)] {
            let stale = self.again(|| self.put(key, text("1"), Condition::default())).await?;
            let present = self.again(|| self.put(key, text("2"), Condition::default())).await?;
            let refused = !self.holds(key, "3", condition(Precondition::Matches(stale), quoted)).await?;
            let taken = self.holds(key, "4", condition(Precondition::Matches(present), quoted)).await?;
            if refused && taken {
                return Ok(swap);
            }
        }
        Ok(Swap::No)
    }

    /// Lets writers race to create an object, then to replace it: whether exactly one succeeded.
    async fn race(&self, key: String, swap: Swap) -> Result<(bool, bool)> {
        let created = self.race_once(&key, "create", || condition(Precondition::Absent, true)).await?;
        if swap == Swap::No {
            return Ok((created == 1, false));
        }
        let etag = self.again(|| self.head(&key)).await?.etag;
        let matches = || condition(Precondition::Matches(etag.clone()), swap == Swap::Quoted);
        let swapped = self.race_once(&key, "swap", matches).await?;
        Ok((created == 1, swapped == 1))
    }

    async fn race_once(&self, key: &str, what: &str, condition: impl Fn() -> Condition) -> Result<usize> {
        let bodies: Vec<String> = (0..RACERS).map(|n| format!("{what} {n}")).collect();
        let writers = bodies.iter().map(|body| self.holds(key, body, condition()));
        let outcomes = join_all(writers).await.into_iter().collect::<Result<Vec<bool>>>()?;
        Ok(outcomes.into_iter().filter(|won| *won).count())
    }

    /// Whether a conditional write took place; what is not supported did not.
    async fn holds(&self, key: &str, body: &str, condition: Condition) -> Result<bool> {
        match self.put(key, text(body), condition).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind {
                ErrorKind::Precondition | ErrorKind::Conflict | ErrorKind::NotFound => Ok(false),
                ErrorKind::Unsupported | ErrorKind::Invalid => Ok(false),
                _ => Err(error),
            },
        }
    }

    async fn try_delete(&self, key: &str, swap: Swap) -> Result<bool> {
        if swap == Swap::No {
            return Ok(false);
        }
        let matches = |etag: &str| condition(Precondition::Matches(etag.to_owned()), swap == Swap::Quoted);
        let stale = self.again(|| self.put(key, text("1"), Condition::default())).await?;
        let present = self.again(|| self.put(key, text("2"), Condition::default())).await?;
        let refused = self.delete(key, matches(&stale)).await.is_err();
        let kept = self.is_there(key).await?;
        let taken = self.delete(key, matches(&present)).await.is_ok();
        Ok(refused && kept && taken && !self.is_there(key).await?)
    }

    async fn try_parts(&self, existing: &str) -> Result<bool> {
        let before = self.again(|| self.head(existing)).await?.etag;
        let refused = self.put_in_parts(existing, text("parts"), condition(Precondition::Absent, true)).await;
        let kept = self.again(|| self.head(existing)).await?.etag == before;
        Ok(kept && refused.is_err_and(|e| matches!(e.kind, ErrorKind::Precondition | ErrorKind::Conflict)))
    }

    async fn try_listing(&self, place: &str) -> Result<bool> {
        let keys = ["a-b", "a.b", "a/b", "a0", "é"].map(|name| format!("{place}{name}"));
        for key in &keys {
            self.again(|| self.put(key, text(""), Condition::default())).await?;
        }
        let page = self.again(|| self.list(List::prefix(place))).await?;
        Ok(page.entries.iter().map(|e| &e.key).eq(keys.iter()))
    }

    async fn is_there(&self, key: &str) -> Result<bool> {
        match self.again(|| self.head(key)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn clear(&self, place: &str) -> Result<()> {
        let page = self.again(|| self.list(List::prefix(place))).await?;
        let keys: Vec<String> = page.entries.into_iter().map(|e| e.key).collect();
        self.again(|| self.delete_many(&keys)).await
    }

    /// Sends a request that may be repeated until it is answered, a few times.
    async fn again<T, F>(&self, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempt = 0;
        loop {
            match request().await {
                Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => attempt += 1,
                other => return other,
            }
            self.wire.pause(Duration::from_millis(50 << attempt)).await;
        }
    }
}

fn text(body: &str) -> Put {
    Put { body: Bytes::copy_from_slice(body.as_bytes()), ..Put::default() }
}

#[expect(clippy::disallowed_methods, reason = "the place of a probe is of no consequence to anything that is replayed")]
fn fresh_name() -> Result<String> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::new(ErrorKind::Unavailable, format!("no randomness: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
