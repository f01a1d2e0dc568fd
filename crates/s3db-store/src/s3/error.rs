//! What a failed attempt means.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::{ErrorKind, StoreError};

/// What was being done, for the kind and the sentence of an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) verb: &'static str,
    pub(super) key: &'a str,
    pub(super) bucket: &'a str,
    pub(super) server: &'a str,
    /// Whether the request changes something, so that a lost answer leaves that open.
    pub(super) writes: bool,
    /// How far this machine's clock is ahead.
    pub(super) ahead_ms: i64,
}

impl Doing<'_> {
    /// Sorts the error of an attempt.
    pub(super) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> StoreError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let cause = root_cause(&error);
        match &error {
            SdkError::ServiceError(service) => {
                let (code, message) = (service.err().code().unwrap_or_default(), service.err().message());
                let message = message.unwrap_or_default();
                self.answered(service.raw(), code, message)
            }
            SdkError::TimeoutError(_) => self.lost("no answer in time"),
            SdkError::ResponseError(_) => self.lost(&format!("the answer cannot be read: {cause}")),
            _ if without_credentials(&error) => self.say(
                ErrorKind::Denied,
                &format!("no credentials ({cause}); give KEY:SECRET in the URL, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"),
            ),
            SdkError::DispatchFailure(_) if never_sent(&error) => {
                let message = format!("the server {} cannot be reached: {cause}", self.server);
                StoreError::new(ErrorKind::Unavailable, message)
            }
            SdkError::DispatchFailure(_) => self.lost(&format!("the connection broke: {cause}")),
            _ => self.say(ErrorKind::Invalid, &cause),
        }
    }

    /// The body of an answer broke off.
    pub(super) fn cut(&self, error: &(dyn std::error::Error + 'static)) -> StoreError {
        self.say(ErrorKind::Unavailable, &format!("the body broke off: {}", deepest(error)))
    }

    /// No answer: a write may have taken effect.
    fn lost(&self, reason: &str) -> StoreError {
        self.say(if self.writes { ErrorKind::Unknown } else { ErrorKind::Unavailable }, reason)
    }

    fn say(&self, kind: ErrorKind, reason: &str) -> StoreError {
        let what = if self.key.is_empty() { self.bucket } else { self.key };
        StoreError::new(kind, format!("{} '{what}': {reason}", self.verb))
    }

    fn answered(&self, raw: &HttpResponse, code: &str, message: &str) -> StoreError {
        let status = raw.status().as_u16();
        let said = [code, message].iter().filter(|t| !t.is_empty()).copied().collect::<Vec<_>>().join(": ");
        let said = if said.is_empty() { format!("HTTP {status}") } else { said };
        match (status, code) {
            (_, "NoSuchBucket") => self.no_bucket(),
            (404, _) => StoreError::not_found(self.key),
            (412, _) => StoreError::precondition(self.key),
            (409, _) => self.say(ErrorKind::Conflict, &said),
            (416, _) => self.say(ErrorKind::Invalid, "the range is outside the object"),
            (_, "RequestTimeTooSkewed") => self.skewed(),
            (301 | 307, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                let region = raw.headers().get("x-amz-bucket-region");
                let hint =
                    region.map_or_else(String::new, |r| format!("; the bucket is in {r}: add ?region={r} to the URL"));
                self.say(ErrorKind::Invalid, &format!("wrong region or endpoint ({said}){hint}"))
            }
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
                self.say(ErrorKind::Denied, &format!("the credentials have expired ({said}); get new ones"))
            }
            (_, "InvalidAccessKeyId") => self.say(ErrorKind::Denied, "the server does not know this access key"),
            (_, "SignatureDoesNotMatch") => self.say(
                ErrorKind::Denied,
                "the secret does not fit the access key; in a URL a '/' or '+' of it is written as %2F or %2B",
            ),
            (401 | 403, _) => self.say(ErrorKind::Denied, &format!("access is denied ({said})")),
            (501, _) => self.say(ErrorKind::Unsupported, &said),
            (429, _) => self.say(ErrorKind::Throttled, &said),
            // The server itself says that it did not begin.
            (503, "SlowDown" | "ServiceUnavailable" | "Busy") => self.say(ErrorKind::Throttled, &said),
            // A proxy may say so behind the back of a server that did it: unknown is not failed.
            (500.., _) if self.writes => self.lost(&said),
            (503, _) => self.say(ErrorKind::Throttled, &said),
            (500.., _) => self.say(ErrorKind::Unavailable, &said),
            _ => self.say(ErrorKind::Invalid, &said),
        }
    }

    fn no_bucket(&self) -> StoreError {
        StoreError::new(ErrorKind::NoBucket, format!("the bucket '{}' does not exist", self.bucket))
    }

    /// The clock has been learnt from this very answer, so the next attempt is signed by it.
    fn skewed(&self) -> StoreError {
        let seconds = self.ahead_ms / 1000;
        self.say(ErrorKind::Unavailable, &format!("this machine's clock was {seconds:+} s off the server's; set it"))
    }
}

/// The errors behind an error, outermost first.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

fn without_credentials<E: std::error::Error + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    chain(error).any(|e| e.is::<CredentialsError>())
}

/// Whether no connection came about, so that nothing was sent.
fn never_sent<E: std::error::Error + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    chain(error).any(|e| e.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|e| e.is_connect()))
}

fn root_cause<E: std::error::Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    deepest(error)
}

pub(super) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}
