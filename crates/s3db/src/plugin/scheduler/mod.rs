//! Scheduler.

mod cron;

pub use cron::{Cron, Dst, Explanation};
