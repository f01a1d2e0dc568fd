//! Ctrl-C, SIGTERM and SIGHUP.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::output::Failure;

/// Listens for whoever wants this process to end.
pub(crate) struct Interrupt {
    interrupt: Stream,
    terminate: Stream,
}

impl Interrupt {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn came(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What a service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: read the settings again.
    Reload,
}

/// Listens for what a service is told.
pub(crate) struct Signals {
    end: Interrupt,
    reload: Stream,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self { end: Interrupt::listen()?, reload: signal(SignalKind::hangup())? })
    }

    /// Waits for the next one.
    pub(crate) async fn came(&mut self) -> Signal {
        tokio::select! {
            _ = self.end.interrupt.recv() => Signal::Interrupt,
            _ = self.end.terminate.recv() => Signal::Terminate,
            _ = self.reload.recv() => Signal::Reload,
        }
    }
}
