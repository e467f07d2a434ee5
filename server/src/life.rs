//! The phases of the process, from serving to its end.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// After SIGTERM: no connections are accepted, and each is closed after its next answer.
    Draining,
    /// Connections without a request in flight are closed.
    Closing,
}

pub(crate) struct Life {
    phase: watch::Sender<Phase>,
    /// The same for every request, which would be slower to read from `phase`.
    is_stopping: AtomicBool,
}

impl Life {
    pub(crate) fn new() -> Life {
        Life { phase: watch::Sender::new(Phase::Serving), is_stopping: AtomicBool::new(false) }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.is_stopping.store(phase != Phase::Serving, Ordering::Relaxed);
        self.phase.send_replace(phase);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}
