//! A deterministic simulation of the library: several nodes on one faulty store, in virtual time, with
//! clocks that are wrong, and checkers that look at what callers were told and at what is stored.
//!
//! Everything follows from the seed: the same seed gives the same requests in the same order.

mod checks;
mod clock;
mod history;
mod jobs;
mod machines;
mod network;
mod rng;
mod workload;
mod world;

pub use world::{Mode, Outcome, run};
