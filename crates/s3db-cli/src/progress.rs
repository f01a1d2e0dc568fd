//! Progress of long work, on a terminal only.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A counter that runs on stderr while work goes on, and is gone when dropped. Clones are the same counter.
#[derive(Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn start(what: &'static str, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos} in {elapsed} ({per_sec})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Names what is under way and counts it.
    pub(crate) fn show(&self, what: &str, done: u64) {
        self.0.set_message(what.to_owned());
        self.0.set_position(done);
    }

    /// Shows how far something is, with an estimate where it is known how much there is.
    pub(crate) fn measure(&self, phase: &str, done: u64, total: Option<u64>, bytes: u64) {
        let known = "{spinner} {msg} [{bar:24}] {human_pos} of about {human_len}, {eta} left";
        let template = if total.is_some() { known } else { "{spinner} {msg}: {human_pos} in {elapsed} ({per_sec})" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style.progress_chars("=> "));
        }
        if let Some(total) = total {
            self.0.set_length(total);
        }
        self.0.set_message(format!("{phase}, {}", indicatif::BinaryBytes(bytes)));
        self.0.set_position(done);
    }

    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
