//! Object stores: bytes, headers and preconditions. This crate knows nothing of records.
//!
//! [`Store`] is the contract; [`memory`], [`local`] and (behind the feature of that name) `s3` are engines; [`meter`] and [`fault`] wrap
//! any of them to count requests and to inject faults. Every engine passes the same suite
//! (`contract`, behind the feature of that name).
//!
//! Conditional writes are what everything above is built on: of several writers that name the same
//! precondition exactly one succeeds, also across processes.

pub mod clock;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
pub mod fault;
pub mod local;
pub mod memory;
pub mod meter;
mod probe;
mod quirks;
#[cfg(feature = "s3")]
pub mod s3;
mod store;

pub use error::{ErrorKind, StoreError};
pub use probe::{Probe, Swap};
pub use quirks::Quirks;
pub use store::{Capabilities, Copy, Entry, List, Object, ObjectMeta, Page, Precondition, Put, Store, Wrapped};

/// What every operation of a store returns.
pub type Result<T> = std::result::Result<T, StoreError>;
