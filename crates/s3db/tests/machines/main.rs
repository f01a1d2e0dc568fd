//! State machines as their users see them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

mod actions;
mod adopt;
mod bad_input;
mod behaviour;
mod builtin;
mod clock;
mod definitions;
mod monitoring;
mod properties;
mod races;
mod robust;
mod sweep;
mod timers;
mod vectors;
