//! The one public error.

use s3db_format::{DefinitionError, FieldError, FormatError};
use s3db_store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};

/// What an operation of the library returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What an error means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for does not exist.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// Somebody else changed it in between.
    Conflict,
    /// The input breaks a rule.
    Invalid,
    /// The state has no such event.
    InvalidEvent,
    /// A guard said no.
    GuardRejected,
    /// A guard failed.
    GuardError,
    /// The state is final.
    FinalState,
    /// Another one is running.
    Busy,
    /// The store cannot be reached, or refuses.
    Unavailable,
    /// What is stored is damaged, or the key is wrong.
    Integrity,
    /// It cannot be done here.
    Unsupported,
    /// A bug.
    Internal,
}

/// An error: what was asked, what was found, and what to do next.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
/// let db = s3db::Database::builder("memory://errors").connect().await?;
/// let error = db.resource("users").await.unwrap_err();
/// assert_eq!(error.kind(), s3db::ErrorKind::NotFound);
/// assert!(error.guidance().is_some());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    guidance: Option<String>,
    details: Option<Value>,
    applied_unknown: bool,
    retryable: bool,
    retry_by_key: bool,
    stands: bool,
    #[source]
    source: Option<StoreError>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            guidance: None,
            details: None,
            applied_unknown: false,
            retryable: false,
            retry_by_key: false,
            stands: false,
            source: None,
        }
    }

    /// An error of a plugin: what it means, what happened, and what to do next.
    ///
    /// ```
    /// use s3db::{Error, ErrorKind};
    /// let error = Error::of_plugin(ErrorKind::Busy, "all 10 tokens are taken", "try again in a minute");
    /// assert_eq!((error.kind(), error.guidance()), (ErrorKind::Busy, Some("try again in a minute")));
    /// ```
    pub fn of_plugin(kind: ErrorKind, message: impl Into<String>, guidance: impl Into<String>) -> Self {
        Self::new(kind, message).guide(guidance)
    }

    pub(crate) fn guide(mut self, guidance: impl Into<String>) -> Self {
        self.guidance = Some(guidance.into());
        self
    }

    pub(crate) fn detail(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Puts what was being done before the message.
    pub(crate) fn context(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Says something plainer in place of a name that the caller never gave.
    pub(crate) fn without_name(mut self, name: &str, plain: &str) -> Self {
        self.message = self.message.replace(name, plain);
        self
    }

    pub(crate) fn not_found(what: &str, name: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("{what} '{name}' does not exist"))
    }

    pub(crate) fn conflict(id: &str, expected: &str, found: &str) -> Self {
        Self::new(ErrorKind::Conflict, format!("record '{id}' is at revision {found}, expected {expected}"))
            .guide("read the record again and decide on what it says now")
            .detail(json!({ "expected": expected, "found": found }))
    }

    /// The outcome of a write is not known and cannot be found out.
    pub(crate) fn undecided(what: &str, source: Option<StoreError>) -> Self {
        let reason = source.as_ref().map_or_else(String::new, |s| format!(": {s}"));
        Self {
            applied_unknown: true,
            source,
            ..Self::new(ErrorKind::Unavailable, format!("{what} may or may not have taken effect{reason}"))
        }
        .guide("read the record to see whether it did before you try again")
        .detail(json!({ "applied": "unknown" }))
    }

    /// The same error, where a write may have taken effect all the same.
    pub(crate) fn applied_unknown(self, what: &str) -> Self {
        let error = Self { applied_unknown: true, kind: ErrorKind::Unavailable, ..self };
        error
            .context(&format!("{what} may or may not have taken effect"))
            .guide("read the record to see whether it did before you try again")
            .detail(json!({ "applied": "unknown" }))
    }

    /// The same error for a call with an idempotency key: it can be made again, whatever became of it.
    pub(crate) fn retryable_by_key(mut self) -> Self {
        if self.applied_unknown {
            self.retry_by_key = true;
            self.guidance =
                Some("send it again with the same key: what took effect is answered, not done twice".into());
        }
        self
    }

    /// The same error, of something that came after a write that stands.
    pub(crate) fn after_a_write(mut self) -> Self {
        self.stands = true;
        self
    }

    /// Whether a write stands, or may stand, although this error was returned.
    pub(crate) fn may_stand(&self) -> bool {
        self.stands || self.applied_unknown
    }

    /// Fields that break their rules.
    pub(crate) fn invalid_fields(what: &str, fields: &[FieldError]) -> Self {
        let sentences: Vec<String> = fields.iter().map(ToString::to_string).collect();
        Self::new(ErrorKind::Invalid, format!("{what} is invalid: {}", sentences.join("; ")))
            .guide("correct these fields; nothing was written")
            .detail(json!({ "fields": fields }))
    }

    /// Definitions that cannot be taken.
    pub(crate) fn invalid_definition(resource: &str, problems: &[DefinitionError]) -> Self {
        let fields: Vec<Value> =
            problems.iter().map(|p| json!({ "field": p.field, "rule": "definition", "message": p.message })).collect();
        let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Self::new(
            ErrorKind::Invalid,
            format!("the definition of resource '{resource}' is invalid: {}", sentences.join("; ")),
        )
        .guide("correct the definition; nothing was written")
        .detail(json!({ "fields": fields }))
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The next step.
    pub fn guidance(&self) -> Option<&str> {
        self.guidance.as_deref()
    }

    /// Facts for programs: `{fields}` of an invalid record, `{expected, found}` of a conflict.
    pub fn details(&self) -> Option<&Value> {
        self.details.as_ref()
    }

    /// Whether the same call may succeed later. `false` where a write may have taken effect, unless the call
    /// carried an idempotency key.
    pub fn is_retryable(&self) -> bool {
        self.retry_by_key || (self.retryable && !self.applied_unknown)
    }

    /// Whether a write may have taken effect although this error was returned.
    pub fn is_applied_unknown(&self) -> bool {
        self.applied_unknown
    }

    /// The error as the command line prints it with `--json`.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "kind": self.kind, "message": self.message });
        let members = [
            ("guidance", self.guidance.clone().map(Value::String)),
            ("details", self.details.clone()),
            ("applied", self.applied_unknown.then(|| json!("unknown"))),
        ];
        for (name, value) in members {
            if let (Some(value), Some(map)) = (value, error.as_object_mut()) {
                map.insert(name.to_owned(), value);
            }
        }
        json!({ "error": error })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        use s3db_store::ErrorKind as Store;
        let (kind, guidance) = match error.kind {
            Store::NotFound => (ErrorKind::NotFound, None),
            Store::NoBucket => (ErrorKind::NotFound, Some("create the bucket, or check its name, region and endpoint")),
            Store::Precondition | Store::Conflict => (ErrorKind::Conflict, None),
            Store::Throttled | Store::Unavailable => (ErrorKind::Unavailable, Some("try again later")),
            Store::Unknown => return Self::undecided("the request", Some(error)),
            Store::Denied => (
                ErrorKind::Unavailable,
                Some("check the credentials and what they permit, or the permissions of the directory"),
            ),
            Store::Full => (ErrorKind::Unavailable, Some("free some space; nothing of this write was kept")),
            Store::Invalid => (ErrorKind::Invalid, None),
            Store::Unsupported => (ErrorKind::Unsupported, None),
            Store::Corrupt => (ErrorKind::Integrity, Some("restore the store from a backup")),
        };
        let retryable = matches!(error.kind, Store::Conflict | Store::Throttled | Store::Unavailable);
        let mut mapped = Self::new(kind, error.message.clone());
        mapped.guidance = guidance.map(str::to_owned);
        mapped.retryable = retryable;
        mapped.source = Some(error);
        mapped
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        let message = error.to_string();
        match error {
            FormatError::Corrupt(_) => Self::new(ErrorKind::Integrity, message),
            FormatError::Unsupported(_) => Self::new(ErrorKind::Unsupported, message),
            FormatError::TooLarge { size, limit, .. } => {
                let fields =
                    json!([{ "field": "", "rule": "size", "expected": limit, "actual": size, "message": message }]);
                Self::new(ErrorKind::Invalid, message).detail(json!({ "fields": fields }))
            }
            FormatError::Key { field, .. } => {
                let fields = json!([{ "field": field, "rule": "key", "message": message }]);
                Self::new(ErrorKind::Invalid, message).detail(json!({ "fields": fields }))
            }
            FormatError::Secret { .. } => Self::new(ErrorKind::Integrity, message),
        }
    }
}
