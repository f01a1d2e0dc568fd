//! Backups: what is made, what is restored, what is refused, and what crashes leave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

mod bad_input;
mod basics;
mod changes;
mod cleanup;
mod concurrency;
mod damage;
mod destinations;
mod encryption;
mod golden;
mod random;
mod slow;
mod sweep;
mod world;
