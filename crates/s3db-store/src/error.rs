//! Errors of stores.

/// What a failed request means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// There is no such bucket.
    NoBucket,
    /// The precondition did not hold; nothing was written by this request.
    ///
    /// A proxy may have repeated the request, so the first answer of this kind can still hide a
    /// success: see `DESIGN.md` rule 2.
    Precondition,
    /// Another conditional write was under way; nothing was written.
    Conflict,
    /// The store refuses for now; nothing was written.
    Throttled,
    /// The store could not be reached or answered with an error before anything was written.
    Unavailable,
    /// The request may or may not have taken effect.
    Unknown,
    /// The credentials or file permissions do not allow it.
    Denied,
    /// No space is left.
    Full,
    /// The request itself is wrong: a key that is too long, a header that cannot be sent.
    Invalid,
    /// This store cannot do it.
    Unsupported,
    /// What is stored is damaged.
    Corrupt,
}

/// A failed request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What it means.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub message: String,
}

impl StoreError {
    /// An error with its sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn not_found(key: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no object '{key}'"))
    }

    pub(crate) fn precondition(key: &str) -> Self {
        Self::new(ErrorKind::Precondition, format!("object '{key}' is not what the request expected"))
    }

    /// Whether a read that failed like this may be sent again.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Unknown)
    }
}
