//! `s3db run --metrics ADDR`: numbers for Prometheus, and whether all is well. On the loopback, GET only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3db::scheduler::SchedulerPlugin;
use s3db::store::clock::{Clock as _, SystemClock};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::generation::Seen;
use crate::output::Failure;

mod page;

/// Connections at once.
const TOGETHER: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How old the last successful look at the store may be.
const HEALTHY_MS: i64 = 120_000;

/// Listens on a loopback address.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::usage(
            format!("--metrics {address} is no loopback address"),
            "write 127.0.0.1:PORT or [::1]:PORT, and put a proxy before it if others shall read it: it asks nobody for a password",
        ));
    }
    TcpListener::bind(address).await.map_err(|e| Failure::Io { message: format!("cannot listen on {address}: {e}") })
}

pub(super) async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    let places = Arc::new(Semaphore::new(TOGETHER));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let _place = place;
            // Whoever is too slow is cut off.
            let _cut_off = tokio::time::timeout(PATIENCE, connection(stream, seen)).await;
        });
    }
}

async fn connection(stream: TcpStream, seen: Arc<Seen>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(&request, &seen).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    // A client that goes away is no failure of ours.
    let _gone = server.keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: &Request<Incoming>, seen: &Seen) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is answered\n".into());
    }
    match request.uri().path() {
        "/metrics" => match page::text(seen).await {
            Ok(text) => respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
            Err(why) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", why),
        },
        "/health" => health(seen),
        _ => respond(StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /health\n".into()),
    }
}

/// Well, if the scheduler has reached the store within two minutes.
fn health(seen: &Seen) -> Response<Full<Bytes>> {
    let scheduler = seen.db().and_then(|db| db.plugin::<SchedulerPlugin>().ok());
    let Some(metrics) = scheduler.map(|scheduler| scheduler.metrics()) else {
        return respond(
            StatusCode::SERVICE_UNAVAILABLE,
            "application/json",
            json!({ "status": "starting" }).to_string(),
        );
    };
    let age_ms = SystemClock.now_ms() - metrics.last_poll_ms;
    let well = metrics.last_poll_ms > 0 && age_ms <= HEALTHY_MS;
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if well { "ok" } else { "the store is not reached" };
    let body = json!({ "status": word, "lastPoll": s3db::rfc3339(metrics.last_poll_ms), "running": metrics.running });
    respond(status, "application/json", format!("{body}\n"))
}

fn respond(status: StatusCode, kind: &str, body: String) -> Response<Full<Bytes>> {
    let built = Response::builder().status(status).header("content-type", kind).body(Full::new(Bytes::from(body)));
    built.unwrap_or_else(|_| Response::new(Full::default()))
}
