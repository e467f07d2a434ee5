//! Ctrl-C and SIGTERM.

use std::time::Duration;

use atelier_base::error::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long blocking work may take to clean up after it was cancelled.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A token that the first signal cancels. The second one ends the process.
pub(crate) fn cancel_on_signal() -> CancellationToken {
    let cancel = CancellationToken::new();
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    // Without a handler, the first signal ends the process.
    let (Ok(mut interrupt), Ok(mut terminate)) = handlers else { return cancel };
    let mut received = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let token = cancel.clone();
    tokio::spawn(async move {
        received().await;
        token.cancel();
        received().await;
        std::process::exit(130);
    });
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
            timeout(CLEANUP_TIMEOUT, working).await.map_err(|_| Error::interrupted())?
        }
    };
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
