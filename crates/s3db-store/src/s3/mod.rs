//! A store in a bucket of an S3 server.
//!
//! Every call is one attempt (bodies of 32 MiB and more are several requests): retries belong to the
//! caller, who alone knows what a lost answer may mean. What a server does with conditions is found
//! out by a probe, once per database, whose result is stored; see [`Probe`].

mod client;
mod error;
mod probe;
mod read;
mod wire;
mod write;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;

use crate::clock::{Clock, SystemClock};
use crate::{
    Capabilities, Copy, ErrorKind, List, Object, ObjectMeta, Page, Precondition, Probe, Put, Result, Store, StoreError,
};
use error::Doing;
use wire::Wire;
use write::{Condition, MULTIPART_BYTES, condition};

/// Where a bucket is and how it is reached.
#[derive(Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with, without the `/` behind it; empty for none.
    pub prefix: String,
    /// The server; `None` is AWS.
    pub endpoint: Option<String>,
    /// The region; `None` takes it from the environment or a profile.
    pub region: Option<String>,
    /// Whether the bucket stands in the path and not in the host name.
    pub path_style: bool,
    /// Access key and secret; `None` takes the AWS credential chain.
    pub credentials: Option<(String, String)>,
    /// Allows writes where the server does not hold conditions: then the last writer wins.
    pub last_write_wins: bool,
    /// The prefix, with its `/`, under which the probe works and stores its result.
    pub probe_prefix: String,
    /// The longest wait for a connection. The default is 5 s.
    pub connect_timeout: Duration,
    /// The longest wait for an answer. The default is 30 s: some servers let the loser of a race
    /// wait for 9 s. Uploads get as much more as their size needs.
    pub request_timeout: Duration,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl S3Options {
    /// A bucket with the settings that are the default.
    pub fn new(bucket: impl Into<String>, probe_prefix: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: false,
            credentials: None,
            last_write_wins: false,
            probe_prefix: probe_prefix.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }
}

impl std::fmt::Debug for S3Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A store in a bucket.
#[derive(Debug)]
pub struct S3 {
    bucket: Bucket,
    probe: Option<Probe>,
    writes: Writes,
}

/// What becomes of writes.
#[derive(Debug)]
enum Writes {
    /// The server holds their conditions.
    Conditional,
    /// The server does not; whoever writes last wins.
    LastWins,
    /// They are refused for this reason.
    Refused(String),
}

/// A bucket with its client.
#[derive(Debug)]
struct Bucket {
    client: Client,
    wire: Wire,
    name: String,
    prefix: String,
    server: String,
    request_timeout: Duration,
}

impl S3 {
    /// Connects, and probes the server if this database has no result yet.
    ///
    /// Costs one request; with the probe about 350, once.
    ///
    /// # Errors
    /// `NoBucket`, `Denied` for credentials that are missing, wrong or expired, `Unavailable` for a
    /// server that cannot be reached.
    pub async fn open(options: S3Options) -> Result<Self> {
        let bucket = Bucket::connect(&options).await;
        let probe = bucket.probe(&options.probe_prefix).await?;
        let writes = match &probe {
            Ok(probe) if probe.compare_and_swap() => Writes::Conditional,
            Ok(_) if options.last_write_wins => Writes::LastWins,
            Ok(probe) => Writes::Refused(probe.complaint()),
            Err(denied) => Writes::Refused(format!("the credentials do not allow writing ({denied})")),
        };
        Ok(Self { bucket, probe: probe.ok(), writes })
    }

    /// HTTP requests that were sent, each attempt counted.
    pub fn attempts(&self) -> u64 {
        self.bucket.wire.attempts()
    }

    /// How far this machine's clock is ahead of the server's, in milliseconds.
    pub fn clock_ahead_ms(&self) -> i64 {
        self.bucket.wire.ahead_ms()
    }

    /// What the writes of this connection are refused for, if they are.
    pub fn refusal(&self) -> Option<&str> {
        match &self.writes {
            Writes::Refused(reason) => Some(reason),
            Writes::Conditional | Writes::LastWins => None,
        }
    }

