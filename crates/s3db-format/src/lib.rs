//! The on-bucket format of s3db: keys, value encodings, schema rules and validation, behaviours,
//! secrets, partitions and the catalog.
//!
//! Pure: no I/O, no clock, no randomness, no unsafe code. The layout is the one that the JavaScript
//! library s3db.js 9.2.0 writes; where it loses data, this crate reads what can still be read and
//! writes so that nothing is lost. `docs/format.md` is the reference.
//!
//! Data flows one way: a [`definition`](mod@definition) becomes a version in the [`catalog`](mod@catalog)
//! with its [`schema`]; a record is checked by [`validate`](mod@validate) and laid out by
//! [`record::encode`]; [`record::decode`] reads it back.

mod collation;
mod escape;

pub mod base62;
pub mod catalog;
pub mod date;
pub mod definition;
pub mod error;
pub mod header;
pub mod items;
pub mod js;
pub mod keys;
pub mod limits;
pub mod partition;
pub mod pattern;
pub mod record;
pub mod resource;
pub mod revision;
pub mod rule;
pub mod schema;
pub mod secret;
pub mod update;
pub mod validate;
pub mod value;

pub use error::{DefinitionError, FieldError, FormatError};
