//! Jobs as their users see them.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

mod allowed;
mod bad_input;
mod builtin;
mod claims;
mod configured;
mod deaths;
mod history;
mod night;
mod overlaps;
mod runs;
mod sweep;
mod switches;
mod threads;
mod world;
