//! The limits of the format.

/// Bytes that user metadata may take, names and values together, less the one that 9.2.0 leaves.
pub const HEADER_BYTES: usize = 2047;
/// Mapped attributes whose short names stay distinct once S3 has lower-cased them.
pub const HEADER_KEYS: usize = 36;
/// Bytes of a record's body.
pub const BODY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an id.
pub const ID_BYTES: usize = 512;
/// Bytes of a whole key, database prefix included.
pub const KEY_BYTES: usize = 1024;
/// Depth of nested attributes and of stored JSON values.
pub const DEPTH: usize = 32;
/// Bytes of the catalog that are read.
pub const CATALOG_BYTES: usize = 64 * 1024 * 1024;
/// Revisions of the past that a record carries.
pub const PAST_REVISIONS: usize = 8;
/// Tokens that a record carries at most while it is written often.
pub const RECENT_REVISIONS: usize = 128;
