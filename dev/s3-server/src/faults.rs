//! Failures below HTTP and in it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::S3Service;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFault {
    /// It is answered with this status and code; `applied` says whether it was carried out first.
    Status {
        /// The status.
        status: u16,
        /// The code in the answer's XML.
        code: &'static str,
        /// Whether the request was carried out.
        applied: bool,
    },
    /// The connection is closed without an answer.
    Drop {
        /// Whether the request was carried out.
        applied: bool,
    },
    /// There is never an answer.
    Hang,
    /// Half of the body is sent, then the connection is closed.
    CutBody,
}

/// The plan of what fails.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    seen: u64,
    by_number: BTreeMap<u64, HttpFault>,
    all: Option<HttpFault>,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Broken>>>;

/// The connection breaks.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was broken on purpose")
    }
}

impl std::error::Error for Broken {}

impl Faults {
    /// Plans a fault for the request that is the `nth` from now, counted from 1.
    pub fn plan(&self, nth: u64, fault: HttpFault) {
        let mut plan = self.lock();
        let at = plan.seen + nth;
        plan.by_number.insert(at, fault);
    }

    /// Plans a fault for every request, or none.
    pub fn all(&self, fault: Option<HttpFault>) {
        self.lock().all = fault;
    }

    /// Forgets every plan.
    pub fn heal(&self) {
        let mut plan = self.lock();
        plan.by_number.clear();
        plan.all = None;
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<HttpFault> {
        let mut plan = self.lock();
        plan.seen += 1;
        let number = plan.seen;
        plan.by_number.remove(&number).or(plan.all)
    }

    /// Carries a request out, unless it is to fail.
    pub(crate) async fn pass(&self, service: &S3Service, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let head = request.method() == Method::HEAD;
        match self.next() {
            None => carry_out(service, request).await,
            Some(HttpFault::Status { status, code, applied }) => {
                if applied {
                    carry_out(service, request).await?;
                } else {
                    drain(request).await;
                }
                Ok(refusal(status, code, head))
            }
            Some(HttpFault::Drop { applied }) => {
                if applied {
                    carry_out(service, request).await?;
                }
                Err(Broken)
            }
            Some(HttpFault::Hang) => std::future::pending().await,
            Some(HttpFault::CutBody) => cut(carry_out(service, request).await?).await,
        }
    }
}

async fn carry_out(service: &S3Service, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let answer = service.call(request.map(s3s::Body::from)).await.map_err(|_| Broken)?;
    Ok(answer.map(|body| {
        StreamBody::new(body.into_data_stream().map(|part| part.map(Frame::data).map_err(|_| Broken)).boxed())
    }))
}

/// Reads a request to its end, so that the client sees the answer.
async fn drain(request: Request<Incoming>) {
    let _body = request.into_body().collect().await;
}

fn refusal(status: u16, code: &str, head: bool) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>"
    );
    let body = if head { Bytes::new() } else { Bytes::from(text) };
    let frames = futures::stream::once(async move { Ok(Frame::data(body)) }).boxed();
    let mut answer = Response::new(StreamBody::new(frames));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A client that waits for leave to send its body would otherwise send it as the next request.
    answer.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/xml"));
    answer
}

async fn cut(answer: Response<Body>) -> Result<Response<Body>, Broken> {
    let (mut parts, body) = answer.into_parts();
    let whole = BodyExt::collect(body).await?.to_bytes();
    parts.headers.insert(CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    // The pause lets the first half leave before the connection breaks.
    let broken = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err(Broken)
    });
    let frames = futures::stream::once(async move { Ok(Frame::data(half)) }).chain(broken).boxed();
    Ok(Response::from_parts(parts, StreamBody::new(frames)))
}
