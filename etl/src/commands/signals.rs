//! Ctrl-C and SIGTERM.

use std::time::Duration;

use atelier_base::error::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long blocking work may take to clean up after it was cancelled.
const BLOCKING_CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A token that the first signal cancels. The second one ends the process, whichever they are.
pub(crate) fn cancel_on_signal() -> CancellationToken {
    let cancel = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        // A signal without a handler ends the process. A handler is never removed: each has its own task, so that it works
        // without the other.
        let Ok(mut signals) = signal(kind) else { continue };
        let cancel = cancel.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if cancel.is_cancelled() {
                    std::process::exit(130);
                }
                cancel.cancel();
            }
        });
    }
    cancel
}

pub(crate) fn check_cancelled(cancel: &CancellationToken) -> Result<()> {
    if cancel.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
}

/// Runs blocking work that signals cancel: it is to call [`check_cancelled`] often.
pub(crate) async fn run_blocking(
    work: impl FnOnce(&CancellationToken) -> Result<()> + Send + 'static,
) -> Result<()> {
    let cancel = cancel_on_signal();
    let token = cancel.clone();
    let mut working = spawn_blocking(move || work(&token));
    let done = tokio::select! {
        done = &mut working => done,
        () = cancel.cancelled() => {
            // It may wait for a disk that does not answer.
            timeout(BLOCKING_CLEANUP_TIMEOUT, working).await.map_err(|_| Error::interrupted())?
        }
    };
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
