//! What the service manager is told, systemd with `Type=notify`: when requests should be sent here, so that whoever
//! restarts one host after the other can wait for each, and that the server stops. Started by anything else, it tells
//! nobody.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::shared::Shared;

/// Between two looks, of which the start takes few.
const PAUSE: Duration = Duration::from_millis(50);

/// The end takes this much longer than its grace time at most.
const LEEWAY: Duration = Duration::from_secs(5);

/// Tells, as soon as `/readyz` does, that the server is ready; once.
pub async fn tell_ready(shared: &'static Shared) {
    while shared.readiness().is_err() {
        sleep(PAUSE).await;
    }
    tell(&[NotifyState::Ready]);
}

/// Tells that the server stops, and asks for the time it may take: the manager's own limit may be shorter.
pub fn tell_stopping(grace: Duration) {
    let time = format!("EXTEND_TIMEOUT_USEC={}", (grace + LEEWAY).as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&time)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
