//! An S3 server in this process, for tests: real HTTP, real signatures, real XML, over the memory
//! store, whose conditional writes are atomic.
//!
//! It can behave as the worse servers do ([`Behaviour`]) and fail as networks do ([`Faults`]).

mod backend;
mod faults;
mod listing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3db_store::Quirks;
use s3db_store::clock::SystemClock;
use s3db_store::memory::Memory;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};

use backend::Backend;
pub use faults::{Faults, HttpFault};

/// The access key that the server knows.
pub const ACCESS_KEY: &str = "test-key";
/// Its secret.
pub const SECRET_KEY: &str = "test-secret";
/// The one bucket.
pub const BUCKET: &str = "test-bucket";

/// How the server differs from AWS.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// What becomes of `If-Match` and `If-None-Match`.
    pub conditions: Conditions,
    /// Listings come by names, a directory's content where its name is: `a`, `a/b`, `a-b`.
    pub lists_by_names: bool,
    /// Conditions of deletes are ignored.
    pub no_conditional_delete: bool,
    /// Conditions of completed uploads are ignored.
    pub no_conditional_multipart: bool,
}

/// What becomes of the conditions of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conditions {
    /// They hold.
    #[default]
    Held,
    /// They are accepted and ignored.
    Ignored,
    /// `If-Match` holds for an ETag without quotes, and never with.
    Unquoted,
    /// Every so many-th conditional write ignores its condition.
    IgnoredEvery(u64),
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    endpoint: String,
    memory: Arc<Memory>,
    faults: Faults,
    requests: Arc<AtomicU64>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server on a free port of the loopback.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        // What AWS does: MD5 as the ETag, times of one second, conditional deletes.
        let quirks = Quirks { unconditional_delete: false, ..Quirks::S3 };
        let memory = Arc::new(Memory::with(quirks, Arc::new(SystemClock)));
        let mut builder = S3ServiceBuilder::new(Backend::new(Arc::clone(&memory), behaviour));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (faults, requests) = (Faults::default(), Arc::<AtomicU64>::default());
        let shared = Shared { service: builder.build(), faults: faults.clone(), requests: Arc::clone(&requests) };
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Ok(Self { endpoint, memory, faults, requests, accepting })
    }

    /// Its URL: `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The connection string of a database under a prefix of the bucket.
    pub fn url(&self, prefix: &str) -> String {
        let host = self.endpoint.trim_start_matches("http://");
        format!("http://{ACCESS_KEY}:{SECRET_KEY}@{host}/{BUCKET}/{prefix}")
    }

    /// What is stored.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// What is to fail.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// HTTP requests that arrived so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    service: S3Service,
    faults: Faults,
    requests: Arc<AtomicU64>,
}

async fn serve(stream: TcpStream, shared: Shared) {
    let _small_packets_leave_at_once = stream.set_nodelay(true);
    let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let shared = shared.clone();
        async move {
            shared.requests.fetch_add(1, Ordering::SeqCst);
            shared.faults.pass(&shared.service, request).await
        }
    });
    // A connection that ends with an error is one that a fault broke, or whose client went away.
    let _ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
