//! Notifications to systemd (`Type=notify`): that requests can be sent here, so that a rolling restart can wait for each
//! host, and that the server stops. Does nothing if the server was not started by systemd.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::shared::Shared;

/// How often readiness is checked at the start.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How much longer than `--shutdown-grace` stopping may take.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Notifies once, as soon as `/readyz` is 200.
pub(crate) async fn notify_when_ready(shared: &'static Shared) {
    while shared.readiness().is_err() {
        sleep(CHECK_INTERVAL).await;
    }
    notify(&[NotifyState::Ready]);
}

/// Also asks for the time that stopping may take, since the limit of systemd may be shorter.
pub(crate) fn notify_stopping(grace: Duration) {
    let time = format!("EXTEND_TIMEOUT_USEC={}", (grace + STOP_MARGIN).as_micros());
    notify(&[NotifyState::Stopping, NotifyState::Custom(&time)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