    /// The headers of a precondition, or its check by a look at the object where the server has none.
    async fn condition(&self, key: &str, precondition: Precondition) -> Result<Condition> {
        match &self.writes {
            Writes::Refused(reason) => Err(StoreError::new(ErrorKind::Unsupported, reason.clone())),
            Writes::Conditional => {
                let quoted = self.probe.as_ref().is_none_or(Probe::takes_quotes);
                Ok(condition(precondition, quoted))
            }
            Writes::LastWins => {
                self.look_first(key, precondition).await?;
                Ok(Condition::default())
            }
        }
    }

    async fn look_first(&self, key: &str, precondition: Precondition) -> Result<()> {
        if precondition == Precondition::None {
            return Ok(());
        }
        let found = match self.bucket.head(key).await {
            Ok(meta) => Some(meta.etag),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (precondition, found) {
            (Precondition::Absent, None) => Ok(()),
            (Precondition::Matches(wanted), Some(etag)) if wanted == etag => Ok(()),
            (Precondition::Matches(_), None) => Err(StoreError::not_found(key)),
            _ => Err(StoreError::precondition(key)),
        }
    }
}

impl Bucket {
    async fn connect(options: &S3Options) -> Self {
        let wire = Wire::new(Arc::clone(&options.clock));
        let client = client::connect(options, &wire).await;
        let prefix = if options.prefix.is_empty() { String::new() } else { format!("{}/", options.prefix) };
        Self {
            client,
            wire,
            name: options.bucket.clone(),
            prefix,
            server: options.endpoint.clone().unwrap_or_else(|| "AWS S3".to_owned()),
            request_timeout: options.request_timeout,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn own_key(&self, key: String) -> Option<String> {
        if self.prefix.is_empty() { Some(key) } else { key.strip_prefix(&self.prefix).map(str::to_owned) }
    }

    fn doing<'a>(&'a self, verb: &'static str, key: &'a str) -> Doing<'a> {
        let writes = !matches!(verb, "read of" | "look at" | "listing of");
        Doing { verb, key, bucket: &self.name, server: &self.server, writes, ahead_ms: self.wire.ahead_ms() }
    }
}

#[async_trait]
impl Store for S3 {
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        self.bucket.get(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.bucket.head(key).await
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> Result<String> {
        let in_parts = put.body.len() >= MULTIPART_BYTES
            && (precondition == Precondition::None || self.probe.as_ref().is_some_and(|p| p.conditional_multipart));
        let condition = self.condition(key, precondition).await?;
        if in_parts {
            self.bucket.put_in_parts(key, put, condition).await
        } else {
            self.bucket.put(key, put, condition).await
        }
    }

    async fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        let precondition = if self.capabilities().conditional_delete { precondition } else { Precondition::None };
        let condition = self.condition(key, precondition).await?;
        self.bucket.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[String]) -> Result<()> {
        self.condition("", Precondition::None).await?;
        self.bucket.delete_many(keys).await
    }

    async fn list(&self, list: List) -> Result<Page> {
        self.bucket.list(list).await
    }

    async fn copy(&self, from: &str, to: &str, mut copy: Copy) -> Result<String> {
        let source = self.condition(from, std::mem::take(&mut copy.source)).await?;
        self.bucket.copy(from, to, copy, source).await
    }

    fn capabilities(&self) -> Capabilities {
        let conditional = matches!(self.writes, Writes::Conditional);
        let probed = |what: fn(&Probe) -> bool| self.probe.as_ref().is_some_and(what);
        Capabilities {
            compare_and_swap: conditional,
            conditional_delete: conditional && probed(|p| p.conditional_delete),
            definite_refusals: false,
            ordered_listing: probed(|p| p.ordered_listing),
        }
    }

    fn probe(&self) -> Option<Probe> {
        self.probe.clone()
    }

    fn now_ms(&self) -> i64 {
        self.bucket.wire.now_ms()
    }

    fn location(&self) -> String {
        let (bucket, prefix) = (&self.bucket.name, self.bucket.prefix.trim_end_matches('/'));
        let path = if prefix.is_empty() { bucket.clone() } else { format!("{bucket}/{prefix}") };
        match self.bucket.server.as_str() {
            "AWS S3" => format!("s3://{path}"),
            endpoint => format!("{}/{path}", endpoint.trim_end_matches('/')),
        }
    }
}
