//! Connecting to a database that may not be up: attempts with pauses.

use std::time::Duration;

use atelier_base::connect::Connection;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::catalogue::queries::Statements;
use crate::database::connect::ConnectError;

/// The shortest pause: a database that was restarted is back soon.
pub(crate) const MIN_RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause: pauses are doubled up to this.
pub(crate) const MAX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Attempts until there is a connection, with `first_pause` after the first attempt. `on_error` gets the reason of each attempt that failed, and can end this with an
/// error.
pub(crate) async fn connect_with_retries<E>(
    first_pause: Duration,
    attempt: impl AsyncFn() -> Result<(Client, Statements, Connection), ConnectError>,
    mut on_error: impl FnMut(ConnectError) -> Result<(), E>,
) -> Result<(Client, Statements, Connection), E> {
    let mut pause = first_pause;
    loop {
        match attempt().await {
            Ok(connected) => return Ok(connected),
            Err(error) => on_error(error)?,
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_RETRY_PAUSE);
    }
}
