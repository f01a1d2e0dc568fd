//! Words for what became of runs.

use serde::{Deserialize, Serialize};

/// What became of a run, or of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It is under way.
    Running,
    /// It succeeded.
    Success,
    /// Its last attempt failed.
    Error,
    /// Its last attempt took too long.
    Timeout,
    /// The instant was left out: the reason says why.
    Skipped,
    /// No process was there for the instant.
    Missed,
    /// Its process died or was stopped.
    Interrupted,
    /// It was cancelled.
    Cancelled,
}

impl RunStatus {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(text)).ok()
    }

    /// Whether a run has ended so.
    pub(super) fn is_of_a_run(self) -> bool {
        !matches!(self, Self::Running | Self::Skipped | Self::Missed)
    }
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
